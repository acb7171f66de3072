//! The circuit breaker as the use cases share it: with the time, and with a memory of its
//! transitions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use chassis::clock::SharedClock;
use kernel::Timestamp;
use tokio::time::Instant;

use crate::domain::breaker::{Breaker, Ended, Forced, Permit, Settings, State, Transition};

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
    /// The last [`TRANSITIONS_MAX`] transitions, oldest first.
    pub transitions: Vec<Record>,
    /// How many transitions ever led to each of [`State::ALL`].
    pub counts: [u64; 3],
}

struct Inner {
    breaker: Breaker,
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
        let inner = Inner { breaker: Breaker::new(settings), transitions: VecDeque::new(), counts: [0; 3] };
        Arc::new(Self { inner: Mutex::new(inner), clock, start: OnceLock::new() })
    }

    /// Leave for one call; `None` while it is open.
    pub fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let now = self.now();
        let mut inner = self.lock();
        let (permit, transition) = inner.breaker.admit(now);
        self.note(&mut inner, transition);
        permit.map(|permit| Admitted { breaker: self.clone(), permit: Some(permit) })
    }

    /// Sets the state by hand; `None` lets it go on by itself.
    pub fn force(&self, forced: Option<Forced>) {
        let now = self.now();
        let mut inner = self.lock();
        let transition = inner.breaker.force(forced, now);
        self.note(&mut inner, transition);
    }

    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        Snapshot {
            state: inner.breaker.state(),
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
