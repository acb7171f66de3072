//! Watches a load for people: twice a second everything that a dashboard shows. On a thread of its
//! own, so that looking costs the load nothing but the machine's time.

use std::collections::BTreeMap;
use std::sync::Arc;

use hdrhistogram::Histogram;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::glance::{
    BUCKETS, BreakerGlance, BreakerWindow, FIRST_BUCKET_US, InvariantGlance, Phase, Quantiles, Standing, StepGlance,
    ThresholdGlance, Tick, TransitionGlance,
};
use super::live::LiveInvariants;
use super::progress::{Event, Sink};
use crate::run::conductor::{Conductor, Lookout};
use crate::run::measured::Measured;
use crate::run::recovery::{self, Recovery, Took};
use audit::witness::Fate;
use load::journey::Stage;
use load::recorder::{Latency, Totals};
use order::domain::{Outcome, Step};
use scenario::expect::{Comparison, Threshold};
use scenario::{Executor, Scenario};
use world::Surroundings;
use world::probe::observe::{self, BreakerNow, StepHistograms, Transition};

/// The latest transitions of the breaker, as many as a screen can make sense of.
const TRANSITIONS_SHOWN: usize = 500;
const PERIOD: Duration = Duration::from_millis(500);

/// Everything that a watcher looks at.
pub struct Watch {
    pub surroundings: Surroundings,
    pub scenario: Scenario,
    pub stage: Arc<Stage>,
    pub conductor: Conductor,
    pub lookout: Lookout,
    pub invariants: LiveInvariants,
    /// The shop's clock at the load's start, in microseconds since 1970.
    pub started_at_us: i64,
    pub sink: Sink,
    /// Cancelled when the load is over.
    pub over: CancellationToken,
}

/// What the last look saw, to tell how fast things go.
#[derive(Default)]
struct Before {
    at: Duration,
    begun: u64,
    ended: u64,
    confirmed: u64,
    /// Begun, ended and confirmed a second, as last told.
    rates: [f64; 3],
}

/// Shorter times say nothing about how fast things go.
const SHORTEST: Duration = Duration::from_millis(200);

impl Watch {
    /// Looks until the load is over, and once more then.
    pub async fn run(mut self) {
        let mut before = Before::default();
        for number in 1.. {
            let due = self.stage.start + PERIOD * number;
            let over = tokio::select! {
                biased;
                () = self.over.cancelled() => true,
                () = sleep_until(due) => false,
            };
            // Looks that could not be taken in time are left out.
            if !over && Instant::now() > due + PERIOD {
                continue;
            }
            let tick = self.look(&mut before).await;
            (self.sink)(&Event::Tick(Box::new(tick)));
            if over {
                return;
            }
        }
    }

    async fn look(&mut self, before: &mut Before) -> Tick {
        let steps = observe::steps(&self.surroundings).await.unwrap_or_default();
        let in_flight = observe::in_flight(&self.surroundings).await.unwrap_or_default();
        let breaker = observe::breaker_now(&self.surroundings).await.ok();
        self.lookout.look().await;
        let invariants = self.invariants().await;
        let (stage, clock) = (&self.stage, &self.stage.clock);
        let (totals, elapsed) = (stage.recorder.totals(), clock.elapsed());
        let lately = stage.recorder.lately();
        let measured = so_far(&totals, &steps);
        let remembered = breaker.as_ref().map(|now| now.breaker.transitions.as_slice()).unwrap_or_default();
        let transitions = self.conductor.transitions(remembered);
        let wall = stage.start.elapsed();
        let mut tick = Tick {
            elapsed,
            lasts: self.scenario.duration(),
            phase: phase(&self.scenario, elapsed),
            paused: clock.is_paused(),
            planned_per_s: planned_per_s(&self.scenario, elapsed),
            latency: quantiles(lately.histogram()),
            answered: Arc::new(lately),
            latency_so_far: totals.order_duration().map(Latency::histogram).and_then(quantiles),
            steps: Step::ALL.into_iter().map(|step| step_glance(step, &steps, &in_flight)).collect(),
            breaker: breaker.map(|breaker| self.breaker_glance(breaker, &transitions)),
            thresholds: self.thresholds(&measured, &transitions),
            invariants,
            faults: self.conductor.board().entries().iter().map(|entry| entry.glance()).collect(),
            journeys_ended: totals.iterations + totals.interrupted,
            dropped: totals.dropped,
            ..Tick::default()
        };
        tick.journeys_in_flight = totals.begun.saturating_sub(tick.journeys_ended);
        rates(&mut tick, &totals, wall, before);
        tick.fates = totals.fates;
        tick
    }

