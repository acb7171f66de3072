//! The verdict: thresholds, invariants and the run's own validity, and the exit code they make.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::audit::witness::Fate;
use crate::cli::exit::ExitCode;
use crate::load::recorder::Latency;
use crate::run::Conducted;
use crate::scenario::Scenario;
use crate::scenario::expect::{Aggregate, Threshold};

/// A journey that began later than this after its plan says nothing about the shop.
const SCHEDULE_LAG_MAX_US: u64 = 100_000;
/// So many late journeys, and at least one in a hundred, make a run that proves nothing; fewer are a
/// hiccup of the machine, which the latencies from the due instant show anyway.
const LATE_JOURNEYS_MIN: u64 = 10;

/// Which world a run was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Real time, SQLite, in-process event log.
    Embedded,
    /// Virtual time: CPU costs nothing, so latencies are not judged.
    Simulated,
}

/// How a threshold came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Kept,
    Missed,
    /// Too few samples to say.
    TooFewSamples,
    /// Latency has no meaning in virtual time.
    NotJudged,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThresholdResult {
    pub metric: String,
    /// The fault during which it was judged; `None` for the whole run.
    #[serde(default)]
    pub during: Option<String>,
    pub expression: String,
    /// Microseconds for latencies; a share or a number otherwise. `None` without samples.
    pub observed: Option<f64>,
    pub samples: u64,
    pub outcome: Outcome,
}

/// What the run comes to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    pub exit_code: u8,
    /// One line: what decided.
    pub because: String,
    /// Everything that speaks against the run, most severe first.
    pub reasons: Vec<String>,
}

/// Orders by fate.
pub fn fates(conducted: &Conducted) -> BTreeMap<Fate, u64> {
    let mut counts: BTreeMap<Fate, u64> = Fate::ALL.into_iter().map(|fate| (fate, 0)).collect();
    for known in conducted.witness.orders.values() {
        *counts.entry(known.fate().0).or_default() += 1;
    }
    counts
}

struct Observation {
    value: Option<f64>,
    samples: u64,
    /// How many samples the aggregate needs.
    needed: u64,
    latency: bool,
}

fn of_histogram(histogram: Option<&Histogram<u64>>, aggregate: &Aggregate) -> Observation {
    let samples = histogram.map_or(0, Histogram::len);
    let value = histogram.filter(|histogram| !histogram.is_empty()).map(|histogram| match aggregate {
        Aggregate::Percentile(percent) => histogram.value_at_quantile(percent / 100.0) as f64,
        Aggregate::Med => histogram.value_at_quantile(0.5) as f64,
        Aggregate::Avg => histogram.mean(),
        Aggregate::Min => histogram.min() as f64,
        Aggregate::Max => histogram.max() as f64,
        Aggregate::Rate | Aggregate::Count => samples as f64,
    });
    let needed = match aggregate {
        // A percentile needs at least one sample beyond it.
        Aggregate::Percentile(percent) if *percent < 100.0 => (1.0 / (1.0 - percent / 100.0)).round() as u64,
        _ => 1,
    };
    Observation { value, samples, needed, latency: true }
}

fn rate(bad: u64, all: u64) -> Observation {
    let value = (all > 0).then(|| bad as f64 / all as f64);
    Observation { value, samples: all, needed: 1, latency: false }
}

fn counter(count: u64) -> Observation {
    Observation { value: Some(count as f64), samples: count, needed: 0, latency: false }
}

fn observe(threshold: &Threshold, conducted: &Conducted) -> Observation {
    let tag = |name: &str| threshold.tags.get(name).map(String::as_str);
    let wanted = |name: &str, value: &str| tag(name).is_none_or(|wanted| wanted == value);
    let aggregate = &threshold.expression.aggregate;
    let totals = &conducted.totals;
    let named = || totals.requests.iter().filter(|(name, _)| wanted("name", name)).map(|(_, requests)| requests);
    match threshold.metric {
        "saga_step_duration" => {
            let merged =
                conducted.steps_measured.merged(|step, outcome| wanted("step", step) && wanted("outcome", outcome));
            of_histogram(merged.as_ref(), aggregate)
        }
        "order_duration" => of_histogram(Some(totals.order_duration.histogram()), aggregate),
        "iteration_duration" => of_histogram(Some(totals.iteration_duration.histogram()), aggregate),
        "http_req_duration" => {
            let mut sum = Latency::default().histogram().clone();
            for requests in named() {
                // All have the same bounds.
                let _ = sum.add(requests.corrected.histogram());
            }
            of_histogram(Some(&sum), aggregate)
        }
        "http_req_failed" => {
            rate(named().map(|requests| requests.failed).sum(), named().map(|requests| requests.count).sum())
        }
        "http_reqs" => counter(named().map(|requests| requests.count).sum()),
        "order_errors" => {
            let fates = fates(conducted);
            let of = |fate: Fate| fates.get(&fate).copied().unwrap_or_default();
            rate(of(Fate::Errors) + of(Fate::Unknown), fates.values().sum())
        }
        "orders" => {
            counter(fates(conducted).iter().filter(|(fate, _)| wanted("fate", fate.as_str())).map(|(_, n)| n).sum())
        }
        "iterations" => counter(totals.iterations),
        "dropped_iterations" => counter(totals.dropped),
        _ => Observation { value: None, samples: 0, needed: 1, latency: false },
    }
}

