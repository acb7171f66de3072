//! The circuit breaker as the use cases share it: with the time, with a memory of its transitions,
//! and with the faults that force it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use chassis::chaos::Active;
use chassis::clock::SharedClock;
use kernel::Timestamp;
use tokio::time::Instant;

use crate::domain::breaker::{Breaker, Ended, Forced, Permit, Settings, State, Transition, Window};

/// The kinds of faults that force it, as they are written.
pub mod kind {
    pub const FORCE_OPEN: &str = "force_open";
    pub const FORCE_CLOSED: &str = "force_closed";
}

/// How many transitions are remembered.
pub const TRANSITIONS_MAX: usize = 256;

/// A transition at its wall-clock time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at: Timestamp,
    pub from: State,
    pub to: State,
    pub why: String,
}

/// The breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub state: State,
    pub forced: Option<Forced>,
    pub window: Window,
    /// The last [`TRANSITIONS_MAX`] transitions, oldest first.
    pub transitions: Vec<Record>,
    /// How many transitions ever led to each of [`State::ALL`].
    pub counts: [u64; 3],
}

struct Inner {
    breaker: Breaker,
    /// The fault that forces it.
    fault: Option<Arc<Active>>,
    transitions: VecDeque<Record>,
    counts: [u64; 3],
}

/// Guards the charges at the provider; nothing else passes it.
pub struct CircuitBreaker {
    inner: Mutex<Inner>,
    clock: SharedClock,
    /// Where its time starts: at its first use, inside the runtime whose time it is.
    start: OnceLock<Instant>,
}

impl CircuitBreaker {
    pub fn new(settings: Settings, clock: SharedClock) -> Arc<Self> {
        let breaker = Breaker::new(settings);
        let inner = Inner { breaker, fault: None, transitions: VecDeque::new(), counts: [0; 3] };
        Arc::new(Self { inner: Mutex::new(inner), clock, start: OnceLock::new() })
    }

    /// Leave for one call; `None` while it is open.
    pub fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let now = self.now();
        let mut inner = self.lock();
        if let Some(fault) = &inner.fault {
            fault.hit();
        }
        let (permit, transition) = inner.breaker.admit(now);
        self.note(&mut inner, transition);
        permit.map(|permit| Admitted { breaker: self.clone(), permit: Some(permit) })
    }

    /// Sets the state by hand; `None` lets it go on by itself.
    pub fn force(&self, forced: Option<Forced>) {
        self.force_by(None, forced);
    }

    /// From now on these faults are active, oldest first, and no others. The last one that forces
    /// the breaker counts; without one it goes on by itself.
    pub fn suffer(&self, active: &[Arc<Active>]) {
        let last = active.iter().rev().find_map(|fault| Some((fault, forced_by(fault)?)));
        self.force_by(last.map(|(fault, _)| fault.clone()), last.map(|(_, forced)| forced));
    }

    fn force_by(&self, fault: Option<Arc<Active>>, forced: Option<Forced>) {
        let now = self.now();
        let mut inner = self.lock();
        inner.fault = fault;
        let transition = inner.breaker.force(forced, now);
        self.note(&mut inner, transition);
    }

    pub fn settings(&self) -> Settings {
        self.lock().breaker.settings().clone()
    }

    pub fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let inner = self.lock();
        Snapshot {
            state: inner.breaker.state(),
            forced: inner.breaker.forced(),
            window: inner.breaker.window(now),
            transitions: inner.transitions.iter().cloned().collect(),
            counts: inner.counts,
        }
    }

    fn report(&self, permit: Permit, ended: Ended, took: Duration) {
        let now = self.now();
        let mut inner = self.lock();
        let transition = inner.breaker.report(permit, ended, took, now);
        self.note(&mut inner, transition);
    }

    fn note(&self, inner: &mut Inner, transition: Option<Transition>) {
        let Some(Transition { from, to, why, .. }) = transition else { return };
        let record = Record { at: self.clock.now(), from, to, why: why.to_string() };
        let (from, to) = (from.as_str(), to.as_str());
        tracing::info!(from, to, why = record.why, "the circuit breaker changed its state");
        tracing::debug!(target: "shop::breaker", at_us = record.at.as_micros(), from, to, why = record.why);
        if let Some(index) = State::ALL.iter().position(|state| *state == record.to) {
            inner.counts[index] += 1;
        }
        if inner.transitions.len() == TRANSITIONS_MAX {
            inner.transitions.pop_front();
        }
        inner.transitions.push_back(record);
    }

    fn now(&self) -> Duration {
        self.start.get_or_init(Instant::now).elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forced_by(fault: &Active) -> Option<Forced> {
    match fault.fault.kind.name {
        kind::FORCE_OPEN => Some(Forced::Open),
        kind::FORCE_CLOSED => Some(Forced::Closed),
        _ => None,
    }
}

/// Leave for one call. Dropped unused, it gives its place back.
pub struct Admitted {
    breaker: Arc<CircuitBreaker>,
    permit: Option<Permit>,
}

impl Admitted {
    /// The call ended after `took`.
    pub fn ended(mut self, ended: Ended, took: Duration) {
        if let Some(permit) = self.permit.take() {
            self.breaker.report(permit, ended, took);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.breaker.lock().breaker.release(permit);
        }
    }
}
