//! Paying for an order, and taking that back.
//!
//! A payment has three moments, each a commit or a call of its own: the intent is committed, the
//! provider is called, the result is committed. Whatever is cut off between two of them is found
//! again by whoever asks next: the intent stands in the store, and the provider remembers.

#[cfg(feature = "planted-bugs")]
pub mod planted;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::clock::SharedClock;
use chassis::context::Context;
use eventlog::Event;
use kernel::{Money, OrderId, UserId};
use store::StoreError;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::breaker::{Admitted, CircuitBreaker};
use super::ports::{Decided, Listing, PaymentStore, Provider, ProviderError};
use crate::domain::breaker::Ended;
use crate::domain::payment::{Action, Cause, Command, Payment, Refusal, Settled, Standing, State, Terms, decide};

/// How many payments and refunds may be under way at once.
const WORK_MAX: u32 = 4096;
/// An open fate is asked for again after this at the latest, and not sooner than the other.
const RETRY_MAX: Duration = Duration::from_millis(250);
const RETRY_MIN: Duration = Duration::from_millis(10);

/// What became of a payment, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Captured {
        reference: String,
    },
    Declined {
        reason: String,
    },
    /// The breaker is open: nothing was written, nothing can have been charged.
    Unavailable,
    /// Under way, or its fate is unknown.
    Ongoing {
        retry_after: Duration,
    },
    /// A compensation came first.
    Blocked,
}

/// Why there is no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PayError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing is lost; the same call may be made again.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("too many payments are under way")]
    Busy,
    #[error("the work was cut off")]
    CutOff,
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer = Result<Outcome, PayError>;

/// The use cases.
pub struct Payments {
    store: Arc<dyn PaymentStore>,
    provider: Arc<dyn Provider>,
    breaker: Arc<CircuitBreaker>,
    clock: SharedClock,
    charge_window: Duration,
    /// The attempts under way in this process; a duplicate waits for their answer.
    attempts: Mutex<BTreeMap<OrderId, watch::Receiver<Option<Answer>>>>,
    work: Arc<Semaphore>,
    #[cfg(feature = "planted-bugs")]
    planted_bug: std::sync::OnceLock<planted::PlantedBug>,
}

impl Payments {
    /// `charge_window` is how long after its intent a charge may reach the provider's ledger.
    pub fn new(
        store: Arc<dyn PaymentStore>,
        provider: Arc<dyn Provider>,
        breaker: Arc<CircuitBreaker>,
        clock: SharedClock,
        charge_window: Duration,
    ) -> Arc<Self> {
        let work = Arc::new(Semaphore::new(WORK_MAX as usize));
        Arc::new(Self {
            store,
            provider,
            breaker,
            clock,
            charge_window,
            attempts: Mutex::default(),
            work,
            #[cfg(feature = "planted-bugs")]
            planted_bug: Default::default(),
        })
    }

    /// Pays for an order; asked again, it answers what the first call decided, or finds out.
    ///
    /// # Errors
    /// When the order was first to be paid by another user or with another amount, or the store is
    /// unavailable.
    pub async fn process(self: &Arc<Self>, order: OrderId, user: UserId, amount: Money) -> Answer {
        let payments = self.clone();
        self.to_the_end(async move { payments.process_now(order, user, amount).await }).await
    }

    /// The compensation; answers whether money was given back.
    ///
    /// # Errors
    /// When the provider or the store is unavailable: later, then.
    pub async fn refund(self: &Arc<Self>, order: OrderId) -> Result<bool, PayError> {
        let payments = self.clone();
        self.to_the_end(async move { payments.refund_now(order).await }).await
    }

    /// What staff decide: gives the money of a captured payment back. It is written down before the provider is
    /// asked; whoever asks again after a failure finishes it.
    ///
    /// # Errors
    /// `Unknown` without a payment, `NotCaptured` where no money was taken; when the provider or the store is
    /// unavailable: later, then.
    pub async fn refund_by_staff(self: &Arc<Self>, order: OrderId, staff: UserId) -> Result<Payment, PayError> {
        let payments = self.clone();
        self.to_the_end(async move { payments.refund_by_staff_now(order, staff).await }).await
    }

