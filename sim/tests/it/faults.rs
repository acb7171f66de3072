//! Faults: planned in a scenario, by command, in virtual time; always lifted, always judged.

use experiment::report::Summary;
use experiment::report::threshold::Outcome;
use scenario::known;
use scenario::parse;
use shopctl::campaign::engine::play;

use crate::harness::{Bench, Ended, TINY};

/// So often a run in real time is made.
const TRIES: usize = 3;

/// The acquirer goes down for a second while fifteen buyers a second come; a quick breaker guards it.
pub const OUTAGE: &str = "
version: 1
name: outage
seed: 3
shop:
  users: 100
  catalog: { generate: 3, stock: 1000 }
  settings:
    gateway.rate_limit_per_minute: 6000
    acquirer.latency: 1ms..3ms
    payment.breaker_minimum_calls: 5
    payment.breaker_window: 10
    payment.breaker_open_for: 300ms
    payment.breaker_probes: 2
load:
  buyers:
    executor: constant-arrival-rate
    rate: 15
    duration: 5s
    max_vus: 150
    journey: [ order: { items: [ { sku: any, quantity: 1 } ] } ]
faults:
  - { name: down, at: 1500ms, for: 1s, target: payment-provider, kind: outage }
expect:
  late_journeys: 1
  thresholds:
    order_errors: [ rate<0.01 ]
    cancellations{from:reserved,reason:unavailable}: [ count>=1 ]
  during:
    down: { breaker_opens_within: 2s, recovers_within: 2500ms, thresholds: { order_errors: [ rate<0.01 ] } }
";

fn states(summary: &Summary) -> Vec<&str> {
    summary.breaker.transitions.iter().map(|transition| transition.to.as_str()).collect()
}

/// The same for a run in real time: customers who wait for their answers, so that a slow machine has fewer of them, and
/// the outage alone keeps the provider from answering.
fn outage_in_real_time() -> String {
    let changes = [
        ("constant-arrival-rate", "constant-vus"),
        ("rate: 15", "vus: 12"),
        ("    max_vus: 150\n", ""),
        ("quantity: 1 } ] } ]", "quantity: 1 } ] }, think: 200ms ]"),
        ("acquirer.latency: 1ms..3ms", "payment.provider_timeout: 60s\n    payment.breaker_slow_call: 60s"),
        ("at: 1500ms, for: 1s", "at: 500ms, for: 1500ms"),
        ("breaker_opens_within: 2s, recovers_within: 2500ms", "breaker_opens_within: 1500ms, recovers_within: 3s"),
    ];
    changes.into_iter().fold(OUTAGE.to_owned(), |scenario, (from, to)| {
        assert!(scenario.contains(from), "{from}");
        scenario.replace(from, to)
    })
}

/// Runs it, and once or twice more if the machine stood still for so long that a threshold was missed (99) or nothing
/// was shown (113).
fn run_in_real_time(scenario: &str) -> (Bench, Ended) {
    for _ in 1..TRIES {
        let bench = Bench::new(scenario);
        let ended = bench.shopctl(&["run", "scenario.yaml"]);
        if ![99, 113].contains(&ended.code()) {
            return (bench, ended.exits(0));
        }
    }
    let bench = Bench::new(scenario);
    let ended = bench.shopctl(&["run", "scenario.yaml"]).exits(0);
    (bench, ended)
}

#[test]
fn an_outage_opens_the_breaker_and_its_end_closes_it() {
    let (bench, ended) = run_in_real_time(&outage_in_real_time());
    let summary = bench.summary();
    let states = states(&summary);
    assert!(states.starts_with(&["open", "half-open"]) && states.ends_with(&["half-open", "closed"]), "{states:?}");
    let during: Vec<_> = summary.thresholds.iter().filter(|result| result.during.as_deref() == Some("down")).collect();
    assert_eq!(during.len(), 3);
    assert!(during.iter().all(|result| result.outcome == Outcome::Kept && result.observed.is_some()), "{during:?}");
    let fault = &summary.faults[0];
    assert!(fault.hits >= 5 && fault.lifted_at_us > fault.injected_at_us && !fault.manual, "{fault:?}");
    assert!(summary.orders.cancelled_by["unavailable"] > 0 && summary.orders.confirmed > 10);
    for said in ["fault down: payment-provider outage", "closed → open", "during down: recovers_within <=3s"] {
        assert!(ended.stdout().contains(said), "{said} is missing in\n{}", ended.stdout());
    }
}

