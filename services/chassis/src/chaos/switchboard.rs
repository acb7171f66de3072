//! Which faults a role suffers right now, and which it suffered before.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::Timestamp;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::{Fault, Target, Unfit};
use crate::clock::SharedClock;

/// How many faults may be active at once.
pub const ACTIVE_MAX: usize = 64;
/// How many lifted faults are remembered.
pub const HISTORY_MAX: usize = 256;
/// For how long a fault may be injected when its end is given.
pub const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);

/// A fault that is or was suffered.
#[derive(Debug)]
pub struct Active {
    pub fault: Fault,
    /// By the wall clock.
    pub injected_at: Timestamp,
    /// When it lifts by itself, by the wall clock as it stood when it was injected.
    pub until: Option<Timestamp>,
    /// Tells it from an earlier fault of the same name.
    number: u64,
    hits: AtomicU64,
    lifted: CancellationToken,
}

impl Active {
    /// A call was touched by this fault.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls it has touched.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Waits until the fault is lifted, or the role is to stop.
    pub async fn lifted(&self) {
        self.lifted.cancelled().await;
    }
}

/// Why a fault was lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Somebody asked for it.
    Asked,
    /// Its duration was over.
    TimeOver,
}

impl Because {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::TimeOver => "time_over",
        }
    }
}

/// A fault that is over.
#[derive(Debug, Clone)]
pub struct Lifted {
    pub active: Arc<Active>,
    /// By the wall clock.
    pub at: Timestamp,
    pub because: Because,
}

/// Why a fault was not injected; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInjected {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("a fault lasts from 1ms to 24h, not {0:?}")]
    Lasts(Duration),
    #[error("a fault named `{0}` is active already; lift it first, or choose another name")]
    Active(String),
    #[error("{ACTIVE_MAX} faults are active already; lift one first")]
    TooMany,
}

/// Told of all active faults, oldest first, on each change.
type Tell = Box<dyn Fn(&[Arc<Active>]) + Send + Sync>;

/// The faults of one role and target.
pub struct Switchboard {
    target: &'static Target,
    clock: SharedClock,
    shutdown: CancellationToken,
    tell: Tell,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    numbers: u64,
    /// In the order of their injection.
    active: Vec<Running>,
    history: VecDeque<Lifted>,
}

struct Running {
    active: Arc<Active>,
    timer: Option<AbortHandle>,
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switchboard({})", self.target.name)
    }
}

impl Switchboard {
    /// `tell` learns of all active faults, oldest first, on each change; it MUST NOT call back.
    /// Whoever waits for a fault to be lifted is let go on `shutdown` as well.
    pub fn new(
        target: &'static Target,
        clock: SharedClock,
        shutdown: CancellationToken,
        tell: impl Fn(&[Arc<Active>]) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { target, clock, shutdown, tell: Box::new(tell), inner: Mutex::default() })
    }

    pub const fn target(&self) -> &'static Target {
        self.target
    }

    /// Injects a fault of this target. After `lasts` it lifts by itself, which needs the tokio
    /// runtime whose time it is; without, it stays until it is lifted.
    ///
    /// # Errors
    /// When there is no such fault, one of its name is active, too many are, or `lasts` is zero or
    /// longer than [`LASTS_MAX`].
    pub fn inject(
        self: &Arc<Self>,
        name: &str,
        kind: &str,
        parameters: &BTreeMap<String, String>,
        lasts: Option<Duration>,
    ) -> Result<Arc<Active>, NotInjected> {
        let fault = self.target.fault(name, kind, parameters)?;
        if let Some(lasts) = lasts.filter(|lasts| lasts.is_zero() || *lasts > LASTS_MAX) {
            return Err(NotInjected::Lasts(lasts));
        }
        let mut inner = self.lock();
        if inner.active.iter().any(|running| running.active.fault.name == name) {
            return Err(NotInjected::Active(name.to_owned()));
        }
        if inner.active.len() >= ACTIVE_MAX {
            return Err(NotInjected::TooMany);
        }
        let (injected_at, number) = (self.clock.now(), inner.numbers);
        inner.numbers += 1;
        let until = lasts.map(|lasts| injected_at.plus(lasts));
        let (hits, lifted) = (AtomicU64::new(0), self.shutdown.child_token());
        let active = Arc::new(Active { fault, injected_at, until, number, hits, lifted });
        let timer = lasts.map(|lasts| self.lift_after(lasts, number));
        tracing::info!(name, fault = %active.fault, "a fault was injected");
        tracing::debug!(target: "shop::fault", name, fault = %active.fault, "injected");
        inner.active.push(Running { active: active.clone(), timer });
        self.changed(&inner);
        Ok(active)
    }

    /// Lifts the fault of this name; `None` if none is active.
    pub fn lift(&self, name: &str) -> Option<Lifted> {
        self.lift_those(|active| active.fault.name == name, Because::Asked).pop()
    }

    /// Lifts all faults, and answers them, oldest first.
    pub fn lift_all(&self) -> Vec<Lifted> {
        self.lift_those(|_| true, Because::Asked)
    }

    /// The active faults, oldest first, and the last [`HISTORY_MAX`] that were lifted, in that order.
    pub fn snapshot(&self) -> (Vec<Arc<Active>>, Vec<Lifted>) {
        let inner = self.lock();
        (active_of(&inner), inner.history.iter().cloned().collect())
    }

    fn lift_after(self: &Arc<Self>, lasts: Duration, number: u64) -> AbortHandle {
        let switchboard = Arc::downgrade(self);
        let timer = async move {
            tokio::time::sleep(lasts).await;
            if let Some(switchboard) = switchboard.upgrade() {
                switchboard.lift_those(|active| active.number == number, Because::TimeOver);
            }
        };
        tokio::spawn(timer).abort_handle()
    }

    fn lift_those(&self, chosen: impl Fn(&Active) -> bool, because: Because) -> Vec<Lifted> {
        let mut inner = self.lock();
        let at = self.clock.now();
        let lifted: Vec<Running> = inner.active.extract_if(.., |running| chosen(&running.active)).collect();
        if lifted.is_empty() {
            return Vec::new();
        }
        let lifted = lifted.into_iter().map(|Running { active, timer }| {
            // Its timer, if this is not it, would only wait for nothing.
            if let (Some(timer), Because::Asked) = (timer, because) {
                timer.abort();
            }
            active.lifted.cancel();
            let name = &active.fault.name;
            tracing::info!(name, because = because.as_str(), hits = active.hits(), "a fault was lifted");
            tracing::debug!(target: "shop::fault", name, because = because.as_str(), "lifted");
            Lifted { active, at, because }
        });
        let lifted: Vec<Lifted> = lifted.collect();
        inner.history.extend(lifted.iter().cloned());
        let surplus = inner.history.len().saturating_sub(HISTORY_MAX);
        inner.history.drain(..surplus);
        self.changed(&inner);
        lifted
    }

    /// Under the lock, so that the role learns of changes in their order.
    fn changed(&self, inner: &Inner) {
        (self.tell)(&active_of(inner));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn active_of(inner: &Inner) -> Vec<Arc<Active>> {
    inner.active.iter().map(|running| running.active.clone()).collect()
}

#[cfg(test)]
mod tests;
