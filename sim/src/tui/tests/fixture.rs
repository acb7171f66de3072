//! A flash sale, told to a [`State`] as a run would: calm, or with an outage of the payment provider
//! from 2 s to 5 s. Everything is made up from the time alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::tui::state::{Ending, State};
use crate::tui::theme::Theme;
use crate::tui::update::{Input, update};
use experiment::report::Summary;
use experiment::run::glance::*;
use experiment::run::progress::Event;
use scenario::expect::INVARIANTS;
use scenario::{PlannedFault, Scenario};

const SCENARIO: &str = "
version: 1
name: flash-sale
about: 2,000 buyers fall on 500 units of one product
seed: 42
shop:
  users: 2000
  catalog: { generate: 200, stock: 10000, items: [{ sku: SNEAKER-42, name: Sneaker, price: 129.00 EUR, stock: 500 }] }
load:
  buyers:
    executor: ramping-arrival-rate
    start_rate: 20
    stages: [{ duration: 4s, target: 245 }, { duration: 6s, target: 245 }]
    max_vus: 1000
    journey: [{ order: { items: [{ sku: SNEAKER-42, quantity: 1..2 }] } }]
expect:
  thresholds:
    saga_step_duration{step:reserve_stock}: [p(99)<50ms]
    order_duration: [p(95)<500ms]
    order_errors: [rate<0.01]
  invariants: all
warmup: 2s
";
const LASTS_S: f64 = 10.0;

pub fn secs(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1e3).round() as u64)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    Calm,
    Outage,
}

/// The scenario, with the outage if the story has one.
pub fn scenario(story: Story) -> Scenario {
    let mut scenario = scenario::parse(SCENARIO, "flash-sale.yaml", &[], &scenario::known()).unwrap();
    if story == Story::Outage {
        scenario.name = "flash-sale-outage".into();
        let fault = acquirer::FAULTS.fault("acquirer-down", "outage", &BTreeMap::new()).unwrap();
        scenario.faults.push(PlannedFault { fault, at: secs(2.0), lasts: secs(3.0) });
        let fault =
            acquirer::FAULTS.fault("slow-bank", "latency", &BTreeMap::from([("latency".into(), "40ms..90ms".into())]));
        scenario.faults.push(PlannedFault { fault: fault.unwrap(), at: secs(7.5), lasts: secs(1.5) });
    }
    scenario
}

/// The state of this story at so many seconds of its load.
pub fn state(story: Story, at_s: f64, theme: Theme) -> State {
    let mut state = State::new(&scenario(story), theme);
    for event in events(story, at_s) {
        update(&mut state, Input::Run(event));
    }
    state
}

/// What a run tells until then.
pub fn events(story: Story, until_s: f64) -> Vec<Event> {
    let took = secs(0.4);
    let mut events = vec![
        Event::ShopUp { took, holdings: Arc::default() },
        Event::Seeded { users: 2000, products: 201, took },
        Event::LoadStarts { at: kernel::Timestamp::from_micros(1_700_000_000_000_000) },
    ];
    let ticks = (until_s * 2.0) as u32;
    events.extend((1..=ticks).map(|number| Event::Tick(Box::new(tick(story, f64::from(number) / 2.0)))));
    events
}

/// The state when it has ended.
pub fn ended(story: Story, passed: bool, theme: Theme) -> State {
    let mut state = state(story, 10.5, theme);
    update(&mut state, Input::Run(Event::Settling));
    update(&mut state, Input::Run(Event::Judging));
    update(&mut state, Input::Ended(Ending::Verdict(Box::new(summary(passed)))));
    state
}

fn is_down(story: Story, at_s: f64) -> bool {
    story == Story::Outage && (2.0..5.0).contains(&at_s)
}

fn planned(at_s: f64) -> f64 {
    if at_s >= LASTS_S { 0.0 } else { (20.0 + 56.25 * at_s).min(245.0) }
}

/// Arrivals until then.
fn arrived(at_s: f64) -> f64 {
    let ramp = at_s.min(4.0);
    20.0 * ramp + 28.125 * ramp * ramp + 245.0 * (at_s.min(LASTS_S) - 4.0).max(0.0)
}

/// The shop slows down as it fills, and more when it is hurt.
fn latency(story: Story, at_s: f64) -> Quantiles {
    let wave = 1.0 + 0.15 * (at_s * 2.6).sin();
    let load = planned(at_s) / 245.0;
    let hurt = if is_down(story, at_s) { (8.0 - 2.0 * (at_s - 2.0)).max(2.0) } else { 1.0 };
    let us = |ms: f64| (ms * 1e3 * wave) as u64;
    let p50_us = us(9.0 + 14.0 * load);
    let p95_us = us((30.0 + 34.0 * load) * hurt);
    let p99_us = us((44.0 + 70.0 * load) * hurt * 1.3);
    Quantiles { count: (planned(at_s) / 2.0) as u64, p50_us, p95_us, p99_us, max_us: p99_us * 5 / 4 }
}