    fn thresholds(&self, measured: &Measured, transitions: &[Transition]) -> Vec<ThresholdGlance> {
        let whole = self.scenario.expect.thresholds.iter().map(|threshold| glance_at(threshold, measured));
        let faults = self.conductor.board().entries();
        let mut glances: Vec<ThresholdGlance> = whole.collect();
        for during in &self.scenario.expect.during {
            let recovery = Recovery::of(&during.fault, &faults, transitions);
            let opened =
                during.breaker_opens_within.map(|bound| ("breaker_opens_within", bound, recovery.opened_after));
            let recovered = during.recovers_within.map(|bound| ("recovers_within", bound, recovery.recovered_after));
            glances.extend(opened.into_iter().chain(recovered).map(|one| at_protocol(&during.fault, one)));
            let window = self.stage.recorder.window(&during.fault);
            let requests = window.map(|window| window.requests).unwrap_or_default();
            // Fates and saga steps of the window are known at its end.
            let measured = Measured { requests, ..Measured::default() };
            glances.extend(during.thresholds.iter().map(|threshold| ThresholdGlance {
                during: Some(during.fault.clone()),
                ..glance_at(threshold, &measured)
            }));
        }
        glances
    }

    /// The breaker, its transitions at their place in the load's time.
    fn breaker_glance(&self, now: BreakerNow, transitions: &[Transition]) -> BreakerGlance {
        let load_time = |at_us: i64| {
            let since_start = Duration::from_micros(u64::try_from(at_us - self.started_at_us).unwrap_or(0));
            self.stage.clock.load_time_of(self.stage.start + since_start)
        };
        let shown = transitions.iter().skip(transitions.len().saturating_sub(TRANSITIONS_SHOWN));
        BreakerGlance {
            state: now.breaker.state,
            forced: now.forced,
            window: window_glance(&now.window),
            transitions: shown
                .map(|one| TransitionGlance {
                    at: load_time(one.at_us),
                    from: one.from.clone(),
                    to: one.to.clone(),
                    why: one.why.clone(),
                })
                .collect(),
        }
    }

    async fn invariants(&mut self) -> Vec<InvariantGlance> {
        self.invariants.look(&self.stage.witness).await;
        let named = self.scenario.expect.invariants.iter().map(|name| {
            let (checked, violations) = self.invariants.found(name);
            InvariantGlance { name, checked, violations, applicable: self.surroundings.books.can_tell(name) }
        });
        named.collect()
    }
}

/// A time of the protocol: it is over its bound when it is known, and waited for until then.
fn at_protocol(fault: &str, (metric, bound, took): (&str, Duration, Took)) -> ThresholdGlance {
    let bound_us = bound.as_micros() as f64;
    let observed = match took {
        Took::Us(us) => Some(us as f64),
        Took::Never | Took::Unclear => None,
    };
    ThresholdGlance {
        metric: metric.to_owned(),
        expression: recovery::bound_text(bound),
        during: Some(fault.to_owned()),
        observed,
        margin: observed.map(|us| (bound_us - us) / bound_us),
        standing: match observed {
            None => Standing::Waiting,
            Some(us) if us <= bound_us => Standing::Kept,
            Some(_) => Standing::Missed,
        },
    }
}

fn phase(scenario: &Scenario, elapsed: Duration) -> Phase {
    match elapsed {
        early if early < scenario.warmup => Phase::WarmUp,
        late if late >= scenario.duration() => Phase::GracefulStop,
        _ => Phase::Load,
    }
}

fn planned_per_s(scenario: &Scenario, elapsed: Duration) -> Option<f64> {
    let rates: Vec<f64> = scenario
        .load
        .iter()
        .filter_map(|group| match &group.executor {
            Executor::Arrivals(plan) if elapsed <= plan.duration() => Some(plan.rate_at(elapsed)),
            _ => None,
        })
        .collect();
    (!rates.is_empty()).then(|| rates.iter().sum())
}

fn rates(tick: &mut Tick, totals: &Totals, wall: Duration, before: &mut Before) {
    let count = |fate: &str| totals.fates.get(fate).copied().unwrap_or_default();
    let (begun, confirmed) = (totals.begun, count("confirmed"));
    let ended = confirmed + count("cancelled");
    let passed = wall.saturating_sub(before.at);
    if passed >= SHORTEST {
        let per_s = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed.as_secs_f64();
        let rates = [per_s(begun, before.begun), per_s(ended, before.ended), per_s(confirmed, before.confirmed)];
        *before = Before { at: wall, begun, ended, confirmed, rates };
    }
    [tick.begun_per_s, tick.ended_per_s, tick.confirmed_per_s] = before.rates;
}

