//! Charge, void, refund, status: each with the latency of a real acquirer around its commit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::StoreError;
use chassis::clock::SharedClock;
use chassis::context::Context;
use chassis::rng::{Seeds, Stream};
use chassis::settings::DurationRange;
use kernel::{Money, Timestamp};
use rand::RngExt;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::ports::Ledger;
use crate::domain::charge::{Action, Charge, Key, Posting, Refusal};

/// How many calls may be under way at once.
const CALLS_MAX: usize = 4096;

/// Why a call was not answered with a state.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcquirerError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too many calls are under way")]
    Busy,
    #[error("the call was cut off")]
    CutOff,
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
        })
    }

    /// # Errors
    /// When the key was used for another amount, or the ledger is unavailable.
    pub async fn charge(
        self: &Arc<Self>,
        key: Key,
        amount: Money,
        not_after: Timestamp,
    ) -> Result<Charge, AcquirerError> {
        let declined = self.declines(&key);
        self.post(key, Action::Charge { amount, not_after, declined }).await
    }

    /// # Errors
    /// When the ledger is unavailable.
    pub async fn void(self: &Arc<Self>, key: Key) -> Result<Charge, AcquirerError> {
        self.post(key, Action::Void).await
    }

    /// # Errors
    /// When the key was never captured, or the ledger is unavailable.
    pub async fn refund(self: &Arc<Self>, key: Key) -> Result<Charge, AcquirerError> {
        self.post(key, Action::Refund).await
    }

    /// Where the key stands; `None` if it was never seen.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn status(&self, key: &Key) -> Result<Option<Charge>, AcquirerError> {
        let _slot = self.calls.try_acquire().map_err(|_| AcquirerError::Busy)?;
        let (before, after) = self.draw_latency();
        sleep(before).await;
        let found = self.ledger.find(key).await?;
        sleep(after).await;
        Ok(found)
    }

    /// Runs to its end even when the caller hangs up: a third party does not take back what it was
    /// once asked, and a charge that lands after its caller's timeout is what this one is here for.
    async fn post(self: &Arc<Self>, key: Key, action: Action) -> Result<Charge, AcquirerError> {
        let slot = self.calls.clone().try_acquire_owned().map_err(|_| AcquirerError::Busy)?;
        let acquirer = self.clone();
        let work = async move {
            let _slot = slot;
            let (before, after) = acquirer.draw_latency();
            sleep(before).await;
            let posting = Posting { key, action, at: acquirer.clock.now() };
            let posted = acquirer.commit(posting).await;
            sleep(after).await;
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

    /// Whether the bank declines this key. Each key has a stream of its own, so that the order of
    /// arrival changes nothing, and a higher rate declines the same keys and more.
    fn declines(&self, key: &Key) -> bool {
        self.seeds.stream(&format!("decline/{key}")).random::<f64>() < self.decline_rate
    }

    /// The time before the commit and the time after it.
    fn draw_latency(&self) -> (Duration, Duration) {
        let DurationRange { low, high } = self.latency;
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let half = latencies.random_range(low..=high) / 2;
        (half, half)
    }
}
