//! What the active faults do to a call. Without faults it draws nothing and changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::chaos::Active;
use chassis::rng::{Seeds, Stream};
use chassis::settings::DurationRange;
use rand::RngExt;

/// The kinds of faults that the payment provider can suffer, as they are written.
pub mod kind {
    pub const OUTAGE: &str = "outage";
    pub const LATENCY: &str = "latency";
    pub const ERROR_RATE: &str = "error_rate";
    pub const DECLINE_RATE: &str = "decline_rate";
    pub const TIMEOUT_AFTER_CHARGE: &str = "timeout_after_charge";
}

/// The names of their parameters.
pub mod parameter {
    pub const LATENCY: &str = "latency";
    pub const RATE: &str = "rate";
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Outage,
    Latency(DurationRange),
    Errors(f64),
    Declines(f64),
    LostAnswers(f64),
}

#[derive(Debug)]
struct Wrong {
    harm: Harm,
    active: Arc<Active>,
    /// A stream for each fault, so that what one draws does not depend on the others.
    draws: Mutex<Stream>,
}

/// What happens to one call, decided when it comes in.
#[derive(Debug)]
pub enum Fate {
    /// Nothing answers.
    Refused,
    /// Takes so much longer; `fails` before it has any effect.
    Slowed { delays: Vec<Delay>, fails: bool },
}

/// How much longer a call takes by one fault, at most: it ends with the fault.
#[derive(Debug)]
pub struct Delay {
    pub by: Duration,
    pub fault: Arc<Active>,
}

/// The active faults, made ready.
#[derive(Debug, Default)]
pub struct Mischief {
    wrongs: Vec<Arc<Wrong>>,
}

impl Mischief {
    /// Of these faults, oldest first; those that go on from `before` go on with their streams.
    pub fn of(active: &[Arc<Active>], before: &Self, seeds: &Seeds) -> Self {
        let seeds = seeds.scope("faults");
        let wrongs = active.iter().filter_map(|active| {
            let going_on = before.wrongs.iter().find(|wrong| Arc::ptr_eq(&wrong.active, active));
            going_on.cloned().or_else(|| {
                let draws = Mutex::new(seeds.stream(&active.fault.name));
                Some(Arc::new(Wrong { harm: harm(active)?, active: active.clone(), draws }))
            })
        });
        Self { wrongs: wrongs.collect() }
    }

    /// Decides about a call that comes in; counts it with the faults that touch it.
    pub fn fate(&self) -> Fate {
        if let Some(outage) = self.wrongs.iter().find(|wrong| wrong.harm == Harm::Outage) {
            outage.active.hit();
            return Fate::Refused;
        }
        let (mut delays, mut fails) = (Vec::new(), false);
        for wrong in &self.wrongs {
            match wrong.harm {
                Harm::Latency(range) => {
                    let by = wrong.draw(|stream| stream.random_range(range.low..=range.high));
                    delays.push(Delay { by, fault: wrong.active.clone() });
                    wrong.active.hit();
                }
                Harm::Errors(rate) if wrong.strikes(rate) => {
                    fails = true;
                    wrong.active.hit();
                }
                _ => {}
            }
        }
        Fate::Slowed { delays, fails }
    }

    /// The fault by which the bank declines a key that it would accept otherwise. `luck` is the
    /// key's own, from 0 to 1: the higher the rate, the more keys fall below it.
    pub fn declines(&self, luck: f64) -> Option<&Arc<Active>> {
        let declining = |wrong: &&Arc<Wrong>| matches!(wrong.harm, Harm::Declines(rate) if luck < rate);
        self.wrongs.iter().find(declining).map(|wrong| &wrong.active)
    }

    /// The fault that swallows the answer of a charge that was made; counts it.
    pub fn swallows_answer(&self) -> Option<Arc<Active>> {
        let swallowing = |wrong: &&Arc<Wrong>| matches!(wrong.harm, Harm::LostAnswers(rate) if wrong.strikes(rate));
        let wrong = self.wrongs.iter().find(swallowing)?;
        wrong.active.hit();
        Some(wrong.active.clone())
    }
}

impl Wrong {
    fn draw<T>(&self, how: impl FnOnce(&mut Stream) -> T) -> T {
        how(&mut self.draws.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn strikes(&self, rate: f64) -> bool {
        self.draw(|stream| stream.random::<f64>() < rate)
    }
}

fn harm(active: &Active) -> Option<Harm> {
    let fault = &active.fault;
    Some(match fault.kind.name {
        kind::OUTAGE => Harm::Outage,
        kind::LATENCY => Harm::Latency(fault.durations(parameter::LATENCY)?),
        kind::ERROR_RATE => Harm::Errors(fault.share(parameter::RATE)),
        kind::DECLINE_RATE => Harm::Declines(fault.share(parameter::RATE)),
        kind::TIMEOUT_AFTER_CHARGE => Harm::LostAnswers(fault.share(parameter::RATE)),
        _ => return None,
    })
}
