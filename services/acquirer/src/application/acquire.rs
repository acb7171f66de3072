//! Charge, void, refund, status: each with the latency of a real acquirer around its commit, and
//! with whatever the active faults do to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::chaos::Active;
use chassis::clock::SharedClock;
use chassis::context::Context;
use chassis::rng::{Seeds, Stream};
use chassis::settings::DurationRange;
use kernel::{Money, Timestamp};
use rand::RngExt;
use store::StoreError;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::mischief::{Delay, Fate, Mischief};
use super::ports::Ledger;
use crate::domain::charge::{Action, Charge, Key, Posting, Refusal, State};

/// How many calls may be under way at once.
const CALLS_MAX: usize = 4096;
/// How many callers may wait for an answer that a fault swallowed, beside those; and how long.
const SWALLOWED_MAX: usize = 4096;
const SWALLOWED_FOR: Duration = Duration::from_secs(10);

/// Why a call was not answered with a state.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcquirerError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too many calls are under way")]
    Busy,
    #[error("the call was cut off")]
    CutOff,
    /// A fault: nothing was done.
    #[error("the payment provider is down")]
    Down,
    /// A fault: nothing was done.
    #[error("the payment provider failed")]
    Failed,
    /// A fault: the charge was made.
    #[error("the answer was lost")]
    AnswerLost,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The acquirer's front desk.
pub struct Acquirer {
    ledger: Arc<dyn Ledger>,
    clock: SharedClock,
    seeds: Seeds,
    latency: DurationRange,
    latencies: Mutex<Stream>,
    decline_rate: f64,
    calls: Arc<Semaphore>,
    swallowed: Semaphore,
    mischief: Mutex<Arc<Mischief>>,
}

