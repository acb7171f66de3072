//! What the load saw, as numbers. Memory does not grow with the number of requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use tokio::time::{Duration, Instant};

/// One hour in microseconds: longer is counted as that.
const HIGHEST_US: u64 = 3_600_000_000;

/// A latency histogram: 3 significant digits, 1 µs to 1 h.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the library accepts")]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("1 µs to 1 h with 3 digits is a valid histogram"))
    }
}

impl Latency {
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(HIGHEST_US);
        self.0.saturating_record(micros.clamp(1, HIGHEST_US));
    }

    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    pub fn from_histogram(histogram: Histogram<u64>) -> Self {
        Self(histogram)
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value below which `percent` of the samples lie, in microseconds; `None` without samples.
    pub fn percentile_us(&self, percent: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(percent / 100.0))
    }
}

/// Latencies and counts of one kind of request.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// From the instant that the request was due.
    pub corrected: Latency,
    /// From the instant that it was sent.
    pub uncorrected: Latency,
    pub count: u64,
    pub failed: u64,
}

/// Everything that one run's load recorded.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// By name (`order`, `search` …); requests due during the warm-up are only counted.
    pub requests: BTreeMap<&'static str, Requests>,
    /// From the due instant to the answer of `POST orders`.
    pub order_duration: Latency,
    pub iteration_duration: Latency,
    pub iterations: u64,
    pub interrupted: u64,
    /// Arrivals for which no virtual user was free.
    pub dropped: u64,
    /// How late journeys began, against their plan.
    pub schedule_lag: Latency,
    pub fates: BTreeMap<&'static str, u64>,
}

/// Shared by the journeys of a run.
#[derive(Clone)]
pub struct Recorder {
    totals: Arc<Mutex<Totals>>,
    measured_from: Instant,
}

impl Recorder {
    /// Latencies of what is due before `measured_from` are left out.
    pub fn new(measured_from: Instant) -> Self {
        Self { totals: Arc::default(), measured_from }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Totals) -> T) -> T {
        work(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn request(&self, name: &'static str, due: Instant, sent: Instant, ended: Instant, failed: bool) {
        let measured = due >= self.measured_from;
        self.with(|totals| {
            let requests = totals.requests.entry(name).or_default();
            requests.count += 1;
            requests.failed += u64::from(failed);
            if measured {
                requests.corrected.record(ended - due);
                requests.uncorrected.record(ended - sent);
            }
            if measured && name == "order" {
                totals.order_duration.record(ended - due);
            }
        });
    }

    pub fn began(&self, lag: Duration) {
        self.with(|totals| totals.schedule_lag.record(lag));
    }

    pub fn iterated(&self, due: Instant, ended: Instant) {
        let measured = due >= self.measured_from;
        self.with(|totals| {
            totals.iterations += 1;
            if measured {
                totals.iteration_duration.record(ended - due);
            }
        });
    }

    pub fn interrupted(&self) {
        self.with(|totals| totals.interrupted += 1);
    }

    pub fn dropped(&self) {
        self.with(|totals| totals.dropped += 1);
    }

    /// For the progress line; fates as known so far.
    pub fn fate(&self, fate: &'static str) {
        self.with(|totals| *totals.fates.entry(fate).or_default() += 1);
    }

    pub fn totals(&self) -> Totals {
        self.with(|totals| totals.clone())
    }

    /// Iterations, dropped arrivals, fates and the 95th percentile of orders, without copying.
    pub fn glance(&self) -> Glance {
        self.with(|totals| Glance {
            iterations: totals.iterations,
            dropped: totals.dropped,
            fates: totals.fates.clone(),
            order_p95_us: totals.order_duration.percentile_us(95.0),
            began: totals.schedule_lag.count(),
        })
    }
}

/// A moment of a run, for a progress line.
#[derive(Debug, Clone)]
pub struct Glance {
    pub began: u64,
    pub iterations: u64,
    pub dropped: u64,
    pub fates: BTreeMap<&'static str, u64>,
    pub order_p95_us: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_sent_late_shows_its_lateness_in_the_corrected_figure_alone() {
        let due = Instant::now();
        let recorder = Recorder::new(due);
        let sent = due + Duration::from_millis(900);
        recorder.request("order", due, sent, sent + Duration::from_millis(100), false);
        let order = recorder.totals().requests.remove("order").unwrap();
        let near = |got: Option<u64>, wanted: u64| got.is_some_and(|got| got.abs_diff(wanted) <= wanted / 500);
        assert!(near(order.corrected.percentile_us(50.0), 1_000_000));
        assert!(near(order.uncorrected.percentile_us(50.0), 100_000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_warm_up_is_counted_but_not_measured() {
        let start = Instant::now();
        let recorder = Recorder::new(start + Duration::from_secs(2));
        recorder.request("order", start, start, start + Duration::from_secs(1), false);
        let order = recorder.totals().requests.remove("order").unwrap();
        assert_eq!((order.count, order.corrected.count()), (1, 0));
    }
}
