//! A circuit breaker over times that are passed in, each a [`Duration`] since one arbitrary start.
//!
//! Closed, it watches the last calls, bounded by count and by age, and opens when too many of them
//! failed or were slow. Open, it refuses. After a while it is half-open: it lets a few probes
//! through, which decide between the two. Every transition is handed to the caller.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The window: at most so many calls, none older than `window_time`.
    pub window_calls: usize,
    pub window_time: Duration,
    /// With fewer calls in the window nothing is judged.
    pub minimum_calls: usize,
    /// Opens at this share of failed calls, from 0 to 1; one failed call at least.
    pub failure_rate: f64,
    /// A call that takes this long is slow, whatever it answers.
    pub slow_call: Duration,
    /// Opens at this share of slow calls, from 0 to 1; one slow call at least.
    pub slow_rate: f64,
    /// How long it refuses before it probes.
    pub open_for: Duration,
    /// How many calls are let through half-open before it is decided.
    pub probes: usize,
    /// A probe that has not reported after this long has failed.
    pub probe_timeout: Duration,
}

impl Settings {
    /// # Errors
    /// One line about what makes no sense together.
    pub fn check(&self) -> Result<(), String> {
        if self.window_calls == 0 || self.probes == 0 {
            return Err("the breaker's window and its probes must each be at least 1".to_owned());
        }
        if !(1..=self.window_calls).contains(&self.minimum_calls) {
            return Err(format!(
                "the breaker's minimum of {} calls must be from 1 to its window of {}",
                self.minimum_calls, self.window_calls
            ));
        }
        Ok(())
    }

    /// Whether a call that ended then no longer counts.
    fn is_too_old(&self, ended_at: Duration, now: Duration) -> bool {
        now.saturating_sub(ended_at) > self.window_time
    }

    /// Whether a probe that was let through then will not be waited for.
    fn is_lost(&self, since: Duration, now: Duration) -> bool {
        now.saturating_sub(since) >= self.probe_timeout
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A state that an operator has set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    Open,
    Closed,
}

/// Why the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Failures { failed: usize, calls: usize },
    Slowness { slow: usize, calls: usize },
    OpenLongEnough,
    ProbesSucceeded,
    Forced,
    ForceLifted,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { failed, calls } => write!(f, "{failed} of {calls} calls failed"),
            Self::Slowness { slow, calls } => write!(f, "{slow} of {calls} calls were slow"),
            Self::OpenLongEnough => f.write_str("open for long enough"),
            Self::ProbesSucceeded => f.write_str("the probes succeeded"),
            Self::Forced => f.write_str("forced"),
            Self::ForceLifted => f.write_str("no longer forced"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub from: State,
    pub to: State,
    pub at: Duration,
    pub why: Why,
}

/// Leave for one call. It is handed back with [`Breaker::report`] or [`Breaker::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    /// The state it was given in; what happened since does not count for the next one.
    generation: u64,
    number: u64,
}

/// How a permitted call ended. A provider that declines has answered: that is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Succeeded,
    Failed,
}

/// What the breaker would judge by at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Calls that count while it is closed: those that are not too old by now. How many of them
    /// failed, and how many were slow.
    pub calls: usize,
    pub failed: usize,
    pub slow: usize,
    /// How long it still refuses; `None` unless it is open, and while it is forced open.
    pub open_for_left: Option<Duration>,
    /// Probes that have ended while it is half-open, those that are lost by now among them.
    pub probes_reported: usize,
}

#[derive(Debug)]
struct Call {
    at: Duration,
    failed: bool,
    slow: bool,
}

#[derive(Debug, Default)]
struct Probing {
    /// When each probe that has not reported was let through.
    in_flight: BTreeMap<u64, Duration>,
    reported: usize,
    failed: usize,
    slow: usize,
}

#[derive(Debug)]
enum Mode {
    Closed(VecDeque<Call>),
    Open { since: Duration },
    HalfOpen(Probing),
}

#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    mode: Mode,
    forced: Option<Forced>,
    generation: u64,
    permits: u64,
}

impl Breaker {
    pub fn new(settings: Settings) -> Self {
        Self { settings, mode: Mode::Closed(VecDeque::new()), forced: None, generation: 0, permits: 0 }
    }

    pub const fn state(&self) -> State {
        match self.mode {
            Mode::Closed(_) => State::Closed,
            Mode::Open { .. } => State::Open,
            Mode::HalfOpen(_) => State::HalfOpen,
        }
    }

    pub const fn forced(&self) -> Option<Forced> {
        self.forced
    }

    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// For whoever looks on; changes nothing.
    pub fn window(&self, now: Duration) -> Window {
        match &self.mode {
            Mode::Closed(calls) => {
                let counted = |call: &&Call| !self.settings.is_too_old(call.at, now);
                let calls: Vec<&Call> = calls.iter().filter(counted).collect();
                let failed = calls.iter().filter(|call| call.failed).count();
                let slow = calls.iter().filter(|call| call.slow).count();
                Window { calls: calls.len(), failed, slow, ..Window::default() }
            }
            Mode::Open { since } => {
                let left = self.settings.open_for.saturating_sub(now.saturating_sub(*since));
                Window { open_for_left: self.forced.is_none().then_some(left), ..Window::default() }
            }
            Mode::HalfOpen(probing) => {
                let lost = probing.in_flight.values().filter(|since| self.settings.is_lost(**since, now)).count();
                Window { probes_reported: probing.reported + lost, ..Window::default() }
            }
        }
    }