impl Acquirer {
    /// Each call takes a time out of `latency`; the bank declines `decline_rate` of all keys.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: SharedClock,
        seeds: Seeds,
        latency: DurationRange,
        decline_rate: f64,
    ) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            clock,
            latencies: Mutex::new(seeds.stream("latency")),
            seeds,
            latency,
            decline_rate,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            swallowed: Semaphore::new(SWALLOWED_MAX),
            mischief: Mutex::default(),
        })
    }

    /// From now on these faults are suffered, oldest first, and no others.
    pub fn suffer(&self, active: &[Arc<Active>]) {
        let mut mischief = self.mischief();
        *mischief = Arc::new(Mischief::of(active, &mischief, &self.seeds));
    }

    /// # Errors
    /// When the key was used for another amount, the ledger is unavailable, or a fault wants it.
    pub async fn charge(
        self: &Arc<Self>,
        key: Key,
        amount: Money,
        not_after: Timestamp,
    ) -> Result<Charge, AcquirerError> {
        let luck = self.luck(&key);
        let by_fault = self.present_mischief().declines(luck).filter(|_| luck >= self.decline_rate).cloned();
        let declined = luck < self.decline_rate || by_fault.is_some();
        let charge = self.post(key, Action::Charge { amount, not_after, declined }).await?;
        match charge.state {
            State::Captured => self.hand_over(charge).await,
            State::Declined => {
                by_fault.inspect(|fault| fault.hit());
                Ok(charge)
            }
            State::Voided | State::Refunded => Ok(charge),
        }
    }

    /// # Errors
    /// When the ledger is unavailable, or a fault wants it.
    pub async fn void(self: &Arc<Self>, key: Key) -> Result<Charge, AcquirerError> {
        self.post(key, Action::Void).await
    }

    /// # Errors
    /// When the key was never captured, the ledger is unavailable, or a fault wants it.
    pub async fn refund(self: &Arc<Self>, key: Key) -> Result<Charge, AcquirerError> {
        self.post(key, Action::Refund).await
    }

    /// Where the key stands; `None` if it was never seen.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a fault wants it.
    pub async fn status(&self, key: &Key) -> Result<Option<Charge>, AcquirerError> {
        let (delays, fails) = self.admit()?;
        let _slot = self.calls.try_acquire().map_err(|_| AcquirerError::Busy)?;
        let latency = Latency { own: self.draw_latency(), delays };
        latency.half().await;
        if fails {
            return Err(AcquirerError::Failed);
        }
        let found = self.ledger.find(key).await?;
        latency.half().await;
        Ok(found)
    }

    /// Runs to its end even when the caller hangs up: a third party does not take back what it was
    /// once asked, and a charge that lands after its caller's timeout is what this one is here for.
    async fn post(self: &Arc<Self>, key: Key, action: Action) -> Result<Charge, AcquirerError> {
        let (delays, fails) = self.admit()?;
        let slot = self.calls.clone().try_acquire_owned().map_err(|_| AcquirerError::Busy)?;
        let acquirer = self.clone();
        let work = async move {
            let _slot = slot;
            let latency = Latency { own: acquirer.draw_latency(), delays };
            latency.half().await;
            if fails {
                return Err(AcquirerError::Failed);
            }
            let posting = Posting { key, action, at: acquirer.clock.now() };
            let posted = acquirer.commit(posting).await;
            latency.half().await;
            posted
        };
        tokio::spawn(Context::current().scope(work)).await.unwrap_or(Err(AcquirerError::CutOff))
    }

    async fn commit(&self, posting: Posting) -> Result<Charge, AcquirerError> {
        let name = posting.action.name();
        let answer = self.ledger.post(std::slice::from_ref(&posting)).await?.pop();
        let charge = answer.ok_or_else(|| StoreError::Corrupt("the ledger did not answer".into()))??;
        tracing::debug!(key = %charge.key, asked = name, state = charge.state.as_str(), "posted");
        Ok(charge)
    }

    /// How much longer this call takes by the faults of the moment, and whether it then fails.
    fn admit(&self) -> Result<(Vec<Delay>, bool), AcquirerError> {
        match self.present_mischief().fate() {
            Fate::Refused => Err(AcquirerError::Down),
            Fate::Slowed { delays, fails } => Ok((delays, fails)),
        }
    }

    /// Answers with a capture, unless a fault swallows the answer: then the caller waits in vain,
    /// and takes no place from those whose calls are under way.
    async fn hand_over(&self, charge: Charge) -> Result<Charge, AcquirerError> {
        let Some(fault) = self.present_mischief().swallows_answer() else { return Ok(charge) };
        if let Ok(_place) = self.swallowed.try_acquire() {
            // Its time being over is an end like the others.
            let _ = timeout(SWALLOWED_FOR, fault.lifted()).await;
        }
        Err(AcquirerError::AnswerLost)
    }

    /// From 0 to 1; the bank declines a key that has less than the rate. Each key has a stream of
    /// its own, so that the order of arrival changes nothing, and a higher rate declines the same
    /// keys and more.
    fn luck(&self, key: &Key) -> f64 {
        self.seeds.stream(&format!("decline/{key}")).random()
    }

    /// How long a call takes by itself.
    fn draw_latency(&self) -> Duration {
        let DurationRange { low, high } = self.latency;
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).random_range(low..=high)
    }

    fn present_mischief(&self) -> Arc<Mischief> {
        self.mischief().clone()
    }

    fn mischief(&self) -> MutexGuard<'_, Arc<Mischief>> {
        self.mischief.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of one call: half of it before the commit and half after it.
struct Latency {
    own: Duration,
    delays: Vec<Delay>,
}

impl Latency {
    /// Waits one half. What a fault adds ends when it is lifted: nobody waits for a fault that is gone.
    async fn half(&self) {
        let mut until = Instant::now() + self.own / 2;
        sleep_until(until).await;
        for Delay { by, fault } in &self.delays {
            until += *by / 2;
            if timeout_at(until, fault.lifted()).await.is_ok() {
                until = Instant::now();
            }
        }
    }
}
