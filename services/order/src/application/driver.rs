//! The driver: carries every order through its saga, and picks up those that are due.
//!
//! One task drives one order from commit to commit. What waits for a later moment is not held in
//! memory: its due time is stored and the task ends, so that a restarted process finds the same
//! work as the one that was killed. Claims are conditional updates that raise the order's epoch;
//! whoever was overtaken finds its next write refused and stops.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::SharedClock;
use chassis::context::{Context, Tracer};
use chassis::rng::Stream;
use chassis::{StoreError, rng::Seeds};
use kernel::{OrderId, Timestamp};
use rand::RngExt;
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
use crate::domain::{Order, OrderEvent, Outcome, Reply, Step, Tries};

/// How the driver paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub patience: Patience,
    /// An order whose driver has not committed anything for so long may be claimed by another.
    /// Longer than any call's deadline.
    pub lease: Duration,
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
    jitter: std::sync::Mutex<Stream>,
    steps: StepRecorder,
    retries: Retries,
    trade: Trade,
    waiters: Waiters,
    pace: Pace,
    #[cfg(feature = "planted-bugs")]
    planted: Planted,
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
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
        let jitter = std::sync::Mutex::new(seeds.stream("backoff"));
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
        let context = Context { trace: Some(inner.tracer.span(parent)), token: None };
        self.inner.tasks.spawn(async move {
            context.scope(inner.drive(stored)).await;
            drop(slot);
        });
    }

    /// An event says that a step has an outcome: look at the order now, if it waits for that.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn wake(&self, id: OrderId, step: Step) -> Result<News, StoreError> {
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

impl Inner {
    /// Step after step, until there is nothing to do now or somebody else has taken over.
    async fn drive(&self, mut stored: Stored) {
        loop {
            let Some(step) = saga::next_step(&stored.order) else { return };
            let progress = match step {
                Step::Confirm | Step::Cancel => self.commit_locally(&mut stored, step).await,
                _ => self.attempt(&mut stored, step).await,
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

    /// `confirm` and `cancel`: the commit is the step.
    async fn commit_locally(&self, stored: &mut Stored, step: Step) -> Result<Progress, StoreError> {
        let in_flight = self.steps.begin(step);
        let attempt = Attempt {
            step,
            number: stored.tries.attempts + 1,
            outcome: Outcome::Done,
            started_at: self.clock.now(),
            took: None,
            detail: None,
        };
        let event = saga::event_of(&stored.order, step, Done::Plain);
        self.commit(stored, vec![event], vec![attempt]).await?;
        in_flight.ended(Outcome::Done);
        Ok(Progress::On)
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
        self.jitter.lock().unwrap_or_else(std::sync::PoisonError::into_inner).random()
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

    async fn commit(
        &self,
        stored: &mut Stored,
        events: Vec<OrderEvent>,
        attempts: Vec<Attempt>,
    ) -> Result<(), StoreError> {
        #[cfg(feature = "planted-bugs")]
        let events = self.planted.events(events);
        let at = self.clock.now();
        let mut order = stored.order.clone();
        for event in &events {
            order.apply(event, at).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        }
        let due_at = saga::next_step(&order).map(|_| at.plus(self.pace.lease));
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
        let ended = order.status.has_ended() && !stored.order.status.has_ended();
        stored.order = order;
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

    async fn postpone(
        &self,
        stored: &Stored,
        tries: Tries,
        attempt: Attempt,
        delay: Duration,
    ) -> Result<Progress, StoreError> {
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