fn fates(story: Story, at_s: f64) -> BTreeMap<&'static str, u64> {
    let all = (arrived((at_s - 0.2).max(0.0))) as u64;
    let lost = if story == Story::Outage { (arrived(at_s.clamp(2.0, 5.0)) - arrived(2.0)) * 0.9 } else { 0.0 } as u64;
    let open = if is_down(story, at_s) { 9 } else { 3 }.min(all);
    let sold = ((all - lost) * 97 / 100).min(334);
    let unknown = if story == Story::Outage && at_s > 2.5 { 4 } else { 0 };
    let cancelled = all.saturating_sub(sold + open + unknown);
    BTreeMap::from([("confirmed", sold), ("cancelled", cancelled), ("open", open), ("unknown", unknown)])
}

/// Attempts around a middle class.
fn spread(attempts: u64, middle: usize) -> [u64; BUCKETS] {
    let mut buckets = [0; BUCKETS];
    for (class, bucket) in buckets.iter_mut().enumerate() {
        let part = match class.abs_diff(middle) {
            0 => 52,
            1 if class < middle => 12,
            1 => 22,
            2 if class > middle => 8,
            3 if class > middle => 4,
            4 if class > middle => 2,
            _ => 0,
        };
        *bucket = attempts * part / 100;
    }
    buckets
}

fn step(name: &'static str, attempts: u64, p50_us: u64, middle: usize) -> StepGlance {
    let quantiles = Quantiles {
        count: attempts,
        p50_us,
        p95_us: p50_us * 22 / 10,
        p99_us: p50_us * 41 / 10,
        max_us: p50_us * 95 / 10,
    };
    let quantiles = (attempts > 0).then_some(quantiles);
    StepGlance { step: name, done: attempts, quantiles, buckets: spread(attempts, middle), ..StepGlance::default() }
}

fn steps(story: Story, at_s: f64) -> Vec<StepGlance> {
    let all = arrived(at_s) as u64;
    let fates = fates(story, at_s);
    let (sold, cancelled) = (fates["confirmed"], fates["cancelled"]);
    let declined = sold / 32;
    let lost = if story == Story::Outage { cancelled.min(300) } else { 0 };
    let sold_out = cancelled.saturating_sub(lost + declined);
    let reserved = sold + declined + lost;
    let mut steps = vec![
        step("create", all, 1_400, 4),
        StepGlance { refused: sold_out, in_flight: 6, ..step("reserve_stock", reserved, 3_100, 5) },
        StepGlance { refused: declined + lost, in_flight: 11, ..step("process_payment", sold, 21_700, 8) },
        step("confirm", sold, 1_100, 3),
        StepGlance { in_flight: 2, ..step("commit_stock", sold.saturating_sub(2), 2_600, 4) },
        step("refund_payment", if lost > 0 { 4 } else { 0 }, 18_200, 7),
        step("release_stock", declined + lost, 2_900, 5),
        step("cancel", cancelled, 1_200, 3),
    ];
    if lost > 0 {
        steps[2].unknown = 4;
        steps[2].ongoing = 7;
    }
    steps
}

fn breaker(story: Story, at_s: f64) -> BreakerGlance {
    let changes = [
        (2.21, "closed", "open", "12 of 20 calls failed"),
        (3.21, "open", "half-open", "open for long enough"),
        (3.24, "half-open", "open", "5 of 5 calls failed"),
        (4.24, "open", "half-open", "open for long enough"),
        (4.27, "half-open", "open", "5 of 5 calls failed"),
        (5.27, "open", "half-open", "open for long enough"),
        (5.36, "half-open", "closed", "the probes succeeded"),
    ];
    let happened = changes.into_iter().filter(|(at, ..)| story == Story::Outage && *at <= at_s);
    let transitions: Vec<TransitionGlance> = happened
        .map(|(at, from, to, why)| TransitionGlance { at: secs(at), from: from.into(), to: to.into(), why: why.into() })
        .collect();
    let state = transitions.last().map_or("closed", |last| last.to.as_str()).to_owned();
    let since = transitions.last().map(|last| last.at).unwrap_or_default();
    let left = (state == "open").then(|| (since + secs(1.0)).saturating_sub(secs(at_s)));
    let calls = (arrived(at_s) as u64).min(50);
    let failed = if state == "open" { 12 } else { 0 };
    BreakerGlance {
        window: BreakerWindow {
            calls: if state == "open" { 20 } else { calls },
            failed,
            slow: 1,
            window_calls: 50,
            minimum_calls: 20,
            failure_rate: 0.5,
            slow_rate: 0.8,
            open_for: secs(1.0),
            open_for_left: left,
            probes: 5,
            probes_reported: if state == "open" { 5 } else { 0 },
        },
        state,
        forced: None,
        transitions,
    }
}

