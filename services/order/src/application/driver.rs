//! The driver: carries every order through its saga, and picks up those that are due.
//!
//! One task drives one order from commit to commit. What waits for a later moment is not held in
//! memory: its due time is stored and the task ends, so that a restarted process finds the same
//! work as the one that was killed. Claims are conditional updates that raise the order's epoch;
//! whoever was overtaken finds its next write refused and stops.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::clock::SharedClock;
use chassis::context::{Context, Tracer};
use chassis::rng::Seeds;
use chassis::rng::Stream;
use kernel::{OrderId, Timestamp};
use rand::RngExt;
use store::StoreError;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "planted-bugs")]
use super::planted::Planted;
use super::ports::{Attempt, Commit, News, Orders, Payments, Postpone, Stock, Stored};
use super::retries::Retries;
use super::steps::StepRecorder;
use super::trade::Trade;
use super::waiters::Waiters;
use crate::domain::saga::{self, Done, Patience, Verdict};
use crate::domain::{Order, OrderEvent, Outcome, Rejected, Reply, Step, Tries};

/// How the driver paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub patience: Patience,
    /// An order whose driver has not committed anything for so long may be claimed by another.
    /// Longer than any call's deadline.
    pub lease: Duration,
    /// A commit renews a lease that has no more left than this, and leaves a longer one alone: a due time that
    /// does not move spares the store the work on its index. Longer than any call's deadline, too.
    pub renewed_below: Duration,
    pub backoff_base: Duration,
    pub backoff_cap: Duration,
    /// From this many attempts of unknown outcome on, a compensation or a sale is an alert, and listed as
    /// stuck.
    pub alert_after: u32,
    /// Orders driven at once.
    pub in_flight_max: usize,
}

/// Drives orders. Cheap to clone.
#[derive(Clone)]
pub struct Driver {
    inner: Arc<Inner>,
}

struct Inner {
    orders: Arc<dyn Orders>,
    stock: Arc<dyn Stock>,
    payments: Arc<dyn Payments>,
    clock: SharedClock,
    tracer: Tracer,
    jitter: Mutex<Stream>,
    steps: StepRecorder,
    retries: Retries,
    trade: Trade,
    waiters: Waiters,
    pace: Pace,
    #[cfg(feature = "planted-bugs")]
    planted: Planted,
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
    /// The orders that a task of this process drives at this moment.
    driven: Mutex<BTreeSet<OrderId>>,
    due_changed: Notify,
}

/// Everything the driver is made of.
pub struct Parts {
    pub orders: Arc<dyn Orders>,
    pub stock: Arc<dyn Stock>,
    pub payments: Arc<dyn Payments>,
    pub clock: SharedClock,
    pub tracer: Tracer,
    pub seeds: Seeds,
    pub steps: StepRecorder,
    pub retries: Retries,
    pub trade: Trade,
    pub waiters: Waiters,
    pub pace: Pace,
    #[cfg(feature = "planted-bugs")]
    pub planted: Planted,
}

impl Driver {
    pub fn new(parts: Parts) -> Self {
        let Parts { orders, stock, payments, clock, tracer, seeds, steps, retries, trade, waiters, pace, .. } = parts;
        let jitter = Mutex::new(seeds.stream("backoff"));
        let slots = Arc::new(Semaphore::new(pace.in_flight_max));
        Self {
            inner: Arc::new(Inner {
                orders,
                stock,
                payments,
                clock,
                tracer,
                jitter,
                steps,
                retries,
                trade,
                waiters,
                pace,
                #[cfg(feature = "planted-bugs")]
                planted: parts.planted,
                tasks: TaskTracker::new(),
                slots,
                driven: Mutex::default(),
                due_changed: Notify::new(),
            }),
        }
    }

    /// When an order that is worked on now counts as abandoned.
    pub fn lease_until(&self) -> Timestamp {
        self.inner.clock.now().plus(self.inner.pace.lease)
    }

    /// Where orders are counted.
    pub fn trade(&self) -> &Trade {
        &self.inner.trade
    }

    /// See [`Pace::alert_after`].
    pub fn alert_after(&self) -> u32 {
        self.inner.pace.alert_after
    }

    #[cfg(feature = "planted-bugs")]
    pub fn planted(&self) -> &Planted {
        &self.inner.planted
    }

    /// Somebody else has made an order due: look for it now.
    pub fn look(&self) {
        self.inner.due_changed.notify_one();
    }

    /// Starts driving the order. If too many are being driven, its due time brings it back.
    pub fn start(&self, stored: Stored) {
        let Ok(slot) = self.inner.slots.clone().try_acquire_owned() else { return };
        let inner = self.inner.clone();
        let parent = stored.traceparent.as_ref().and_then(|text| text.parse().ok());
        let context = Context { trace: inner.tracer.span(parent), token: None };
        let driven = Driven::new(self.inner.clone(), stored.order.id);
        self.inner.tasks.spawn(async move {
            context.scope(inner.drive(stored)).await;
            drop((driven, slot));
        });
    }