    /// What has happened to an order's payment, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(&self, order: OrderId) -> Result<Vec<Event>, StoreError> {
        self.store.history(order).await
    }

    /// # Errors
    /// When the store cannot be read.
    pub async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError> {
        self.store.find(order).await
    }

    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError> {
        self.store.list(listing).await
    }

    /// Waits until nothing is under way, and lets nothing new begin.
    pub async fn finish(&self) {
        // The semaphore is never closed, so this waits for every permit to come home.
        let all = self.work.acquire_many(WORK_MAX).await;
        if let Ok(all) = all {
            all.forget();
        }
    }

    /// Runs the work even if the caller goes away meanwhile: an intent is not left without its
    /// result only because somebody lost patience.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, PayError>> + Send + 'static,
    ) -> Result<T, PayError> {
        let slot = self.work.clone().try_acquire_owned().map_err(|_| PayError::Busy)?;
        let held = async move {
            let _slot = slot;
            work.await
        };
        tokio::spawn(Context::current().scope(held)).await.unwrap_or(Err(PayError::CutOff))
    }

    async fn process_now(&self, order: OrderId, user: UserId, amount: Money) -> Answer {
        let at = self.clock.now();
        let terms = Terms { user, amount, not_after: at.plus(self.charge_window) };
        let intend = Command { order, action: Action::Intend(terms), at };
        if let Some(known) = self.store.find(order).await? {
            decide(Some(&known), &intend)?;
            return self.again(known).await;
        }
        // Before the intent: what an open breaker refuses leaves no trace.
        let Some(admitted) = self.breaker.admit() else { return Ok(Outcome::Unavailable) };
        #[cfg(feature = "planted-bugs")]
        if self.is_planted(planted::PlantedBug::ChargeBeforeIntent) {
            return self.charge_first(admitted, intend, terms).await;
        }
        let Decided { payment, changed } = self.execute(intend).await?;
        if changed {
            return self.attempt(admitted, payment.order, terms).await;
        }
        drop(admitted);
        self.again(payment).await
    }

    /// The second moment and the third.
    async fn attempt(&self, admitted: Admitted, order: OrderId, terms: Terms) -> Answer {
        let attempt = Attempt::begin(self, order);
        let started = Instant::now();
        let charged = self.provider.charge(order, terms.amount, terms.not_after).await;
        let lost = matches!(charged, Err(ProviderError::Lost(_)));
        admitted.ended(if lost { Ended::Failed } else { Ended::Succeeded }, started.elapsed());
        let answer = match charged {
            Ok(standing) => self.settle(order, standing, Cause::Charge).await.map(|payment| self.outcome(&payment)),
            Err(error) => {
                tracing::warn!(%order, %error, "the fate of a charge is unknown");
                Ok(self.ongoing(&terms))
            }
        };
        attempt.end(answer.clone());
        answer
    }

    /// The answer to a repetition.
    async fn again(&self, payment: Payment) -> Answer {
        let (State::Intent, Some(terms)) = (payment.state, payment.terms) else { return Ok(self.outcome(&payment)) };
        let order = payment.order;
        if let Some(answer) = self.join(order).await {
            return answer;
        }
        let expired = self.clock.now() > terms.not_after;
        let (found, cause) = match expired {
            true => (self.provider.void(order).await.map(Some), Cause::Expiry),
            #[cfg(feature = "planted-bugs")]
            false if self.is_planted(planted::PlantedBug::KeyPerAttempt) => {
                (self.charge_anew(order, &terms).await, Cause::Charge)
            }
            // Perhaps the charge was made and only its answer was lost.
            false => (self.provider.status(order).await, Cause::Charge),
        };
        match found {
            Ok(Some(standing)) => Ok(self.outcome(&self.settle(order, standing, cause).await?)),
            Ok(None) => Ok(self.ongoing(&terms)),
            Err(error) => {
                tracing::warn!(%order, %error, expired, "the fate of a charge is still unknown");
                Ok(self.ongoing(&terms))
            }
        }
    }

    /// The answer of the attempt that is under way in this process, if there is one.
    async fn join(&self, order: OrderId) -> Option<Answer> {
        let mut attempt = self.attempts().get(&order)?.clone();
        let answer = attempt.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }

    async fn refund_now(&self, order: OrderId) -> Result<bool, PayError> {
        let block = Command { order, action: Action::Block, at: self.clock.now() };
        let payment = self.execute(block).await?.payment;
        let standing = match payment.state {
            State::Refunded => return Ok(true),
            State::Declined | State::Voided | State::Blocked => return Ok(false),
            State::Captured => self.give_back(order).await?,
            #[cfg(feature = "planted-bugs")]
            State::Intent if self.is_planted(planted::PlantedBug::OpenMeansUnpaid) => Self::unpaid(),
            // Whether the charge is before or behind this void, the provider decides.
            State::Intent => match self.provider.void(order).await? {
                Standing { settled: Settled::Captured, .. } => self.give_back(order).await?,
                other => other,
            },
        };
        let payment = self.settle(order, standing, Cause::Compensation).await?;
        Ok(payment.state == State::Refunded)
    }

    async fn refund_by_staff_now(&self, order: OrderId, staff: UserId) -> Result<Payment, PayError> {
        let wanted = Command { order, action: Action::Return { staff }, at: self.clock.now() };
        let payment = self.execute(wanted).await?.payment;
        if payment.state == State::Refunded {
            return Ok(payment);
        }
        let standing = self.give_back(order).await?;
        self.settle(order, standing, Cause::Compensation).await
    }

    async fn give_back(&self, order: OrderId) -> Result<Standing, PayError> {
        let reference = self.provider.refund(order).await?;
        Ok(Standing { settled: Settled::Refunded, reference, reason: String::new() })
    }

    async fn settle(&self, order: OrderId, standing: Standing, cause: Cause) -> Result<Payment, PayError> {
        let settle = Command { order, action: Action::Settle(standing, cause), at: self.clock.now() };
        Ok(self.execute(settle).await?.payment)
    }

    /// One command; the store takes batches.
    async fn execute(&self, command: Command) -> Result<Decided, PayError> {
        let answer = self.store.execute(std::slice::from_ref(&command)).await?.pop();
        let answer = answer.ok_or_else(|| StoreError::Corrupt("the store did not answer".into()))?;
        if let Err(error @ Refusal::Contradiction { .. }) = &answer {
            tracing::error!(order = %command.order, %error, "the books disagree");
        }
        Ok(answer?)
    }

    fn outcome(&self, payment: &Payment) -> Outcome {
        match (payment.state, &payment.terms) {
            (State::Captured, _) => Outcome::Captured { reference: payment.reference.clone() },
            (State::Declined, _) => Outcome::Declined { reason: payment.reason.clone() },
            (State::Intent, Some(terms)) => self.ongoing(terms),
            (State::Intent, None) | (State::Voided | State::Refunded | State::Blocked, _) => Outcome::Blocked,
        }
    }

    fn ongoing(&self, terms: &Terms) -> Outcome {
        let left = terms.not_after.since(self.clock.now());
        let retry_after = if left.is_zero() { RETRY_MAX } else { left.clamp(RETRY_MIN, RETRY_MAX) };
        Outcome::Ongoing { retry_after }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<OrderId, watch::Receiver<Option<Answer>>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that duplicates can wait for. They are let go when it is dropped.
struct Attempt<'a> {
    payments: &'a Payments,
    order: OrderId,
    answer: watch::Sender<Option<Answer>>,
}

impl<'a> Attempt<'a> {
    fn begin(payments: &'a Payments, order: OrderId) -> Self {
        let (answer, receiver) = watch::channel(None);
        payments.attempts().insert(order, receiver);
        Self { payments, order, answer }
    }

    fn end(self, answer: Answer) {
        self.answer.send_replace(Some(answer));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.payments.attempts().remove(&self.order);
    }
}
