//! The same seed gives the same run, to the byte.

use shopctl::cli::simulate::{Simulated, play};
use shopctl::scenario::parse;
use shopctl::world::shop::known;

use crate::harness::{Bench, TINY};

fn simulated(seed: u64) -> Simulated {
    let overrides = [("seed".to_owned(), seed.to_string())];
    let scenario = parse(TINY, "tiny.yaml", &overrides, &known()).unwrap();
    play(&scenario).map_err(|failure| failure.message).unwrap()
}

/// Where two traces part, for a message that helps.
fn first_difference(left: &str, right: &str) -> Option<String> {
    if left == right {
        return None;
    }
    let pairs = left.lines().zip(right.lines()).enumerate();
    let parted = pairs.into_iter().find(|(_, (left, right))| left != right);
    Some(parted.map_or("one is longer".into(), |(line, (left, right))| format!("line {}:\n{left}\n{right}", line + 1)))
}

#[test]
fn a_seed_played_twice_in_one_process_leaves_the_same_trace() {
    let (first, second) = (simulated(7), simulated(7));
    assert_eq!(first_difference(&first.trace, &second.trace), None);
    assert_eq!(first.record, second.record);
    assert_eq!(first.summary.exit_code, 0, "{:?}", first.summary.verdict);
    for what in [
        "rpc received service=order",
        "commit store=order_db",
        "event stream=ORDERS",
        "event stream=PAYMENTS",
        "commit store=courier_db",
    ] {
        assert!(first.trace.contains(what), "the trace has no {what}");
    }
}

#[test]
fn another_seed_leaves_another_trace() {
    let (seven, eight) = (simulated(7), simulated(8));
    assert_ne!(seven.trace, eight.trace);
    assert_eq!((seven.summary.exit_code, eight.summary.exit_code), (0, 0));
}

#[test]
fn a_seed_played_in_two_processes_leaves_the_same_trace() {
    let bench = Bench::new(TINY);
    for file in ["one.txt", "two.txt"] {
        bench.shopctl(&["simulate", "scenario.yaml", "--replay", "7", "--trace", file]).exits(0);
    }
    let read = |file: &str| std::fs::read_to_string(bench.path(file)).unwrap();
    assert_eq!(first_difference(&read("one.txt"), &read("two.txt")), None);
    assert_eq!(first_difference(&read("one.txt"), &simulated(7).trace), None, "in this process");
}

#[test]
fn latency_is_not_judged_in_virtual_time() {
    let scenario = TINY.replace("order_errors: [rate<0.01]", "order_duration: [p(95)<1us]");
    let bench = Bench::new(&scenario);
    let ended = bench.shopctl(&["simulate", "scenario.yaml"]).exits(0);
    assert!(ended.stdout().contains("not judged in virtual time"), "{}", ended.stdout());
}
