//! The verdict: thresholds, invariants and the run's own validity, and the exit code they make.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::during;
use super::threshold::{Outcome, ThresholdResult};
use crate::report::exit::ExitCode;
use crate::run::Conducted;
use crate::run::board::Entry;
use crate::run::conductor::DuringSteps;
use crate::run::measured::{self, Measured};
use audit::Finding;
use audit::witness::Fate;
use scenario::Scenario;
use scenario::expect::Threshold;
use scenario::fault::DRAWN;
use shop::World;

/// A journey that began later than this after its plan says nothing about the shop.
const SCHEDULE_LAG_MAX_US: u64 = 100_000;
/// Fewer late journeys are no share of anything.
const LATE_JOURNEYS_MIN: u64 = 10;

/// Invariants that a run may have nothing to say about, and need not: it had no cancelled order, or its
/// cache was empty.
const MAY_CHECK_NOTHING: [&str; 2] = ["cancelled_net_zero", "cache_converges"];

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
    measured::fates(&conducted.witness, |_| true)
}

/// The whole run, as thresholds see it.
fn whole(conducted: &Conducted) -> Measured {
    let totals = &conducted.totals;
    Measured {
        requests: totals.requests.clone(),
        iteration_duration: totals.iteration_duration.clone(),
        iterations: totals.iterations,
        dropped: totals.dropped,
        steps: conducted.steps_measured.clone(),
        fates: fates(conducted),
        cancellations: conducted.audit.cancellations.clone(),
    }
}

/// What was due while the fault was active; `None` if it never was.
fn window(conducted: &Conducted, fault: &str) -> Option<Measured> {
    let window = conducted.windows.iter().find(|window| window.name == fault)?;
    let since_start =
        |at: Instant| u64::try_from(at.saturating_duration_since(conducted.start).as_micros()).unwrap_or(u64::MAX);
    let (from, to) = (since_start(window.from), window.to.map_or(u64::MAX, since_start));
    Some(Measured {
        requests: window.requests.clone(),
        // What was not seen leaves no samples, and the threshold without a verdict.
        steps: conducted.during_steps.get(fault).and_then(DuringSteps::steps).unwrap_or_default(),
        fates: measured::fates(&conducted.witness, |sent| (from..to).contains(&sent)),
        ..Measured::default()
    })
}

/// Judges every threshold of the scenario, those of the whole run first.
pub fn thresholds(scenario: &Scenario, conducted: &Conducted, world: World) -> Vec<ThresholdResult> {
    let all = whole(conducted);
    let mut results: Vec<ThresholdResult> =
        scenario.expect.thresholds.iter().map(|threshold| judged(threshold, &all, world)).collect();
    for during in &scenario.expect.during {
        let named = |result: ThresholdResult| ThresholdResult { during: Some(during.fault.clone()), ..result };
        results.extend(during::judge(during, conducted).into_iter().map(named));
        let measured = window(conducted, &during.fault).unwrap_or_default();
        results.extend(during.thresholds.iter().map(|threshold| named(judged(threshold, &measured, world))));
    }
    results
}

fn judged(threshold: &Threshold, measured: &Measured, world: World) -> ThresholdResult {
    let observation = measured.observe(threshold);
    let outcome = match observation.believable() {
        _ if observation.latency && world == World::Simulated => Outcome::NotJudged,
        Some(value) => match threshold.judge(value) {
            true => Outcome::Kept,
            false => Outcome::Missed,
        },
        None => Outcome::TooFewSamples,
    };
    ThresholdResult {
        metric: threshold.selector_text.clone(),
        during: None,
        expression: threshold.text.clone(),
        observed: observation.value,
        samples: observation.samples,
        outcome,
    }
}