/// What can be judged already: by first answers, since ends may come later.
fn so_far(totals: &Totals, steps: &StepHistograms) -> Measured {
    let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
    for (name, count) in &totals.fates {
        let fate = Fate::ALL.into_iter().find(|fate| fate.as_str() == *name);
        // An order that is still open is no error yet.
        if let Some(fate) = fate {
            *fates.entry(fate).or_default() += count;
        }
    }
    Measured {
        requests: totals.requests.clone(),
        iteration_duration: totals.iteration_duration.clone(),
        iterations: totals.iterations,
        dropped: totals.dropped,
        steps: steps.clone(),
        fates,
        cancellations: BTreeMap::new(),
    }
}

fn glance_at(threshold: &Threshold, measured: &Measured) -> ThresholdGlance {
    let observation = measured.observe(threshold);
    // Whether orders were cancelled half-way is read from the books, at the end.
    let believable = observation.believable().filter(|_| threshold.metric != "cancellations");
    let standing = match believable.map(|value| threshold.judge(value)) {
        None => Standing::Waiting,
        Some(true) => Standing::Kept,
        // More may come.
        Some(false) if is_growing(threshold) => Standing::Waiting,
        Some(false) => Standing::Missed,
    };
    ThresholdGlance {
        metric: threshold.selector_text.clone(),
        expression: threshold.text.clone(),
        during: None,
        observed: believable,
        margin: believable.and_then(|value| margin(threshold, value)),
        standing,
    }
}

/// Whether time alone can still bring it over its bound.
fn is_growing(threshold: &Threshold) -> bool {
    let at_least = matches!(threshold.expression.comparison, Comparison::Greater | Comparison::GreaterOrEqual);
    at_least && threshold.expression.aggregate == scenario::expect::Aggregate::Count
}

fn margin(threshold: &Threshold, value: f64) -> Option<f64> {
    let bound = threshold.expression.bound;
    if bound <= 0.0 {
        return None;
    }
    match threshold.expression.comparison {
        Comparison::Less | Comparison::LessOrEqual => Some((bound - value) / bound),
        Comparison::Greater | Comparison::GreaterOrEqual => Some((value - bound) / bound),
        Comparison::Equal | Comparison::NotEqual => None,
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Option<Quantiles> {
    let at = |quantile| histogram.value_at_quantile(quantile);
    (!histogram.is_empty()).then(|| Quantiles {
        count: histogram.len(),
        p50_us: at(0.5),
        p95_us: at(0.95),
        p99_us: at(0.99),
        max_us: histogram.max(),
    })
}

fn step_glance(step: Step, steps: &StepHistograms, in_flight: &BTreeMap<String, u64>) -> StepGlance {
    let name = step.as_str();
    let of = |outcome: Outcome| {
        let key = (name.to_owned(), outcome.as_str().to_owned());
        steps.0.get(&key).map_or(0, Histogram::len)
    };
    let all = steps.merged(|candidate, _| candidate == name);
    StepGlance {
        step: name,
        in_flight: in_flight.get(name).copied().unwrap_or_default(),
        done: of(Outcome::Done),
        refused: of(Outcome::Refused),
        ongoing: of(Outcome::Ongoing),
        unknown: of(Outcome::Unknown),
        quantiles: all.as_ref().and_then(quantiles),
        buckets: all.as_ref().map(buckets).unwrap_or_default(),
    }
}

fn buckets(histogram: &Histogram<u64>) -> [u64; BUCKETS] {
    let mut buckets = [0; BUCKETS];
    let mut low = 0;
    for (index, bucket) in buckets.iter_mut().enumerate() {
        let high = if index + 1 == BUCKETS { u64::MAX } else { (FIRST_BUCKET_US << index) - 1 };
        *bucket = histogram.count_between(low, high);
        low = high.saturating_add(1);
    }
    buckets
}

fn window_glance(window: &observe::Window) -> BreakerWindow {
    let millis = Duration::from_millis;
    BreakerWindow {
        calls: window.calls,
        failed: window.failed,
        slow: window.slow,
        window_calls: window.window_calls,
        minimum_calls: window.minimum_calls,
        failure_rate: window.failure_rate,
        slow_rate: window.slow_rate,
        open_for: millis(window.open_for_ms),
        open_for_left: window.open_for_left_ms.map(millis),
        probes: window.probes,
        probes_reported: window.probes_reported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_fall_into_the_class_of_their_duration() {
        let mut latency = Latency::default();
        for micros in [1, 127, 128, 300, 3_000_000_000] {
            latency.record(Duration::from_micros(micros));
        }
        let classes = buckets(latency.histogram());
        assert_eq!((classes[0], classes[1], classes[2], classes[BUCKETS - 1]), (2, 1, 1, 1));
    }
}