fn thresholds(story: Story, at_s: f64) -> Vec<ThresholdGlance> {
    let measured = at_s > 2.0;
    let threshold = |metric: &str, expression: &str, observed: f64, margin: f64| ThresholdGlance {
        metric: metric.into(),
        expression: expression.into(),
        during: None,
        observed: measured.then_some(observed),
        margin: measured.then_some(margin),
        standing: match (measured, margin < 0.0) {
            (false, _) => Standing::Waiting,
            (true, true) => Standing::Missed,
            (true, false) => Standing::Kept,
        },
    };
    let bad = story == Story::Outage;
    let p95 = if bad { 468_000.0 } else { 71_400.0 };
    let rate = if bad { 0.0123 } else { 0.0 };
    vec![
        threshold("saga_step_duration{step:reserve_stock}", "p(99)<50ms", 12_710.0, 0.746),
        threshold("order_duration", "p(95)<500ms", p95, 1.0 - p95 / 500_000.0),
        threshold("order_errors", "rate<0.01", rate, 1.0 - rate / 0.01),
    ]
}

fn faults(story: Story, at_s: f64) -> Vec<FaultGlance> {
    let planned = scenario(story).faults;
    let glances = planned.into_iter().map(|planned| {
        let (from, to) = (planned.at, planned.at + planned.lasts);
        let now = secs(at_s);
        FaultGlance {
            name: planned.fault.name.clone(),
            what: planned.fault.to_string(),
            planned: Some((planned.at, planned.lasts)),
            injected: (now >= from).then_some(from),
            lifted: (now >= to).then_some(to),
            hits: if now >= from { (now.min(to) - from).as_millis() as u64 / 97 } else { 0 },
            failure: None,
        }
    });
    glances.collect()
}

pub fn tick(story: Story, at_s: f64) -> Tick {
    let ended = at_s.min(LASTS_S);
    let measured = at_s > 2.0;
    let down = is_down(story, at_s);
    let begun_per_s = (arrived(at_s) - arrived(at_s - 0.5)) * 2.0;
    let sold_out = fates(story, at_s)["confirmed"] >= 334;
    Tick {
        elapsed: secs(at_s),
        lasts: secs(LASTS_S),
        phase: if at_s > LASTS_S {
            Phase::GracefulStop
        } else if measured {
            Phase::Load
        } else {
            Phase::WarmUp
        },
        paused: false,
        planned_per_s: Some(planned(at_s)),
        begun_per_s: begun_per_s * (1.0 + 0.03 * (at_s * 5.0).sin()),
        ended_per_s: begun_per_s * if down { 0.93 } else { 0.99 },
        confirmed_per_s: if down || sold_out { 0.0 } else { begun_per_s * 0.96 },
        journeys_in_flight: (planned(at_s) * 0.21) as u64,
        journeys_ended: arrived((at_s - 0.2).max(0.0)) as u64,
        dropped: 0,
        fates: fates(story, at_s),
        answered: Arc::default(),
        latency: Some(latency(story, at_s)).filter(|latency| latency.count > 0),
        latency_so_far: measured.then(|| latency(story, ended)),
        steps: steps(story, at_s),
        breaker: Some(breaker(story, at_s)),
        thresholds: thresholds(story, at_s),
        invariants: INVARIANTS
            .iter()
            .map(|name| {
                let live = ["stock_not_negative", "one_key_one_order", "never_told_more_than_stock"].contains(name);
                let checked = if live { arrived(at_s) as u64 } else { 0 };
                InvariantGlance { name, checked, violations: 0, applicable: *name != "cache_converges" }
            })
            .collect(),
        faults: faults(story, at_s),
    }
}

