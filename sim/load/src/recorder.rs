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

    /// Takes in the samples of another one.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds; what could not be added would be told as missing.
        let _ = self.0.add(&other.0);
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

impl Requests {
    fn take(&mut self, failed: bool, took: Option<(Duration, Duration)>) {
        self.count += 1;
        self.failed += u64::from(failed);
        if let Some((since_due, since_sent)) = took {
            self.corrected.record(since_due);
            self.uncorrected.record(since_sent);
        }
    }
}

/// Everything that one run's load recorded.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// By name (`order`, `search` …); requests due during the warm-up are only counted.
    pub requests: BTreeMap<&'static str, Requests>,
    pub iteration_duration: Latency,
    /// Journeys that began.
    pub begun: u64,
    pub iterations: u64,
    pub interrupted: u64,
    /// Arrivals for which no virtual user was free.
    pub dropped: u64,
    /// How late journeys began, against their plan.
    pub schedule_lag: Latency,
    /// Orders by what their first answer said.
    pub fates: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// `POST orders`, from due to answer.
    pub fn order_duration(&self) -> Option<&Latency> {
        self.requests.get("order").map(|requests| &requests.corrected)
    }
}

/// A part of the run that is looked at for itself: what was due in it.
#[derive(Debug, Clone)]
pub struct Window {
    pub name: String,
    pub from: Instant,
    /// `None` while it is open.
    pub to: Option<Instant>,
    pub requests: BTreeMap<&'static str, Requests>,
}

impl Window {
    fn holds(&self, due: Instant) -> bool {
        due >= self.from && self.to.is_none_or(|to| due < to)
    }
}

struct Inner {
    /// Latencies of what is due before are left out.
    measured_from: Instant,
    totals: Totals,
    windows: Vec<Window>,
    /// Since the last look: `POST orders`, warm-up included.
    lately: Latency,
}

/// Shared by the journeys of a run.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

impl Recorder {
    /// Latencies of what is due before `measured_from` are left out.
    pub fn new(measured_from: Instant) -> Self {
        let (totals, windows, lately) = (Totals::default(), Vec::new(), Latency::default());
        Self { inner: Arc::new(Mutex::new(Inner { measured_from, totals, windows, lately })) }
    }

    /// The warm-up ends at another instant than was thought.
    pub fn measure_from(&self, instant: Instant) {
        self.with(|inner| inner.measured_from = instant);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn request(&self, name: &'static str, due: Instant, sent: Instant, ended: Instant, failed: bool) {
        self.with(|inner| {
            let measured = due >= inner.measured_from;
            let requests = inner.totals.requests.entry(name).or_default();
            requests.take(failed, measured.then_some((ended - due, ended - sent)));
            for window in inner.windows.iter_mut().filter(|window| window.holds(due)) {
                window.requests.entry(name).or_default().take(failed, Some((ended - due, ended - sent)));
            }
            if name == "order" {
                inner.lately.record(ended - due);
            }
        });
    }

    pub fn begun(&self) {
        self.with(|inner| inner.totals.begun += 1);
    }

    /// A journey, or the first one of a virtual user, began so long after its time.
    pub fn began(&self, lag: Duration) {
        self.with(|inner| inner.totals.schedule_lag.record(lag));
    }

    pub fn iterated(&self, due: Instant, ended: Instant) {
        self.with(|inner| {
            let measured = due >= inner.measured_from;
            inner.totals.iterations += 1;
            if measured {
                inner.totals.iteration_duration.record(ended - due);
            }
        });
    }

    pub fn interrupted(&self) {
        self.with(|inner| inner.totals.interrupted += 1);
    }

    pub fn dropped(&self) {
        self.with(|inner| inner.totals.dropped += 1);
    }

    /// What the first answer to an order said.
    pub fn fate(&self, fate: &'static str) {
        self.with(|inner| *inner.totals.fates.entry(fate).or_default() += 1);
    }

    /// From now on, what is due is also noted under this name.
    pub fn open_window(&self, name: &str, from: Instant) {
        let window = Window { name: name.to_owned(), from, to: None, requests: BTreeMap::new() };
        self.with(|inner| inner.windows.push(window));
    }

    /// What is due later does not belong to it; what was due before may still end.
    pub fn close_window(&self, name: &str, to: Instant) {
        self.with(|inner| {
            inner.windows.iter_mut().filter(|window| window.name == name && window.to.is_none()).for_each(|window| {
                window.to = Some(to);
            });
        });
    }

    pub fn windows(&self) -> Vec<Window> {
        self.with(|inner| inner.windows.clone())
    }

    /// The window of this name, if it was ever opened.
    pub fn window(&self, name: &str) -> Option<Window> {
        self.with(|inner| inner.windows.iter().find(|window| window.name == name).cloned())
    }

    pub fn totals(&self) -> Totals {
        self.with(|inner| inner.totals.clone())
    }

    /// Orders answered since the last call of this, from due to answer.
    pub fn lately(&self) -> Latency {
        self.with(|inner| {
            let fresh = inner.lately.clone();
            inner.lately.0.reset();
            fresh
        })
    }
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

    #[tokio::test(start_paused = true)]
    async fn a_window_holds_what_was_due_in_it_however_late_it_ended() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let recorder = Recorder::new(start);
        recorder.request("order", at(0), at(0), at(1), false);
        recorder.open_window("outage", at(1));
        recorder.request("order", at(1), at(1), at(2), true);
        recorder.close_window("outage", at(3));
        recorder.request("order", at(2), at(2), at(9), false);
        recorder.request("order", at(3), at(3), at(4), true);
        let window = recorder.windows().remove(0);
        assert_eq!((window.requests["order"].count, window.requests["order"].failed), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn lately_is_since_the_last_look() {
        let start = Instant::now();
        let recorder = Recorder::new(start);
        recorder.request("order", start, start, start + Duration::from_secs(1), false);
        assert_eq!((recorder.lately().count(), recorder.lately().count()), (1, 0));
    }
}
