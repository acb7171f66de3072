//! What a way of doing things is worth: it and the obvious one, in turns, on the same servers in the same run.
//!
//! A figure of one machine says little about another, and a figure of one minute little about the next. What
//! lasts is a ratio, of two sides that had the same machine in the same minutes: A, B, A, B, …, and of each the
//! median.

pub mod growth;
pub mod hot_product;
mod plot;
mod render;
pub mod whole_shop;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use experiment::run::progress::{Event, Sink};
use load::recorder::Latency;
use shop::machine::{Holdings, Meter, Part};

pub use render::markdown;

/// The version of the format: another one when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Two sides, measured in turns.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub name: &'static str,
    /// What both do, in a line.
    pub about: String,
    pub machine: String,
    /// Of the working folder, if it is a git checkout.
    pub commit: Option<String>,
    /// The command that measures it again.
    pub command: String,
    /// What is counted, such as `reservations`.
    pub unit: &'static str,
    pub sides: [Side; 2],
    /// Of the first side's median to the second's.
    pub ratio: f64,
    /// The median, over the rounds, of the first side's processor time for each to the second's in that round.
    pub cpu_ratio: f64,
    /// What was found wrong with either's books; then the figures mean nothing.
    pub broken: Vec<String>,
    /// What speaks against the figures although the books are right.
    pub doubtful: Vec<String>,
}

/// One way of doing it.
#[derive(Debug, Serialize)]
pub struct Side {
    pub name: &'static str,
    pub settings: BTreeMap<String, String>,
    /// The median of its rounds.
    pub per_second: f64,
    pub rounds: Vec<Round>,
}

/// What one side did in its turn.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub seconds: f64,
    pub done: u64,
    /// Without an answer that says so, or with an error.
    pub failed: u64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time per operation, of everybody who has a part in it.
    pub cpu_us: BTreeMap<String, f64>,
}

impl Round {
    /// `cpu_us` is what each part used in all.
    pub fn of(seconds: f64, latency: &Latency, failed: u64, cpu_us: &BTreeMap<String, u64>) -> Self {
        let done = latency.count();
        let millis = |percent| latency.percentile_us(percent).unwrap_or_default() as f64 / 1e3;
        let each = |used: &u64| *used as f64 / done.max(1) as f64;
        Self {
            seconds,
            done,
            failed,
            per_second: done as f64 / seconds.max(1e-9),
            p50_ms: millis(50.0),
            p99_ms: millis(99.0),
            cpu_us: cpu_us.iter().map(|(part, used)| (part.clone(), each(used))).collect(),
        }
    }
}

/// Measures all parts of a shop, and this process: customers, their record, and whoever watches.
fn meter(holdings: &Holdings) -> Meter {
    let own = ("shopctl".to_owned(), Part::Process(std::process::id()));
    Meter::new(holdings.parts.iter().cloned().chain([own]))
}

/// Microseconds of processor time so far, by part.
fn cpu_us(meter: &mut Meter) -> BTreeMap<String, u64> {
    meter.used().into_iter().filter_map(|(part, used)| Some((part, used.cpu_us?))).collect()
}

/// What each part has used since.
fn since(before: &BTreeMap<String, u64>, after: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let used = |(part, after): (String, u64)| {
        let used = after.saturating_sub(before.get(&part).copied().unwrap_or_default());
        (part, used)
    };
    after.into_iter().map(used).collect()
}

/// Listens to a run, and measures the processor time of everybody between its first order and the moment when
/// everything has come to rest.
#[derive(Clone, Default)]
pub struct Gauge(Arc<Mutex<(Meter, BTreeMap<String, u64>)>>);

impl Gauge {
    /// What the run tells its events to.
    pub fn sink(&self) -> Sink {
        let gauge = self.0.clone();
        Arc::new(move |event| {
            let (meter, cpu) = &mut *gauge.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::ShopUp { holdings, .. } => *meter = self::meter(holdings),
                Event::LoadStarts { .. } => *cpu = cpu_us(meter),
                Event::Judging => *cpu = since(cpu, cpu_us(meter)),
                _ => {}
            }
        })
    }

    /// Microseconds by part, once the run has ended.
    pub fn cpu_us(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Round {
    fn all_cpu_us(&self) -> f64 {
        self.cpu_us.values().sum()
    }
}

/// Of two sides' processor time, round by round: rounds lie apart in time, the two turns of one next to each other.
pub fn cpu_ratio(sides: &[Side; 2]) -> f64 {
    let [first, second] = sides;
    let rounds = first.rounds.iter().zip(&second.rounds);
    median(rounds.map(|(one, other)| ratio(one.all_cpu_us(), other.all_cpu_us())))
}

impl Side {
    pub fn of(name: &'static str, settings: BTreeMap<String, String>, rounds: Vec<Round>) -> Self {
        let per_second = median(rounds.iter().map(|round| round.per_second));
        Self { name, settings, per_second, rounds }
    }
}

/// The one in the middle; of an even number the mean of the two there, of none 0.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half.wrapping_sub(1)), sorted.get(half)) {
        (Some(below), Some(above)) if sorted.len().is_multiple_of(2) => (below + above) / 2.0,
        (_, Some(middle)) => *middle,
        _ => 0.0,
    }
}

/// How many times `one` is `other`; 0 where there is nothing to compare with.
pub fn ratio(one: f64, other: f64) -> f64 {
    if other > 0.0 { one / other } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        for (values, middle) in
            [(&[][..], 0.0), (&[7.0], 7.0), (&[9.0, 1.0], 5.0), (&[3.0, 100.0, 1.0], 3.0), (&[4.0, 1.0, 2.0, 3.0], 2.5)]
        {
            assert!((median(values.iter().copied()) - middle).abs() < 1e-9, "{values:?}");
        }
        assert!((ratio(6.0, 2.0) - 3.0).abs() < 1e-9 && ratio(6.0, 0.0) < 1e-9);
    }
}
