//! Faults of the world, one at a time: they happen where they are said to, they are counted, and the shop
//! is whole afterwards.

use scenario::known;
use scenario::parse;
use shopctl::campaign::engine::{Simulated, play};

use crate::harness::{Bench, SMALL, TINY};

/// Plays the small scenario with this fault during most of it.
fn with(fault: &str) -> Simulated {
    let text = format!("{SMALL}faults:\n  - {{ name: x, at: 200ms, for: 1200ms, {fault} }}\n");
    let scenario = parse(&text, "small.yaml", &[], &known()).unwrap();
    play(&scenario).map_err(|failure| failure.message).unwrap()
}

#[track_caller]
fn keeps_all_invariants(played: &Simulated) {
    let broken: Vec<_> = played.summary.invariants.iter().filter(|finding| finding.violations > 0).collect();
    assert!(broken.is_empty(), "{broken:?}");
    let fault = &played.summary.faults[0];
    assert!(fault.hits > 0 && fault.failure.is_none() && fault.lifted_at_us.is_some(), "{fault:?}");
}

#[test]
fn every_kind_of_fault_strikes_and_breaks_no_invariant() {
    for fault in [
        "target: 'link:generator->gateway', kind: drop, rate: 0.2",
        "target: 'link:generator->gateway', kind: reset_peer",
        "target: 'link:gateway->order', kind: duplicate, rate: 1",
        "target: 'link:order->payment', kind: drop, rate: 0.3",
        "target: 'link:order->payment', kind: duplicate, rate: 1, after: 0ms..1s",
        "target: 'link:order->inventory', kind: latency, latency: 0ms..3s",
        "target: 'link:payment->acquirer', kind: timeout",
        "target: 'link:order->inventory', kind: down",
        "target: 'link:order->storage', kind: lost_answer, rate: 0.3",
        "target: 'link:payment->storage', kind: error_rate, rate: 0.5",
        "target: 'link:inventory->storage', kind: down",
        "target: 'link:order->log', kind: lost_answer, rate: 0.5",
        "target: 'link:notification->log', kind: duplicate, rate: 1",
        "target: 'link:payment->log', kind: down",
        "target: process:order, kind: crash",
        "target: process:gateway, kind: crash, restart_after: 10ms",
        "target: process:payment, kind: pause",
        "target: process:inventory, kind: restart",
        "target: clock:order, kind: jump, by: 30s",
        "target: clock:payment, kind: jump, by: -5s",
        "target: point:payment.call.acquirer.Charge.after, kind: stall",
    ] {
        let played = with(fault);
        assert!(played.summary.orders.started > 20, "{fault}");
        keeps_all_invariants(&played);
    }
}

/// Payments get lost for a while, and the order service's clock jumps among them: who does not know an outcome asks
/// again until there is one.
#[test]
fn a_clock_that_jumps_forwards_by_an_hour_aborts_no_order_that_has_time_left() {
    let text = format!(
        "{SMALL}faults:
  - {{ name: lost, at: 100ms, for: 700ms, target: 'link:order->payment', kind: drop, rate: 0.5 }}
  - {{ name: wrong, at: 400ms, for: 5s, target: clock:order, kind: jump, by: 1h }}
"
    )
    .replace("acquirer.decline_rate: 0.1", "acquirer.decline_rate: 0");
    let scenario = parse(&text, "small.yaml", &[], &known()).unwrap();
    let played = play(&scenario).map_err(|failure| failure.message).unwrap();
    keeps_all_invariants(&played);
    let orders = &played.summary.orders;
    assert_eq!(orders.cancelled_by.get("unavailable"), None, "{:?}", orders.cancelled_by);
    assert!(orders.confirmed > 5 && orders.unknown == 0, "{orders:?}");
    let unknown = played.summary.steps["process_payment"].outcomes.get("unknown");
    assert!(unknown.is_some_and(|unknown| *unknown > 0), "nothing was asked again");
}

#[test]
fn a_crash_before_a_commit_leaves_nothing_and_one_after_it_all_of_it() {
    for (edge, committed) in [("before", false), ("after", true)] {
        let point = format!("payment_db.settle.{edge}");
        let played = with(&format!("target: 'point:{point}', kind: crash, nth: 3, restart_after: 400ms"));
        keeps_all_invariants(&played);
        let lines: Vec<&str> = played.trace.lines().collect();
        let died = lines.iter().position(|line| line.contains("fault died role=payment")).unwrap();
        let started = lines.iter().position(|line| line.contains("started role=payment life=2")).unwrap();
        let injected = lines.iter().position(|line| line.contains("fault injected name=x")).unwrap();
        let settles = lines[injected..died].iter().filter(|line| line.contains("what=settle")).count();
        assert_eq!(settles, if committed { 3 } else { 2 }, "{point}");
        let between = &lines[died..started];
        let silent = !between.iter().any(|line| line.contains("service=payment") || line.contains("store=payment_db"));
        assert!(silent && between.len() > 20, "payment did something while it was dead");
    }
}

#[test]
fn what_a_crashed_role_was_told_it_has_forgotten_and_that_is_no_failure_of_the_run() {
    let text = format!(
        "{SMALL}faults:
  - {{ name: slow, at: 100ms, for: 1200ms, target: payment-provider, kind: latency, latency: 50ms }}
  - {{ name: gone, at: 600ms, for: 1s, target: process:acquirer, kind: crash }}
"
    );
    let scenario = parse(&text, "small.yaml", &[], &known()).unwrap();
    let summary = play(&scenario).map_err(|failure| failure.message).unwrap().summary;
    assert!(summary.faults.iter().all(|fault| fault.failure.is_none()), "{:?}", summary.faults);
}

#[test]
fn what_is_still_on_its_way_at_the_end_arrives_before_the_books_are_closed() {
    let played = with("target: 'link:gateway->order', kind: latency, latency: 8s");
    keeps_all_invariants(&played);
    let made = played.trace.lines().filter(|line| line.contains("kind=OrderCreated")).count();
    assert_eq!(u64::try_from(made).unwrap(), played.summary.orders.started, "an order was lost on its way");
}

#[test]
fn a_real_run_refuses_what_it_cannot_break_before_anything_starts() {
    let bench = Bench::new(&format!(
        "{TINY}faults: [ {{ name: gone, at: 1s, for: 1s, target: process:order, kind: crash }} ]\n"
    ));
    let ended = bench.shopctl(&["run", "scenario.yaml"]).exits(114);
    let said = ended.stderr();
    assert!(said.contains("fault `gone`") && said.contains("simulate") && said.lines().count() == 1, "{said}");
    assert!(!bench.path("reports").exists(), "nothing was started");
}

#[test]
fn the_matrix_names_every_world_and_every_crash_point() {
    let said = Bench::new(TINY).shopctl(&["fault", "kinds"]).exits(0).stdout();
    for part in
        ["link:A->B", "simulate: emulated", "run: not applicable", "point:payment_db.settle.after", "server:redis"]
    {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
}
