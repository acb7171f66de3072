//! Somebody steps in: pauses the load, breaks things, stops. In virtual time, so that every moment is exact.

use std::collections::BTreeMap;
use std::time::Duration;

use experiment::report::Summary;
use experiment::report::threshold::Outcome;
use experiment::run::glance::Control;
use scenario::known;
use scenario::parse;
use shopctl::campaign::engine::play_by_hand;

use crate::faults::OUTAGE;
use crate::harness::TINY;

fn played(source: &str, hands: &[(u64, Control)]) -> Summary {
    let scenario = parse(source, "by-hand.yaml", &[], &known()).unwrap();
    let hands = hands.iter().map(|(at_ms, control)| (Duration::from_millis(*at_ms), control.clone()));
    play_by_hand(&scenario, hands.collect()).map_err(|failure| failure.message).unwrap().summary
}

fn pause(from_ms: u64, to_ms: u64) -> [(u64, Control); 2] {
    [(from_ms, Control::Pause), (to_ms, Control::Resume)]
}

/// Two virtual users whose journeys take a tenth of a second and a little, for three seconds.
fn closed(executor: &str) -> String {
    let (head, rest) = TINY.split_once("load:").unwrap();
    let (_, tail) = rest.split_once("expect:").unwrap();
    let journey = "    journey: [ order: { items: [ { sku: any, quantity: 1 } ], wait: 0s }, think: 100ms ]\n";
    format!("{head}load:\n  group:\n{executor}{journey}expect:{tail}")
}

#[test]
fn a_pause_holds_closed_loads_and_the_schedule_goes_on_where_it_stood() {
    for executor in [
        "    executor: constant-vus\n    vus: 2\n    duration: 2s\n",
        "    executor: ramping-vus\n    start_vus: 2\n    stages: [ { duration: 2s, target: 2 } ]\n",
        "    executor: per-vu-iterations\n    vus: 2\n    iterations: 1000\n    max_duration: 2s\n",
    ] {
        let calm = played(&closed(executor), &[]);
        let paused = played(&closed(executor), &pause(1_000, 4_000));
        let made = |summary: &Summary| summary.http["order"].count;
        assert!(made(&calm).abs_diff(made(&paused)) <= 4, "{executor}: {} and {}", made(&calm), made(&paused));
        assert!((paused.load_s - calm.load_s - 3.0).abs() < 0.5, "{executor}: {} s", paused.load_s);
        assert!(paused.manual && !calm.manual);
    }
}

#[test]
fn a_paused_load_can_be_stopped() {
    for source in [closed("    executor: constant-vus\n    vus: 2\n    duration: 3s\n"), TINY.to_owned()] {
        let summary = played(&source, &[(1_000, Control::Pause), (2_000, Control::StopGently)]);
        assert_eq!(summary.exit_code, 105, "{:?}", summary.verdict);
        assert!(summary.load_s < 3.0, "{} s", summary.load_s);
    }
}

#[test]
fn a_pause_in_the_warm_up_makes_it_longer() {
    let measured = |summary: &Summary| summary.http["order"].measured;
    let (calm, paused) = (played(TINY, &[]), played(TINY, &pause(100, 5_100)));
    assert!(measured(&calm).abs_diff(measured(&paused)) <= 2, "{} and {}", measured(&calm), measured(&paused));
}

#[test]
fn what_happened_during_a_fault_is_counted_in_the_fault_also_after_a_pause() {
    let counted = OUTAGE
        .replace("thresholds: { order_errors: [ rate<0.01 ] } }", "thresholds: { orders: [ count>=12, count<=18 ] } }");
    // Before the fault, and in the middle of it.
    for hands in [pause(500, 4_500), pause(2_000, 6_000)] {
        let summary = played(&counted, &hands);
        let judged: Vec<_> = summary.thresholds.iter().filter(|result| result.metric == "orders").collect();
        assert!(judged.iter().all(|result| result.outcome == Outcome::Kept), "{hands:?}: {judged:?}");
        assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
        assert_eq!(summary.faults[0].failure, None);
    }
}

#[test]
fn a_fault_for_a_whole_day_is_lifted_with_the_load() {
    let source = OUTAGE.replace("for: 1s", "for: 24h");
    let source = source[..source.find("  during:").unwrap()].to_owned();
    let summary = played(&source, &[]);
    let fault = &summary.faults[0];
    assert_eq!((fault.failure.as_ref(), summary.exit_code), (None, 0), "{:?}", summary.verdict);
    assert!(fault.lifted_at_s.unwrap() < 30.0);
}

#[test]
fn a_fault_by_hand_is_told_as_such() {
    let inject = Control::Inject { target: "payment-provider", kind: "outage", parameters: BTreeMap::new() };
    let hands = [(1_000, inject), (1_800, Control::Lift("by-hand-1-outage".into()))];
    let source = OUTAGE.replace("for: 1s", "for: 100ms").replace("at: 1500ms", "at: 4s");
    let source = source[..source.find("expect:").unwrap()].to_owned();
    let summary = played(&source, &hands);
    let fault = summary.faults.iter().find(|fault| fault.manual).unwrap();
    assert!(fault.hits > 0 && fault.injected_at_s.unwrap() > 0.9 && fault.lifted_at_s.unwrap() < 2.5, "{fault:?}");
    assert!(summary.manual && summary.orders.cancelled_by["unavailable"] > 0);
}

#[test]
fn what_comes_when_the_load_is_over_breaks_nothing() {
    let inject = |_| Control::Inject { target: "breaker", kind: "force_open", parameters: BTreeMap::new() };
    // A fault every few milliseconds around the load's end.
    let hands: Vec<(u64, Control)> = (1_900..2_300).step_by(7).map(|at_ms| (at_ms, inject(at_ms))).collect();
    let summary = played(TINY, &hands);
    let active: Vec<_> = summary.faults.iter().filter(|fault| fault.lifted_at_us.is_none()).collect();
    assert!(active.iter().all(|fault| fault.injected_at_us.is_none()), "{active:?}");
    assert!([0, 113].contains(&summary.exit_code), "{:?}", summary.verdict);
}