    /// An event says that a step has an outcome: look at the order now, if it waits for that.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn wake(&self, id: OrderId, step: Step) -> Result<News, StoreError> {
        // A task that drives it waits for an answer, or has it already: nothing is recorded as unknown.
        if self.inner.lock_driven().contains(&id) {
            return Ok(News::NotAwaited);
        }
        let news = self.inner.orders.wake(id, step, self.inner.clock.now()).await?;
        if news == News::Awaited {
            self.look();
        }
        Ok(news)
    }

    /// Claims and drives due orders until shutdown, then waits for those under way.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let pause = self.claim_due().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot look for due orders");
                Duration::from_millis(200)
            });
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.inner.due_changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Starts what is due; answers when to look again. That is no later than a lease from now: an
    /// order whose driver lost its store, had no slot or was killed becomes due without a word.
    async fn claim_due(&self) -> Result<Duration, StoreError> {
        let inner = &self.inner;
        inner.retries.look();
        loop {
            let most = inner.slots.available_permits().min(256);
            if most == 0 {
                return Ok(Duration::from_millis(10));
            }
            let claimed = inner.orders.claim_due(inner.clock.now(), inner.pace.lease, most).await?;
            if claimed.is_empty() {
                let next = inner.orders.next_due().await?;
                // Timers have a grain of a millisecond: rounding down would spin.
                let until = |due: Timestamp| due.since(inner.clock.now()) + Duration::from_millis(1);
                return Ok(next.map_or(inner.pace.lease, until).min(inner.pace.lease));
            }
            for stored in claimed {
                self.start(stored);
            }
        }
    }
}

/// An order that is being driven, until this is dropped. Of two tasks, one of them a former owner, the first that ends
/// takes the mark away from both: news of the order is then looked up, as for any other.
struct Driven {
    inner: Arc<Inner>,
    id: OrderId,
}

impl Driven {
    fn new(inner: Arc<Inner>, id: OrderId) -> Self {
        inner.lock_driven().insert(id);
        Self { inner, id }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.inner.lock_driven().remove(&self.id);
    }
}

impl Inner {
    fn lock_driven(&self) -> MutexGuard<'_, BTreeSet<OrderId>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Step after step, until there is nothing to do now or somebody else has taken over.
    async fn drive(&self, mut stored: Stored) {
        loop {
            let Some(step) = saga::next_step(&stored.order) else { return };
            let progress = match step.is_local() {
                // What is committed is the step itself.
                true => self.commit(&mut stored, Vec::new(), Vec::new()).await.map(|()| Progress::On),
                false => self.attempt(&mut stored, step).await,
            };
            match progress {
                Ok(Progress::On) => {}
                Ok(Progress::Later) => return,
                Err(StoreError::Conflict(_)) => {
                    self.steps.overtaken(step);
                    tracing::debug!(order = %stored.order.id, "overtaken: another drives this order now");
                    return;
                }
                Err(error) => {
                    // Its due time stands, so the order comes back when the lease is over.
                    tracing::warn!(order = %stored.order.id, %step, %error, "the order waits for its store");
                    return;
                }
            }
        }
    }

    /// Asks the participant and acts on its reply.
    async fn attempt(&self, stored: &mut Stored, step: Step) -> Result<Progress, StoreError> {
        if stored.tries.attempts == 0 {
            self.retries.first_attempt();
        }
        #[cfg(feature = "planted-bugs")]
        self.planted.wait().await;
        let (in_flight, started_at) = (self.steps.begin(step), self.clock.now());
        #[cfg(not(feature = "planted-bugs"))]
        let reply = self.call(&stored.order, step).await;
        #[cfg(feature = "planted-bugs")]
        let reply = self.planted.reply(step, stored.tries, self.call(&self.planted.asked(stored), step).await);
        let (outcome, tries) = (reply.outcome(), stored.tries.and(&reply));
        let took = in_flight.ended(outcome);
        let detail = match &reply {
            Reply::Unknown { why } | Reply::Broken { why } => Some(why.clone()),
            Reply::Refused(reason) => Some(reason.to_string()),
            Reply::Done(_) | Reply::Ongoing { .. } => None,
        };
        let attempt = Attempt { step, number: tries.attempts, outcome, started_at, took: Some(took), detail };
        match saga::decide(&stored.order, step, reply, tries, self.clock.now(), self.pace.patience) {
            Verdict::Commit(events) => {
                self.commit(stored, events, vec![attempt]).await?;
                Ok(Progress::On)
            }
            Verdict::Poll { at_least } => {
                let delay = at_least + self.backoff(tries.attempts);
                self.postpone(stored, tries, attempt, delay).await
            }
            Verdict::Retry => self.retry(stored, tries, attempt).await,
        }
    }