/// What decides, by the order of exit codes: a broken invariant before everything else. `died` are the
/// roles that ended by themselves, each in a line: whatever came of it, it was not what was to be measured.
pub fn verdict(
    scenario: &Scenario,
    conducted: &Conducted,
    thresholds: &[ThresholdResult],
    died: &[String],
    world: World,
) -> Verdict {
    let mut found: Vec<(ExitCode, String)> = Vec::new();
    for finding in invariants(scenario, conducted) {
        if finding.violations > 0 {
            let example = finding.examples.first().cloned().unwrap_or_default();
            let text = format!("invariant {} broken {} times: {example}", finding.name, finding.violations);
            found.push((ExitCode::InvariantViolated, text));
        }
    }
    for entry in &conducted.faults {
        // One that was drawn may find its role down; not to be lifted is a failure all the same.
        let never_began = entry.injected.is_none() && entry.fault.name.starts_with(DRAWN);
        if let Some(why) = entry.failure.as_ref().filter(|_| !never_began) {
            found.push((ExitCode::FaultFailed, format!("fault {}: {why}", entry.fault.name)));
        }
    }
    if conducted.stopped {
        found.push((ExitCode::Stopped, "stopped by the user".into()));
    }
    found.extend(died.iter().map(|why| (ExitCode::Inconclusive, why.clone())));
    found.extend(invalid(scenario, conducted, world).into_iter().map(|why| (ExitCode::Inconclusive, why)));
    for result in thresholds {
        let text = format!("{}{} {}", result.prefix(), result.metric, result.expression);
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
        None if nothing_applies(scenario, conducted) => {
            (ExitCode::Kept.number(), "all thresholds kept; none of the invariants named is applicable here".to_owned())
        }
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
    why.extend(conducted.faults.iter().filter_map(idle));
    let confirmed = fates(conducted).get(&Fate::Confirmed).copied().unwrap_or_default();
    if conducted.audit.orders > 0 && confirmed == 0 && scenario.expect.invariants.contains(&"confirmed_iff_captured") {
        why.push("no order was confirmed: the ledger had nothing to say".into());
    }
    if world != World::Simulated {
        why.extend(late(conducted.totals.schedule_lag.histogram(), scenario.expect.late_journeys));
    }
    why.extend(invariants(scenario, conducted).filter_map(checked_nothing));
    why
}

/// Why journeys that began after their time say too little, if more than this share of them did.
fn late(lag: &Histogram<u64>, share: f64) -> Option<String> {
    let (all, limit) = (lag.len(), SCHEDULE_LAG_MAX_US / 1000);
    let late = all - lag.count_between(0, SCHEDULE_LAG_MAX_US);
    (late >= LATE_JOURNEYS_MIN && late as f64 > share * all as f64).then(|| {
        format!(
            "the generator was late: {late} of {all} journeys began more than {limit} ms after their time \
             (too much load for this machine, or something else kept it busy)"
        )
    })
}

/// The findings that the scenario asks for.
pub fn invariants<'a>(scenario: &'a Scenario, conducted: &'a Conducted) -> impl Iterator<Item = &'a Finding> {
    let named = |finding: &&Finding| scenario.expect.invariants.iter().any(|name| *name == finding.name);
    conducted.audit.findings.iter().filter(named)
}

fn nothing_applies(scenario: &Scenario, conducted: &Conducted) -> bool {
    invariants(scenario, conducted).all(|finding| finding.not_applicable.is_some())
}

fn checked_nothing(finding: &Finding) -> Option<String> {
    let name = finding.name.as_str();
    match finding.why_unseen() {
        _ if finding.checked > 0 || finding.not_applicable.is_some() => None,
        Some(why) => Some(format!("invariant {name} checked nothing: {why}")),
        None if MAY_CHECK_NOTHING.contains(&name) => None,
        None => Some(format!("invariant {name} checked nothing")),
    }
}

/// A planned fault that changed nothing proves nothing.
fn idle(entry: &Entry) -> Option<String> {
    let name = &entry.fault.name;
    match (entry.planned, entry.injected, entry.hits) {
        (None, ..) => None,
        _ if name.starts_with(DRAWN) => None,
        _ if entry.failure.is_some() => None,
        (Some(_), None, _) => Some(format!("fault {name} never came: the load was over before")),
        (Some(_), Some(_), 0) => Some(format!("fault {name} touched no call")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(on_time: u64, late: u64) -> Histogram<u64> {
        let mut lag = Histogram::new(3).unwrap();
        lag.record_n(900, on_time).unwrap();
        lag.record_n(250_000, late).unwrap();
        lag
    }

    #[test]
    fn a_generator_is_late_when_more_than_the_share_and_at_least_ten_journeys_are() {
        let told = late(&lag(490, 10), 0.01).unwrap();
        assert!(told.contains("10 of 500 journeys began more than 100 ms after their time"), "{told}");
        for (on_time, later, share) in [(491, 9, 0.01), (2_000, 20, 0.01), (0, 500, 1.0)] {
            assert_eq!(late(&lag(on_time, later), share), None);
        }
    }
}