#[test]
fn a_breaker_that_recovers_too_late_misses_its_threshold() {
    let scenario = OUTAGE.replace("recovers_within: 2500ms", "recovers_within: 1ms");
    let scenario = scenario.replace("breaker_open_for: 300ms", "breaker_open_for: 1200ms");
    let bench = Bench::new(&scenario);
    let ended = bench.shopctl(&["simulate", "scenario.yaml"]).exits(99);
    assert!(ended.stdout().contains("during down: recovers_within <=1ms"), "{}", ended.stdout());
}

#[test]
fn a_fault_that_touches_nothing_proves_nothing() {
    let scenario = OUTAGE.replace("order: { items: [ { sku: any, quantity: 1 } ] }", "view: any");
    let scenario = scenario[..scenario.find("expect:").unwrap()].to_owned();
    let bench = Bench::new(&scenario);
    let ended = bench.shopctl(&["simulate", "scenario.yaml"]).exits(113);
    assert!(ended.stdout().contains("fault down touched no call"), "{}", ended.stdout());
}

#[test]
fn an_outage_in_virtual_time_is_judged_and_leaves_the_same_trace_twice() {
    let scenario = parse(OUTAGE, "outage.yaml", &[], &known()).unwrap();
    let played = [(); 2].map(|()| play(&scenario).map_err(|failure| failure.message).unwrap());
    assert!(played[0].trace == played[1].trace, "the traces differ");
    let summary = &played[0].summary;
    assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
    assert!(states(summary).ends_with(&["closed"]), "{:?}", summary.breaker);
    assert!(played[0].trace.contains("injected") && played[0].trace.contains("lifted"));
    let recovered = played[1].summary.thresholds.iter().find(|result| result.metric == "recovers_within").unwrap();
    assert_eq!(recovered.outcome, Outcome::Kept);
}

#[test]
fn faults_come_and_go_by_command() {
    let bench = Bench::new(TINY);
    let mut shop = bench.spawn(&["up", "--chaos", "--listen", "127.0.0.1:0"]);
    let url = shop.says("fill it with").rsplit_once("--target ").unwrap().1.split(' ').next().unwrap().to_owned();
    let fault = |arguments: &[&str]| bench.shopctl(&[&["fault"], arguments, &["--target", &url]].concat());
    assert!(fault(&["list"]).exits(0).stdout().contains("nothing is broken"));
    let said = fault(&["inject", "payment-provider", "latency", "latency=200ms", "--name", "slow"]).exits(0).stdout();
    assert!(said.contains("payment-provider latency(latency=200ms)"), "{said}");
    let again = fault(&["inject", "payment-provider", "outage", "--name", "slow"]).exits(114);
    assert!(again.stderr().contains("slow"), "{}", again.stderr());
    fault(&["inject", "breaker", "force_open", "--for", "1h"]).exits(0);
    let listed = fault(&["list"]).exits(0).stdout();
    assert!(listed.contains("slow") && listed.contains("breaker force_open") && listed.contains("until"), "{listed}");
    let missing = fault(&["clear", "fast"]).exits(114);
    assert!(missing.stderr().contains("no fault called `fast` is active"), "{}", missing.stderr());
    fault(&["clear", "slow"]).exits(0);
    assert!(fault(&["clear"]).exits(0).stdout().contains("lifted force-open"));
    assert!(fault(&["list"]).exits(0).stdout().contains("nothing is broken"));
}

#[test]
fn without_chaos_there_is_no_way_to_break_anything() {
    let bench = Bench::new(TINY);
    let mut shop = bench.spawn(&["up", "--listen", "127.0.0.1:0"]);
    let url = shop.says("fill it with").rsplit_once("--target ").unwrap().1.split(' ').next().unwrap().to_owned();
    let ended = bench.shopctl(&["fault", "inject", "breaker", "force_open", "--target", &url]).exits(114);
    assert!(ended.stderr().contains("was started without --chaos"), "{}", ended.stderr());
    let cleared = bench.shopctl(&["fault", "clear", "--target", &url]).exits(114).stderr();
    assert!(cleared.contains("payment-provider: ") && cleared.contains("breaker: "), "each is named: {cleared}");
    let wrong = bench.shopctl(&["fault", "list", "--target", &url, "--admin-password", "guess"]).exits(104);
    assert!(wrong.stderr().contains("may not sign in"), "{}", wrong.stderr());
}
