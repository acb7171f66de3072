//! A moment of a run as whoever watches it is told: numbers and words, nothing to compute.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Duration;

use load::recorder::Latency;

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// The load runs, and is not measured yet.
    #[default]
    WarmUp,
    Load,
    /// No more arrivals; journeys under way end.
    GracefulStop,
}

/// The run at one moment of its load.
#[derive(Debug, Clone, Default)]
pub struct Tick {
    /// Since the load's start; stands still while the load is paused.
    pub elapsed: Duration,
    /// How long the load lasts as planned.
    pub lasts: Duration,
    pub phase: Phase,
    pub paused: bool,
    /// Arrivals a second as planned for this moment; `None` for closed loads.
    pub planned_per_s: Option<f64>,
    /// Journeys begun a second, since the tick before.
    pub begun_per_s: f64,
    /// Orders a second that were told their end (confirmed or cancelled), since the tick before.
    pub ended_per_s: f64,
    pub confirmed_per_s: f64,
    /// Journeys under way.
    pub journeys_in_flight: u64,
    pub journeys_ended: u64,
    pub dropped: u64,
    /// Orders by what their first answer said: confirmed, cancelled, open, rejected, errors, unknown.
    pub fates: BTreeMap<&'static str, u64>,
    /// `POST orders` answered since the tick before, from due to answer.
    pub answered: Arc<Latency>,
    /// The same in short; `None` if there were none.
    pub latency: Option<Quantiles>,
    /// And since the warm-up's end.
    pub latency_so_far: Option<Quantiles>,
    /// Every saga step, in the saga's order.
    pub steps: Vec<StepGlance>,
    /// `None` when the payment service did not answer.
    pub breaker: Option<BreakerGlance>,
    pub thresholds: Vec<ThresholdGlance>,
    pub invariants: Vec<InvariantGlance>,
    /// Those of the scenario, then those by hand, each in the order of its start.
    pub faults: Vec<FaultGlance>,
}

/// A latency distribution in short, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantiles {
    pub count: u64,
    pub p50_us: u64,
    pub p95_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// How many classes the small distributions have.
pub const BUCKETS: usize = 16;
/// The upper end of the first class, in microseconds; each later one ends at twice the one before,
/// and the last has no end.
pub const FIRST_BUCKET_US: u64 = 128;

/// The attempts of one saga step since the shop's start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepGlance {
    pub step: &'static str,
    pub in_flight: u64,
    pub done: u64,
    pub refused: u64,
    pub ongoing: u64,
    pub unknown: u64,
    pub quantiles: Option<Quantiles>,
    /// Attempts by how long they took; see [`FIRST_BUCKET_US`].
    pub buckets: [u64; BUCKETS],
}

/// The payment service's circuit breaker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BreakerGlance {
    /// closed, open, half-open.
    pub state: String,
    /// What it is forced to, if it is: open, closed.
    pub forced: Option<String>,
    pub window: BreakerWindow,
    /// Oldest first, bounded.
    pub transitions: Vec<TransitionGlance>,
}

/// What the breaker judges by, and how that stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BreakerWindow {
    /// In the window now.
    pub calls: u64,
    pub failed: u64,
    pub slow: u64,
    /// The most that it holds, and with fewer than `minimum_calls` nothing is judged.
    pub window_calls: u64,
    pub minimum_calls: u64,
    /// It opens at these shares.
    pub failure_rate: f64,
    pub slow_rate: f64,
    /// How long it stays open, and what is left of that.
    pub open_for: Duration,
    pub open_for_left: Option<Duration>,
    /// How many probes decide when it is half-open, and how many have reported.
    pub probes: u64,
    pub probes_reported: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionGlance {
    /// Since the load's start.
    pub at: Duration,
    pub from: String,
    pub to: String,
    pub why: String,
}

/// A threshold so far.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdGlance {
    /// As written: `saga_step_duration{step:reserve_stock}`.
    pub metric: String,
    /// As written: `p(99)<50ms`.
    pub expression: String,
    /// The fault that it is judged during; `None` for the whole run.
    pub during: Option<String>,
    /// In the metric's unit, as `report::terminal::observed` shows it; `None` without samples.
    pub observed: Option<f64>,
    /// How far it is from the bound, as a share of the bound: 0.4 is 40 % to spare, less than 0 is
    /// missed. `None` where that has no meaning.
    pub margin: Option<f64>,
    pub standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Would be kept if the run ended now.
    Kept,
    Missed,
    /// Too few samples yet, or its time has not come.
    Waiting,
}

/// An invariant so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvariantGlance {
    pub name: &'static str,
    /// How often it was checked; 0 if it is checked only at the end.
    pub checked: u64,
    pub violations: u64,
    /// It has a meaning for this shop.
    pub applicable: bool,
}

/// A fault, planned or by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultGlance {
    pub name: String,
    /// `payment-provider outage`, `breaker force_open`, with parameters in brackets.
    pub what: String,
    /// When after the load's start, and for how long; `None` for one that was injected by hand.
    pub planned: Option<(Duration, Duration)>,
    /// Since the load's start.
    pub injected: Option<Duration>,
    pub lifted: Option<Duration>,
    /// How many calls it has touched.
    pub hits: u64,
    /// Why it could not be injected or lifted.
    pub failure: Option<String>,
}

impl FaultGlance {
    pub fn is_active(&self) -> bool {
        self.injected.is_some() && self.lifted.is_none()
    }
}

/// What whoever watches may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// No more journeys start, and the schedule stands still, until `Resume`.
    Pause,
    Resume,
    /// Journeys under way end, then the verdict follows.
    StopGently,
    /// At once, without a verdict: whoever runs the load leaves it.
    StopNow,
    /// By hand: the run is then not comparable with others.
    Inject {
        target: &'static str,
        kind: &'static str,
        parameters: BTreeMap<String, String>,
    },
    /// The fault with this name, planned or by hand.
    Lift(String),
}
