//! Bugs planted on purpose: the verdict has to find each, and to say where.

use crate::harness::{Bench, TINY, unhurried};

#[test]
fn a_shop_that_sells_units_it_does_not_have_is_found_out_by_product() {
    let bench = Bench::new(&unhurried(TINY));
    let planted = "shop.settings.inventory.planted_bug=skip-stock-predicate";
    let ended = bench.shopctl(&["run", "scenario.yaml", "--set", planted]).exits(111);
    let summary = bench.summary();
    let broken = |name: &str| summary.invariants.iter().any(|finding| finding.name == name && finding.violations > 0);
    assert!(broken("stock_not_negative") && broken("never_told_more_than_stock"));
    assert!(ended.stdout().contains("(LAMP)"), "{}", ended.stdout());
}

#[test]
fn a_saga_that_compensates_nothing_is_found_out_by_order() {
    let bench = Bench::new(&unhurried(TINY));
    let planted = "shop.settings.order.planted_bug=compensate-nothing";
    let settle = "quiescence_timeout=1s";
    let ended = bench.shopctl(&["run", "scenario.yaml", "--set", planted, "--set", settle]).exits(111);
    let summary = bench.summary();
    let net_zero = summary.invariants.iter().find(|finding| finding.name == "cancelled_net_zero").unwrap();
    assert!(net_zero.violations > 0);
    let order = net_zero.examples[0].split_whitespace().nth(1).unwrap().trim_end_matches(':');
    let record = std::fs::read_to_string(bench.run_folder().join("orders.jsonl")).unwrap();
    assert!(record.contains(order), "{order} is not an order of this run");
    assert!(ended.stdout().contains(order), "{}", ended.stdout());
}

#[test]
fn a_planted_bug_is_found_in_virtual_time_too() {
    let bench = Bench::new(TINY);
    let planted = "shop.settings.inventory.planted_bug=skip-stock-predicate";
    let ended = bench.shopctl(&["simulate", "scenario.yaml", "--set", planted]).exits(111);
    assert!(ended.stdout().contains("stock_not_negative"), "{}", ended.stdout());
    assert!(ended.stdout().contains("replay it with: shopctl simulate scenario.yaml --set"));
}
