//! `shopctl bench`: two sides in turns, and their books.

use crate::harness::{Bench, TINY};

/// So often a growth is measured.
const TRIES: usize = 3;

#[test]
fn a_hot_product_is_sold_in_two_ways_in_turns_and_both_keep_their_books() {
    let bench = Bench::new(TINY);
    let arguments = ["bench", "hot-product", "--rounds", "2", "--seconds", "1", "--buyers", "8", "--out", "figures"];
    let said = bench.shopctl(&arguments).exits(0).stdout();
    for told in ["round 1 of 2: batched", "round 2 of 2: optimistic", "report: figures/hot-product.md"] {
        assert!(said.contains(told), "{said}");
    }
    let text = std::fs::read_to_string(bench.path("figures/hot-product.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["broken"], serde_json::json!([]));
    assert_eq!(report["command"], "shopctl bench hot-product --rounds 2 --seconds 1 --buyers 8");
    for side in report["sides"].as_array().unwrap() {
        let rounds = side["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        for round in rounds {
            assert!(
                round["done"].as_u64().unwrap() > 0 && round["cpu_us"]["postgres"].as_f64().unwrap() > 0.0,
                "{text}"
            );
        }
    }
    let page = std::fs::read_to_string(bench.path("figures/hot-product.md")).unwrap();
    assert!(said.contains(&page) && page.contains("times as many reservations a second as `optimistic`"), "{page}");
}

#[test]
fn the_whole_shop_is_measured_with_and_without_group_commit_in_turns() {
    let bench = Bench::new(TINY);
    let arguments = ["bench", "throughput", "--rounds", "2", "--seconds", "1", "--buyers", "8", "--out", "figures"];
    let said = bench.shopctl(&arguments).exits(0).stdout();
    for told in ["round 1 of 2: batched", "round 2 of 2: unbatched", "report: figures/throughput.md"] {
        assert!(said.contains(told), "{said}");
    }
    let text = std::fs::read_to_string(bench.path("figures/throughput.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["broken"], serde_json::json!([]));
    let sides = report["sides"].as_array().unwrap();
    let settings: Vec<_> = sides.iter().map(|side| side["settings"]["--batch-max"].as_str().unwrap()).collect();
    assert_eq!(settings, ["256", "1"]);
    for round in sides.iter().flat_map(|side| side["rounds"].as_array().unwrap()) {
        assert!(round["done"].as_u64().unwrap() > 0 && round["cpu_us"]["order"].as_f64().unwrap() > 0.0, "{text}");
    }
}

#[test]
fn what_it_costs_to_watch_is_measured_in_turns_with_and_without_instruments() {
    let bench = Bench::new(TINY);
    let arguments = ["bench", "instruments", "--rounds", "1", "--seconds", "1", "--buyers", "8", "--out", "figures"];
    let said = bench.shopctl(&arguments).exits(0).stdout();
    for told in
        ["round 1 of 1: measured", "round 1 of 1: bare", "times the CPU for each", "report: figures/instruments.md"]
    {
        assert!(said.contains(told), "{said}");
    }
    let text = std::fs::read_to_string(bench.path("figures/instruments.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sides = report["sides"].as_array().unwrap();
    let settings: Vec<_> = sides.iter().map(|side| side["settings"]["instruments"].as_str().unwrap()).collect();
    assert_eq!(settings, ["on", "off"]);
    assert!(report["cpu_ratio"].as_f64().unwrap() > 0.0, "{text}");
}

#[test]
fn a_shop_that_fills_up_is_measured_on_its_way_and_drawn() {
    let bench = Bench::new(TINY);
    let arguments = ["bench", "growth", "--orders", "100", "--buyers", "2", "--out", "figures"];
    // With few customers, so that each is told of the end of their order before they lose patience; where the machine
    // stood still for longer than that, the figures are doubtful (113), and it is measured once more.
    let measured = (0..TRIES).map(|_| bench.shopctl(&arguments)).find(|ended| ended.code() != 113);
    let said = measured.expect("figures that are not doubtful").exits(0).stdout();
    assert!(said.contains("report: figures/growth.md") && said.contains("MB on disk"), "{said}");
    let text = std::fs::read_to_string(bench.path("figures/growth.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let samples = report["samples"].as_array().unwrap();
    let (first, last) = (samples.first().unwrap(), samples.last().unwrap());
    assert_eq!((first["orders"].as_u64(), last["orders"].as_u64()), (Some(0), Some(100)));
    for part in ["postgres", "nats", "redis", "order", "shopctl"] {
        assert!(last["memory_mb"][part].as_f64().unwrap() > 0.0, "{part}: {text}");
    }
    for folder in ["postgres", "postgres-wal", "nats"] {
        assert!(last["disk_mb"][folder].as_f64().unwrap() > 0.0, "{folder}: {text}");
    }
    assert!(std::fs::read_to_string(bench.path("figures/growth.svg")).unwrap().starts_with("<svg"));
}
