//! What the curves are drawn from: a bounded record of the ticks of a run.

use tokio::time::Duration;

use experiment::run::glance::{Quantiles, Tick};

/// The most samples that are kept. At two ticks a second they are the ticks of ten minutes; a longer
/// run is kept more coarsely.
pub const SAMPLES_MAX: usize = 1_200;

/// A tick, or some that follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Since the load's start, of the last tick in it.
    pub at: Duration,
    /// Arrivals a second as planned.
    pub planned_per_s: Option<f64>,
    pub begun_per_s: f64,
    pub ended_per_s: f64,
    pub confirmed_per_s: f64,
    /// Of several ticks the highest of each, so that a peak stays one.
    pub latency: Option<Quantiles>,
}

impl Sample {
    pub fn of(tick: &Tick) -> Self {
        Self {
            at: tick.elapsed,
            planned_per_s: tick.planned_per_s,
            begun_per_s: tick.begun_per_s,
            ended_per_s: tick.ended_per_s,
            confirmed_per_s: tick.confirmed_per_s,
            latency: tick.latency,
        }
    }

    /// This one of `ticks` ticks, and `later` of `more`.
    fn merged(self, ticks: u32, later: Self, more: u32) -> Self {
        let mean = |a: f64, b: f64| (a * f64::from(ticks) + b * f64::from(more)) / f64::from(ticks + more);
        Self {
            at: later.at,
            planned_per_s: later.planned_per_s.or(self.planned_per_s),
            begun_per_s: mean(self.begun_per_s, later.begun_per_s),
            ended_per_s: mean(self.ended_per_s, later.ended_per_s),
            confirmed_per_s: mean(self.confirmed_per_s, later.confirmed_per_s),
            latency: match (self.latency, later.latency) {
                (Some(a), Some(b)) => Some(Quantiles {
                    count: a.count + b.count,
                    p50_us: a.p50_us.max(b.p50_us),
                    p95_us: a.p95_us.max(b.p95_us),
                    p99_us: a.p99_us.max(b.p99_us),
                    max_us: a.max_us.max(b.max_us),
                }),
                (a, b) => a.or(b),
            },
        }
    }
}

/// Samples in the order of time, evenly spaced. When there are too many, each two become one.
#[derive(Debug, Clone)]
pub struct History {
    samples: Vec<Sample>,
    ticks_per_sample: u32,
    /// The sample that is not full yet, and how many ticks it has.
    growing: Option<(Sample, u32)>,
}

impl Default for History {
    fn default() -> Self {
        Self { samples: Vec::new(), ticks_per_sample: 1, growing: None }
    }
}

impl History {
    /// Takes a tick; one of a time that was told before (the load is paused) changes nothing.
    pub fn push(&mut self, sample: Sample) {
        if self.iter().next_back().is_some_and(|last| last.at >= sample.at) {
            return;
        }
        let (merged, ticks) = match self.growing.take() {
            None => (sample, 1),
            Some((before, ticks)) => (before.merged(ticks, sample, 1), ticks + 1),
        };
        if ticks < self.ticks_per_sample {
            self.growing = Some((merged, ticks));
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.halve();
            self.growing = Some((merged, ticks));
        } else {
            self.samples.push(merged);
        }
    }

    fn halve(&mut self) {
        let pairs = self.samples.chunks(2).filter_map(|pair| match pair {
            [a, b] => Some(a.merged(1, *b, 1)),
            [a] => Some(*a),
            _ => None,
        });
        self.samples = pairs.collect();
        self.ticks_per_sample = self.ticks_per_sample.saturating_mul(2);
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        self.samples.iter().chain(self.growing.as_ref().map(|(sample, _)| sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64, p99_us: u64) -> Sample {
        let latency = Some(Quantiles { count: 1, p99_us, ..Quantiles::default() });
        Sample { at: Duration::from_millis(500 * number), begun_per_s: 10.0, latency, ..Sample::default() }
    }

    #[test]
    fn a_long_run_is_kept_more_coarsely_and_its_peaks_stay() {
        let mut history = History::default();
        let ticks = 10 * SAMPLES_MAX as u64;
        for number in 1..=ticks {
            history.push(sample(number, if number == 777 { 9_000 } else { 100 }));
            assert!(history.iter().count() <= SAMPLES_MAX + 1);
        }
        let kept: Vec<&Sample> = history.iter().collect();
        assert!(kept.len() > SAMPLES_MAX / 2, "{} samples are too few to draw", kept.len());
        assert_eq!(kept.last().unwrap().at, Duration::from_millis(500 * ticks), "the last moment is there");
        assert!(kept.windows(2).all(|pair| pair[0].at < pair[1].at));
        let peak = kept.iter().filter_map(|sample| sample.latency).map(|latency| latency.p99_us).max();
        assert_eq!(peak, Some(9_000));
        let counted: u64 = kept.iter().filter_map(|sample| sample.latency).map(|latency| latency.count).sum();
        assert_eq!(counted, ticks, "every tick is in one sample");
        assert!(kept.iter().all(|sample| (sample.begun_per_s - 10.0).abs() < 1e-6), "rates are means, not sums");
    }

    #[test]
    fn a_pause_leaves_no_trace_in_the_curves() {
        let mut history = History::default();
        history.push(sample(1, 100));
        history.push(Sample { begun_per_s: 0.0, ..sample(1, 100) });
        assert_eq!(history.iter().collect::<Vec<_>>(), [&sample(1, 100)]);
    }
}