    /// Asks for leave to call; `None` is a refusal.
    pub fn admit(&mut self, now: Duration) -> (Option<Permit>, Option<Transition>) {
        let transition = self.advance(now);
        let number = self.permits;
        let admitted = match &mut self.mode {
            Mode::Closed(_) => true,
            Mode::Open { .. } => false,
            Mode::HalfOpen(probing) => {
                let free = probing.in_flight.len() + probing.reported < self.settings.probes;
                if free {
                    probing.in_flight.insert(number, now);
                }
                free
            }
        };
        if !admitted {
            return (None, transition);
        }
        self.permits += 1;
        (Some(Permit { generation: self.generation, number }), transition)
    }

    /// A permitted call has ended after `took`.
    pub fn report(&mut self, permit: Permit, ended: Ended, took: Duration, now: Duration) -> Option<Transition> {
        if permit.generation != self.generation || self.forced.is_some() {
            return None;
        }
        let failed = ended == Ended::Failed;
        let slow = took >= self.settings.slow_call;
        match &mut self.mode {
            Mode::Closed(calls) => {
                while calls.len() >= self.settings.window_calls {
                    calls.pop_front();
                }
                calls.push_back(Call { at: now, failed, slow });
                self.judge_window(now)
            }
            Mode::HalfOpen(probing) => {
                // A probe that timed out has been counted already.
                probing.in_flight.remove(&permit.number)?;
                probing.reported += 1;
                probing.failed += usize::from(failed);
                probing.slow += usize::from(slow);
                self.judge_probes(now)
            }
            Mode::Open { .. } => None,
        }
    }

    /// The permitted call was not made after all; a probe's place is free again.
    pub fn release(&mut self, permit: Permit) {
        if let Mode::HalfOpen(probing) = &mut self.mode
            && permit.generation == self.generation
        {
            probing.in_flight.remove(&permit.number);
        }
    }

    /// Sets the state by hand, or lifts that: from forced open the probes decide how it goes on,
    /// from forced closed it goes on closed with an empty window.
    pub fn force(&mut self, forced: Option<Forced>, now: Duration) -> Option<Transition> {
        let before = std::mem::replace(&mut self.forced, forced);
        match (before, forced) {
            (_, Some(Forced::Open)) => self.change_unless(State::Open, Mode::Open { since: now }, now),
            (_, Some(Forced::Closed)) => self.change_unless(State::Closed, Mode::Closed(VecDeque::new()), now),
            (Some(Forced::Open), None) => Some(self.change(Mode::HalfOpen(Probing::default()), now, Why::ForceLifted)),
            (Some(Forced::Closed), None) => {
                // Calls begun under force do not count.
                self.generation += 1;
                self.mode = Mode::Closed(VecDeque::new());
                None
            }
            (None, None) => None,
        }
    }

    fn change_unless(&mut self, state: State, mode: Mode, now: Duration) -> Option<Transition> {
        (self.state() != state).then(|| self.change(mode, now, Why::Forced))
    }

    fn change(&mut self, mode: Mode, at: Duration, why: Why) -> Transition {
        let from = self.state();
        self.mode = mode;
        self.generation += 1;
        Transition { from, to: self.state(), at, why }
    }

    /// What time alone brings about.
    fn advance(&mut self, now: Duration) -> Option<Transition> {
        if self.forced.is_some() {
            return None;
        }
        match &mut self.mode {
            Mode::Closed(_) => None,
            Mode::Open { since } if now.saturating_sub(*since) < self.settings.open_for => None,
            Mode::Open { .. } => Some(self.change(Mode::HalfOpen(Probing::default()), now, Why::OpenLongEnough)),
            Mode::HalfOpen(probing) => {
                let waiting = probing.in_flight.len();
                probing.in_flight.retain(|_, since| !self.settings.is_lost(*since, now));
                let lost = waiting - probing.in_flight.len();
                probing.reported += lost;
                probing.failed += lost;
                self.judge_probes(now)
            }
        }
    }

    fn judge_window(&mut self, now: Duration) -> Option<Transition> {
        let Mode::Closed(calls) = &mut self.mode else { return None };
        while calls.front().is_some_and(|call| self.settings.is_too_old(call.at, now)) {
            calls.pop_front();
        }
        if calls.len() < self.settings.minimum_calls {
            return None;
        }
        let failed = calls.iter().filter(|call| call.failed).count();
        let slow = calls.iter().filter(|call| call.slow).count();
        let total = calls.len();
        let why = self.too_many(failed, slow, total)?;
        Some(self.change(Mode::Open { since: now }, now, why))
    }

    /// Opens as soon as too many probes have failed, closes once all have reported.
    fn judge_probes(&mut self, now: Duration) -> Option<Transition> {
        let Mode::HalfOpen(probing) = &self.mode else { return None };
        if let Some(why) = self.too_many(probing.failed, probing.slow, self.settings.probes) {
            return Some(self.change(Mode::Open { since: now }, now, why));
        }
        (probing.reported >= self.settings.probes)
            .then(|| self.change(Mode::Closed(VecDeque::new()), now, Why::ProbesSucceeded))
    }

    fn too_many(&self, failed: usize, slow: usize, calls: usize) -> Option<Why> {
        let reaches = |count: usize, rate: f64| count > 0 && count as f64 >= rate * calls as f64;
        if reaches(failed, self.settings.failure_rate) {
            return Some(Why::Failures { failed, calls });
        }
        reaches(slow, self.settings.slow_rate).then_some(Why::Slowness { slow, calls })
    }
}

#[cfg(test)]
mod tests;