/// Judges every threshold of the scenario.
pub fn thresholds(scenario: &Scenario, conducted: &Conducted, world: World) -> Vec<ThresholdResult> {
    let judged = scenario.expect.thresholds.iter().map(|threshold| {
        let observation = observe(threshold, conducted);
        let outcome = match observation.value {
            _ if observation.latency && world == World::Simulated => Outcome::NotJudged,
            Some(value) if observation.samples >= observation.needed => match threshold.judge(value) {
                true => Outcome::Kept,
                false => Outcome::Missed,
            },
            _ => Outcome::TooFewSamples,
        };
        ThresholdResult {
            metric: threshold.selector_text.clone(),
            during: None,
            expression: threshold.text.clone(),
            observed: observation.value,
            samples: observation.samples,
            outcome,
        }
    });
    judged.collect()
}

/// What decides, by the order of exit codes: a broken invariant before everything else.
pub fn verdict(scenario: &Scenario, conducted: &Conducted, thresholds: &[ThresholdResult], world: World) -> Verdict {
    let mut found: Vec<(ExitCode, String)> = Vec::new();
    for finding in &conducted.audit.findings {
        let judged = scenario.expect.invariants.iter().any(|name| *name == finding.name);
        if judged && finding.violations > 0 {
            let example = finding.examples.first().cloned().unwrap_or_default();
            let text = format!("invariant {} broken {} times: {example}", finding.name, finding.violations);
            found.push((ExitCode::InvariantViolated, text));
        }
    }
    if conducted.stopped {
        found.push((ExitCode::Stopped, "stopped by the user".into()));
    }
    found.extend(invalid(scenario, conducted, world).into_iter().map(|why| (ExitCode::Inconclusive, why)));
    for result in thresholds {
        let text = format!("{} {}", result.metric, result.expression);
        match result.outcome {
            Outcome::Missed => found.push((ExitCode::ThresholdMissed, format!("threshold missed: {text}"))),
            Outcome::TooFewSamples => {
                let text = format!("too few samples ({}) to judge {text}", result.samples);
                found.push((ExitCode::Inconclusive, text));
            }
            Outcome::Kept | Outcome::NotJudged => {}
        }
    }
    found.sort_by_key(|(code, _)| code.severity());
    let (exit_code, because) = match found.first() {
        Some((code, text)) => (code.number(), text.clone()),
        None => (ExitCode::Kept.number(), "all invariants and thresholds kept".to_owned()),
    };
    Verdict { exit_code, because, reasons: found.into_iter().map(|(_, text)| text).collect() }
}

/// Why the run proves nothing, if it does not.
fn invalid(scenario: &Scenario, conducted: &Conducted, world: World) -> Vec<String> {
    let mut why = Vec::new();
    why.extend(conducted.audit.inconclusive.clone());
    why.extend(conducted.unseen.iter().map(|what| format!("not seen: {what}")));
    if let Some(failure) = &conducted.record_failure {
        why.push(format!("the witness's record has holes: {failure}"));
    }
    let confirmed = fates(conducted).get(&Fate::Confirmed).copied().unwrap_or_default();
    if conducted.audit.orders > 0 && confirmed == 0 && scenario.expect.invariants.contains(&"confirmed_iff_captured") {
        why.push("no order was confirmed: the ledger had nothing to say".into());
    }
    let lag = conducted.totals.schedule_lag.histogram();
    let late = lag.len() - lag.count_between(0, SCHEDULE_LAG_MAX_US);
    if world == World::Embedded && late >= LATE_JOURNEYS_MIN.max(lag.len() / 100) {
        let (all, limit) = (lag.len(), SCHEDULE_LAG_MAX_US / 1000);
        why.push(format!(
            "the generator was late: {late} of {all} journeys began more than {limit} ms after their time \
             (too much load for this machine, or something else kept it busy)"
        ));
    }
    for (name, finding) in conducted.audit.findings.iter().map(|finding| (&finding.name, finding)) {
        let judged = scenario.expect.invariants.iter().any(|judged| judged == name);
        // A run without a cancelled order has nothing to say about those, and need not.
        if judged && finding.checked == 0 && name != "cancelled_net_zero" {
            why.push(format!("invariant {name} checked nothing"));
        }
    }
    why
}
