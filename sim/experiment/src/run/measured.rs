//! What thresholds are judged on: the whole run, a part of it, or the run so far.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use audit::witness::{Fate, Witness};
use load::recorder::{Latency, Requests};
use scenario::expect::{Aggregate, Threshold};
use world::probe::observe::StepHistograms;

/// Numbers of a stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub requests: BTreeMap<&'static str, Requests>,
    pub iteration_duration: Latency,
    pub iterations: u64,
    pub dropped: u64,
    pub steps: StepHistograms,
    pub fates: BTreeMap<Fate, u64>,
    /// By the state that the abort was decided in, and the reason.
    pub cancellations: BTreeMap<(String, String), u64>,
}

/// What a threshold's metric came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Microseconds, a share or a number; `None` without samples.
    pub value: Option<f64>,
    pub samples: u64,
    /// How many samples the aggregate needs.
    pub needed: u64,
    /// Latency has no meaning in virtual time.
    pub latency: bool,
}

impl Observation {
    /// The value, if there are samples enough to believe it.
    pub fn believable(&self) -> Option<f64> {
        self.value.filter(|_| self.samples >= self.needed)
    }
}

/// Orders by fate, of those that `wanted` picks by when they were first sent.
pub fn fates(witness: &Witness, wanted: impl Fn(u64) -> bool) -> BTreeMap<Fate, u64> {
    let mut counts: BTreeMap<Fate, u64> = Fate::ALL.into_iter().map(|fate| (fate, 0)).collect();
    for known in witness.orders.values().filter(|known| wanted(known.sent_at_us.unwrap_or_default())) {
        *counts.entry(known.fate().0).or_default() += 1;
    }
    counts
}

impl Measured {
    /// What the threshold's metric comes to here.
    pub fn observe(&self, threshold: &Threshold) -> Observation {
        let tag = |name: &str| threshold.tags.get(name).map(String::as_str);
        let wanted = |name: &str, value: &str| tag(name).is_none_or(|wanted| wanted == value);
        let aggregate = &threshold.expression.aggregate;
        let named = || self.requests.iter().filter(|(name, _)| wanted("name", name)).map(|(_, requests)| requests);
        let fate = |fate: Fate| self.fates.get(&fate).copied().unwrap_or_default();
        match threshold.metric {
            "saga_step_duration" => {
                let merged = self.steps.merged(|step, outcome| wanted("step", step) && wanted("outcome", outcome));
                of_histogram(merged.as_ref(), aggregate)
            }
            "order_duration" => {
                of_histogram(self.requests.get("order").map(|order| order.corrected.histogram()), aggregate)
            }
            "iteration_duration" => of_histogram(Some(self.iteration_duration.histogram()), aggregate),
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
            "order_errors" => rate(fate(Fate::Errors) + fate(Fate::Unknown), self.fates.values().sum()),
            "orders" => {
                counter(self.fates.iter().filter(|(fate, _)| wanted("fate", fate.as_str())).map(|(_, n)| n).sum())
            }
            "cancellations" => {
                let picked = self.cancellations.iter();
                let picked = picked.filter(|((from, reason), _)| wanted("from", from) && wanted("reason", reason));
                counter(picked.map(|(_, orders)| orders).sum())
            }
            "iterations" => counter(self.iterations),
            "dropped_iterations" => counter(self.dropped),
            _ => Observation { value: None, samples: 0, needed: 1, latency: false },
        }
    }
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