fn findings(passed: bool) -> Vec<serde_json::Value> {
    INVARIANTS
        .iter()
        .map(|name| {
            let broken = !passed && *name == "stock_conserved";
            let examples = if broken {
                vec!["SNEAKER-42: 500 units in the beginning, but 12 available, 0 reserved and 489 sold: one too many"]
            } else {
                vec![]
            };
            if *name == "cache_converges" {
                let why = "the services of this shop keep their caches in their own memory";
                let none: [&str; 0] = [];
                return serde_json::json!({
                    "name": name, "checked": 0, "violations": 0, "examples": none, "not_applicable": why,
                });
            }
            serde_json::json!({
                "name": name, "checked": 2000, "violations": u64::from(broken), "examples": examples,
            })
        })
        .collect()
}

/// What the run comes to: all kept, or a unit sold twice and a threshold missed.
pub fn summary(passed: bool) -> Summary {
    let (exit_code, because) = match passed {
        true => (0, "all invariants and thresholds kept".to_owned()),
        false => (
            111,
            "invariant stock_conserved broken 1 times: SNEAKER-42: 500 units in the beginning, but 501 now".to_owned(),
        ),
    };
    let missed = "threshold missed: order_errors rate<0.01".to_owned();
    let reasons = if passed { vec![] } else { vec![because.clone(), missed] };
    let change =
        |at_us: i64, from: &str, to: &str| serde_json::json!({"at_us": at_us, "from": from, "to": to, "why": "x"});
    let transitions = if passed {
        vec![]
    } else {
        vec![change(1, "closed", "open"), change(2, "open", "half-open"), change(3, "half-open", "closed")]
    };
    let percentiles = serde_json::json!({
        "p50_us": 22_100, "p90_us": 41_000, "p95_us": 71_400, "p99_us": 120_000, "p999_us": 180_000, "max_us": 203_000,
    });
    let mut order = serde_json::json!({
        "count": 2000, "failed": 0, "measured": 1800, "uncorrected": percentiles,
    });
    order.as_object_mut().unwrap().extend(percentiles.as_object().unwrap().clone());
    let step = serde_json::json!({
        "count": 2000, "outcomes": { "done": 2000 }, "measured": 1800, "p50_us": 1_400, "p90_us": 2_900,
        "p95_us": 3_100, "p99_us": 5_700, "p999_us": 9_000, "max_us": 13_300,
    });
    let steps: BTreeMap<&str, _> = order::domain::Step::ALL.iter().map(|name| (name.as_str(), step.clone())).collect();
    let rate = if passed { 0.0 } else { 0.0123 };
    let errors = if passed { 0 } else { 21 };
    let fault = serde_json::json!({
        "name": "acquirer-down", "target": "payment-provider", "kind": "outage", "parameters": {}, "manual": false,
        "planned_at_s": 2.0, "planned_for_s": 3.0, "injected_at_s": 2.0, "lifted_at_s": 5.0,
        "injected_at_us": 2, "lifted_at_us": 5, "hits": 30, "failure": null,
    });
    let value = serde_json::json!({
        "version": 1, "scenario": { "name": "flash-sale", "about": "", "hash": "0123456789abcdef", "warmup_s": 2.0 },
        "seed": 42, "infra": "embedded", "durability": "", "commit": null, "shopctl": "0.1.0", "machine": "",
        "settings": {}, "verdict": { "exit_code": exit_code, "because": because, "reasons": reasons },
        "exit_code": exit_code, "startup_ms": 400.0, "seeding_ms": 400.0, "duration_s": 11.2, "load_s": 10.3,
        "orders": {
            "started": 2000, "confirmed": 334, "cancelled": 1645 + 21 - errors,
            "cancelled_by": { "declined": 10, "sold_out": 1635 + 21 - errors },
            "rejected": 0, "errors": errors, "unknown": 0, "units_confirmed": { "SNEAKER-42": 500 },
        },
        "throughput_per_s": 32.4, "http": { "order": order }, "steps": steps,
        "breaker": { "state": "closed", "transitions": transitions },
        "faults": if passed { vec![] } else { vec![fault] }, "manual": false, "cancellations": [],
        "thresholds": [
            { "metric": "saga_step_duration{step:reserve_stock}", "during": null, "expression": "p(99)<50ms",
              "observed": 12_710.0, "samples": 1800, "outcome": "kept" },
            { "metric": "order_duration", "during": null, "expression": "p(95)<500ms",
              "observed": 71_400.0, "samples": 1800, "outcome": "kept" },
            { "metric": "order_errors", "during": null, "expression": "rate<0.01",
              "observed": rate, "samples": 2000, "outcome": if passed { "kept" } else { "missed" } },
        ],
        "invariants": findings(passed), "resources": {},
        "generator": { "cpu_pct": 12.0, "schedule_lag_p99_us": 900, "dropped": 0, "interrupted": 0 },
    });
    serde_json::from_value(value).unwrap()
}