    /// The step is tried again as far as the budget goes. Beyond it, a forward step is given up; what
    /// must be done waits for the slowest backoff, and is tried then without a token.
    async fn retry(&self, stored: &mut Stored, tries: Tries, attempt: Attempt) -> Result<Progress, StoreError> {
        let step = attempt.step;
        if !step.is_forward() && tries.unknown >= self.pace.alert_after {
            let (order, attempt) = (stored.order.id, tries.attempts);
            tracing::error!(%order, %step, attempt, "does not succeed; it is tried again for ever");
        }
        if self.retries.allow(step) {
            let delay = self.backoff(tries.unknown);
            return self.postpone(stored, tries, attempt, delay).await;
        }
        let Some(event) = saga::without_retry(&stored.order, step) else {
            let delay = saga::slowest_backoff(self.pace.backoff_cap, self.share());
            return self.postpone(stored, tries, attempt, delay).await;
        };
        self.commit(stored, vec![event], vec![attempt]).await?;
        Ok(Progress::On)
    }

    fn backoff(&self, attempt: u32) -> Duration {
        saga::backoff(attempt, self.pace.backoff_base, self.pace.backoff_cap, self.share())
    }

    /// The next draw for a delay, from 0 to 1.
    fn share(&self) -> f64 {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    async fn call(&self, order: &Order, step: Step) -> Reply {
        match step {
            Step::ReserveStock => self.stock.reserve(order.id, &order.lines).await,
            Step::ProcessPayment => self.payments.process(order.id, order.user, order.total).await,
            Step::CommitStock => self.stock.commit(order.id).await,
            Step::RefundPayment => self.payments.refund(order.id).await,
            Step::ReleaseStock => self.stock.release(order.id).await,
            Step::Create | Step::Confirm | Step::Cancel => Reply::Done(Done::Plain),
        }
    }

    /// Commits the events, and in the same commit the local step that follows from them: nobody has to be
    /// asked about it, so there is nothing to wait for in between.
    async fn commit(
        &self,
        stored: &mut Stored,
        events: Vec<OrderEvent>,
        mut attempts: Vec<Attempt>,
    ) -> Result<(), StoreError> {
        #[cfg(feature = "planted-bugs")]
        let events = self.planted.events(events);
        let mut events = events;
        let at = self.clock.now();
        let mut order = stored.order.clone();
        let corrupt = |error: Rejected| StoreError::Corrupt(error.to_string());
        events.iter().try_for_each(|event| order.apply(event, at)).map_err(corrupt)?;
        let mut local = None;
        if let Some(step) = saga::next_step(&order).filter(|step| step.is_local()) {
            let event = saga::event_of(&order, step, Done::Plain);
            order.apply(&event, at).map_err(corrupt)?;
            events.push(event);
            let outcome = Outcome::Done;
            attempts.push(Attempt { step, number: 1, outcome, started_at: at, took: None, detail: None });
            local = Some(self.steps.begin(step));
        }
        let due_at = saga::next_step(&order).map(|_| self.due_at(stored, at));
        #[cfg(feature = "planted-bugs")]
        let due_at = self.planted.due_at(&order, due_at);
        let commit = Commit {
            id: order.id,
            order: order.clone(),
            expected_version: stored.order.version,
            epoch: stored.epoch,
            events,
            at,
            attempts,
            due_at,
        };
        let why = commit.events.iter().find_map(|event| match event {
            OrderEvent::OperatorRequested { why } => Some(why.clone()),
            _ => None,
        });
        single(self.orders.commit(&[commit]).await)?;
        if let Some(in_flight) = local {
            in_flight.ended(Outcome::Done);
        }
        let ended = order.status.has_ended() && !stored.order.status.has_ended();
        stored.order = order;
        stored.due_at = due_at;
        stored.tries = Tries::default();
        if let Some(why) = why {
            tracing::error!(order = %stored.order.id, why, "needs an operator: mend the cause, then retry the order");
        }
        if ended {
            self.trade.ended(&stored.order);
            self.waiters.ended(&stored.order);
        }
        Ok(())
    }

    /// When an order that is committed at `at` may be claimed by another.
    fn due_at(&self, stored: &Stored, at: Timestamp) -> Timestamp {
        let renewed = at.plus(self.pace.lease);
        let stands = stored.due_at.filter(|due| due.since(at) > self.pace.renewed_below);
        stands.map_or(renewed, |due| due.min(renewed))
    }

    async fn postpone(
        &self,
        stored: &Stored,
        tries: Tries,
        attempt: Attempt,
        delay: Duration,
    ) -> Result<Progress, StoreError> {
        // From here on news of the step is not for this task any more.
        self.lock_driven().remove(&stored.order.id);
        let postpone = Postpone {
            id: stored.order.id,
            epoch: stored.epoch,
            tries,
            unknown_step: Some(attempt.step),
            attempts: vec![attempt],
            due_at: self.clock.now().plus(delay),
        };
        single(self.orders.postpone(&[postpone]).await)?;
        self.due_changed.notify_one();
        Ok(Progress::Later)
    }
}

enum Progress {
    On,
    Later,
}

/// The answer to a batch of one.
pub fn single<T>(mut answers: Vec<Result<T, StoreError>>) -> Result<T, StoreError> {
    answers.pop().unwrap_or_else(|| Err(StoreError::Corrupt("the store did not answer".into())))
}
