//! What a run leaves behind, and that its numbers agree with each other.

use std::collections::BTreeMap;
use std::io::BufReader;

use shopctl::audit::witness::{Record, Witness};
use shopctl::report::Summary;

use crate::harness::{Bench, TINY};

fn count(summary: &Summary, step: &str, outcome: &str) -> u64 {
    summary.steps.get(step).and_then(|step| step.outcomes.get(outcome)).copied().unwrap_or_default()
}

#[test]
fn fates_steps_and_files_of_a_run_agree() {
    let bench = Bench::new(TINY);
    let ended = bench.shopctl(&["run", "scenario.yaml", "-o", "json=copy.json", "-o", "md=copy.md"]).exits(0);
    let (summary, folder) = (bench.summary(), bench.run_folder());
    let orders = &summary.orders;

    assert_eq!(orders.started, 80, "60 buyers and 20 who change their minds; a retry is no new order");
    assert_eq!(orders.confirmed + orders.cancelled + orders.rejected + orders.errors + orders.unknown, orders.started);
    assert_eq!(orders.cancelled_by.values().sum::<u64>(), orders.cancelled);
    assert_eq!(orders.units_confirmed["LAMP"].min(40), orders.units_confirmed["LAMP"], "no more than there were");

    assert_eq!(count(&summary, "create", "done"), orders.confirmed + orders.cancelled);
    assert_eq!(count(&summary, "confirm", "done"), orders.confirmed);
    assert_eq!(count(&summary, "commit_stock", "done"), orders.confirmed);
    assert_eq!(count(&summary, "cancel", "done"), orders.cancelled);
    for (name, step) in &summary.steps {
        assert_eq!(step.outcomes.values().sum::<u64>(), step.count, "{name}");
        assert!(step.measured == 0 || step.percentiles.p99_us.is_some(), "{name} has its histogram");
    }

    let record = std::fs::read_to_string(folder.join("orders.jsonl")).unwrap();
    let mut fates: BTreeMap<&str, u64> = BTreeMap::new();
    for line in record.lines() {
        if let Record::Fate { fate, .. } = serde_json::from_str(line).unwrap() {
            *fates.entry(fate.as_str()).or_default() += 1;
        }
    }
    let of = |fate: &str| fates.get(fate).copied().unwrap_or_default();
    assert_eq!(fates.values().sum::<u64>(), orders.started);
    assert_eq!((of("confirmed"), of("cancelled")), (orders.confirmed, orders.cancelled));
    assert_eq!(Witness::read(BufReader::new(record.as_bytes())).unwrap().orders.len() as u64, orders.started);

    assert!(summary.invariants.iter().all(|finding| finding.violations == 0 && finding.checked > 0));
    let json = std::fs::read_to_string(bench.path("copy.json")).unwrap();
    assert_eq!(json, std::fs::read_to_string(folder.join("summary.json")).unwrap());
    assert!(std::fs::read_to_string(bench.path("copy.md")).unwrap().contains("`commit_stock`"));
    assert!(ended.stdout().contains("PASSED (exit 0)"));

    let audited = bench.shopctl(&["audit", "--run", &folder.to_string_lossy()]).exits(0);
    assert!(audited.stdout().contains("80 orders"), "{}", audited.stdout());
}

#[test]
fn what_is_sold_out_is_sold_to_the_last_unit() {
    // Without those who change their minds: a cancellation can refuse a reservation as well.
    let (head, rest) = TINY.split_once("  undecided:").unwrap();
    let scenario = format!("{head}expect:{}", rest.split_once("expect:").unwrap().1);
    let bench = Bench::new(&scenario);
    bench.shopctl(&["run", "scenario.yaml"]).exits(0);
    let summary = bench.summary();
    let orders = &summary.orders;
    assert_eq!(orders.units_confirmed["LAMP"], 40);
    assert!(orders.cancelled_by["sold_out"] > 0 && orders.cancelled_by["declined"] > 0);
    assert_eq!(count(&summary, "reserve_stock", "refused"), orders.cancelled_by["sold_out"]);
    assert_eq!(count(&summary, "process_payment", "refused"), orders.cancelled_by["declined"]);
    assert_eq!(count(&summary, "release_stock", "done"), orders.cancelled_by["declined"]);
}

#[test]
fn a_missed_threshold_exits_99() {
    let scenario = TINY.replace("rate<0.01]", "rate<0.01]\n    order_duration: [p(50)<1us]");
    let bench = Bench::new(&scenario);
    let ended = bench.shopctl(&["run", "scenario.yaml"]).exits(99);
    assert!(ended.stdout().contains("threshold missed: order_duration p(50)<1us"), "{}", ended.stdout());
}

#[test]
fn a_percentile_that_the_samples_cannot_carry_is_inconclusive() {
    let scenario = TINY.replace("rate<0.01]", "rate<0.01]\n    order_duration: [p(99.9)<10s]");
    let bench = Bench::new(&scenario);
    let ended = bench.shopctl(&["run", "scenario.yaml"]).exits(113);
    assert!(ended.stdout().contains("too few samples"), "{}", ended.stdout());
}

#[test]
fn an_audit_names_what_was_tampered_with() {
    let bench = Bench::new(TINY);
    bench.shopctl(&["run", "scenario.yaml"]).exits(0);
    let folder = bench.run_folder();
    let tamper = |database: &str, sql: &str| {
        let connection = rusqlite::Connection::open(folder.join("data").join(database)).unwrap();
        assert!(connection.execute(sql, []).unwrap() > 0, "{sql} changed nothing");
    };
    let audit = || bench.shopctl(&["audit", "--run", &folder.to_string_lossy()]);

    tamper("inventory_db.db", "UPDATE stock SET sold = sold + 1 WHERE product_id = 1");
    assert!(audit().exits(111).stdout().contains("product 1"));
    tamper("inventory_db.db", "UPDATE stock SET sold = sold - 1 WHERE product_id = 1");
    audit().exits(0);

    tamper("order_db.db", "UPDATE orders SET status = 'CONFIRMED' WHERE status = 'CANCELLED'");
    let said = audit().exits(111).stdout();
    for broken in ["BROKEN  fold_matches_row", "BROKEN  confirmed_iff_captured", "BROKEN  answers_hold"] {
        assert!(said.contains(broken), "{said}");
    }
}
