//! How long the steps take, and how many are being taken: an HDR histogram by step and outcome, and the
//! same for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::metrics::latency_histogram;
use hdrhistogram::Histogram;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram as Buckets;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::domain::{Outcome, Step};

/// One hour in microseconds: longer attempts are counted as that.
const HIGHEST_US: u64 = 3_600_000_000;

type Histograms = BTreeMap<(Step, Outcome), Histogram<u64>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    step: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

/// Counts every attempt. Memory is bounded: 8 steps × 4 outcomes, 3 significant digits, 1 µs to 1 h.
#[derive(Clone)]
pub struct StepRecorder {
    on: bool,
    histograms: Arc<Mutex<Histograms>>,
    buckets: Family<Labels, Buckets, fn() -> Buckets>,
    in_flight: Family<StepLabel, Gauge>,
    overtaken: Family<StepLabel, Counter>,
}

/// An attempt under way. It counts as one until it has ended or is dropped.
pub struct InFlight {
    recorder: StepRecorder,
    step: Step,
    started: Instant,
}

impl InFlight {
    /// Records the attempt; answers how long it took.
    pub fn ended(self, outcome: Outcome) -> Duration {
        let took = self.started.elapsed();
        self.recorder.record(self.step, outcome, took);
        took
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.recorder.on {
            self.recorder.gauge(self.step).dec();
        }
    }
}

impl Default for StepRecorder {
    fn default() -> Self {
        let buckets = Family::new_with_constructor(latency_histogram as fn() -> Buckets);
        Self {
            on: true,
            histograms: Arc::default(),
            buckets,
            in_flight: Family::default(),
            overtaken: Family::default(),
        }
    }
}

impl StepRecorder {
    /// Records only if `on`.
    pub fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// Shows the steps on `/metrics` too.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Time that an attempt of a saga step took, by step and outcome";
        registry.register("saga_step_duration_seconds", help, self.buckets.clone());
        registry.register("saga_steps_in_flight", "Attempts of saga steps under way", self.in_flight.clone());
        let help = "Attempts whose outcome was ignored: meanwhile the order had another owner, or its end";
        registry.register("saga_steps_overtaken", help, self.overtaken.clone());
    }

    /// An attempt of `step` begins.
    pub fn begin(&self, step: Step) -> InFlight {
        if self.on {
            self.gauge(step).inc();
        }
        InFlight { recorder: self.clone(), step, started: Instant::now() }
    }

    /// The outcome of an attempt of `step` came too late to be written.
    pub fn overtaken(&self, step: Step) {
        self.overtaken.get_or_create(&StepLabel { step: step.as_str() }).inc();
    }

    /// How many attempts of each step are under way.
    pub fn in_flight(&self) -> [(Step, u64); Step::ALL.len()] {
        Step::ALL.map(|step| (step, u64::try_from(self.gauge(step).get()).unwrap_or(0)))
    }

    fn gauge(&self, step: Step) -> Gauge {
        self.in_flight.get_or_create(&StepLabel { step: step.as_str() }).clone()
    }

    fn record(&self, step: Step, outcome: Outcome, took: Duration) {
        if !self.on {
            return;
        }
        let labels = Labels { step: step.as_str(), outcome: outcome.as_str() };
        self.buckets.get_or_create(&labels).observe(took.as_secs_f64());
        let micros = u64::try_from(took.as_micros()).unwrap_or(HIGHEST_US).clamp(1, HIGHEST_US);
        let mut histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = histograms.get_mut(&(step, outcome)) {
            histogram.saturating_record(micros);
            return;
        }
        // The bounds are constants that the library accepts.
        if let Ok(mut histogram) = Histogram::new_with_bounds(1, HIGHEST_US, 3) {
            histogram.saturating_record(micros);
            histograms.insert((step, outcome), histogram);
        }
    }

    /// A copy of every histogram, in microseconds.
    pub fn snapshot(&self) -> Vec<(Step, Outcome, Histogram<u64>)> {
        let histograms = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        histograms.iter().map(|((step, outcome), histogram)| (*step, *outcome, histogram.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_outcomes_apart() {
        let recorder = StepRecorder::default();
        recorder.record(Step::Cancel, Outcome::Done, Duration::from_millis(2));
        recorder.record(Step::Cancel, Outcome::Unknown, Duration::from_secs(9_999_999));
        let counts: Vec<_> = recorder.snapshot().into_iter().map(|(_, outcome, h)| (outcome, h.len())).collect();
        assert_eq!(counts, [(Outcome::Done, 1), (Outcome::Unknown, 1)]);
    }

    #[test]
    fn nothing_is_recorded_where_that_is_off() {
        let recorder = StepRecorder::new(false);
        let took = recorder.begin(Step::ReserveStock).ended(Outcome::Done);
        assert!(took < Duration::from_secs(3600), "how long it took is known all the same");
        assert!(recorder.snapshot().is_empty());
        assert!(recorder.in_flight().iter().all(|(_, attempts)| *attempts == 0));
    }

    #[test]
    fn an_attempt_is_in_flight_until_it_ends_or_is_dropped() {
        let recorder = StepRecorder::default();
        let under_way = |step| recorder.in_flight().into_iter().find(|(of, _)| *of == step).unwrap().1;
        let first = recorder.begin(Step::ReserveStock);
        let second = recorder.begin(Step::ReserveStock);
        assert_eq!((under_way(Step::ReserveStock), under_way(Step::CommitStock)), (2, 0));
        first.ended(Outcome::Done);
        assert_eq!(under_way(Step::ReserveStock), 1);
        drop(second);
        assert_eq!(under_way(Step::ReserveStock), 0);
        assert_eq!(recorder.snapshot().len(), 1, "what is dropped has no outcome");
    }
}
