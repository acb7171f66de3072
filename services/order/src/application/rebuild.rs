//! Makes the projection of orders anew from the event log: for a projection that is damaged, or that a new
//! program wants otherwise. The new one is made beside the one in use while orders are driven on, and then
//! takes its place at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::clock::SharedClock;
use kernel::{OrderId, Timestamp};
use store::StoreError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::driver::Driver;
use super::ports::{Folded, History, Logged, Projection, Rebuilt, Shadow};
use crate::domain::{Order, saga};

const PAUSE: Duration = Duration::from_millis(50);

/// What a rebuild is content with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events read at once, and orders written at once.
    pub page: usize,
    /// Orders with work to do that are held in memory. Those that had no event for longest are written as
    /// they stand, and read from the log again if one comes after all.
    pub open_max: usize,
    /// How long the log may stand still while it lacks what was committed before the rebuild began.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { page: 1000, open_max: 10_000, patience: Duration::from_secs(5) }
    }
}

/// Why nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RebuildError {
    #[error(
        "the event log lacks events of {orders} orders, {example} for one: wait until they are published or \
         refilled, then rebuild again"
    )]
    LogBehind { orders: u64, example: String },
    #[error(
        "the event log has events of {orders} orders that the store lacks, {example} for one: the store was set \
         back, and a projection of events that it does not have would be wrong"
    )]
    LogAhead { orders: u64, example: String },
    #[error("the event log has version {version} of order {id} and not the one before: wait until it is refilled")]
    Hole { id: OrderId, version: i64 },
    #[error("the rebuild was interrupted")]
    Interrupted,
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Outcome = Result<Rebuilt, RebuildError>;

/// Rebuilds the projection, one rebuild at a time. Cheap to clone.
#[derive(Clone)]
pub struct Rebuilder {
    work: Work,
    under_way: Arc<Mutex<Option<watch::Receiver<Option<Outcome>>>>>,
}

#[derive(Clone)]
struct Work {
    history: Arc<dyn History>,
    projection: Arc<dyn Projection>,
    driver: Driver,
    clock: SharedClock,
    limits: Limits,
}

impl Rebuilder {
    pub fn new(
        history: Arc<dyn History>,
        projection: Arc<dyn Projection>,
        driver: Driver,
        clock: SharedClock,
        limits: Limits,
    ) -> Self {
        Self { work: Work { history, projection, driver, clock, limits }, under_way: Arc::default() }
    }

    /// Rebuilds, or waits for the end of a rebuild that is under way here. It goes on when nobody waits for
    /// it any more.
    ///
    /// # Errors
    /// Then the projection is as it was.
    pub async fn run(&self) -> Outcome {
        let mut outcome = self.joined();
        let ended = outcome.wait_for(Option::is_some).await;
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(RebuildError::Interrupted))
    }

    fn joined(&self) -> watch::Receiver<Option<Outcome>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) =
            under_way.as_ref().filter(|running| running.borrow().is_none() && running.has_changed().is_ok())
        {
            return running.clone();
        }
        let (ended, outcome) = watch::channel(None);
        *under_way = Some(outcome.clone());
        let work = self.work.clone();
        tokio::spawn(async move {
            let outcome = work.rebuild().await;
            match &outcome {
                Ok(rebuilt) => tracing::info!(?rebuilt, "the projection of orders is made anew"),
                Err(error) => tracing::warn!(%error, "the projection of orders is left as it was"),
            }
            ended.send_replace(Some(outcome));
        });
        outcome
    }
}

impl Work {
    async fn rebuild(&self) -> Outcome {
        let mut shadow = self.projection.begin().await?;
        match self.fill(&mut *shadow).await {
            Ok(sequence) => {
                let rebuilt = shadow.swap(sequence, self.clock.now()).await?;
                // Orders that had no row have work to do now.
                self.driver.look();
                Ok(rebuilt)
            }
            Err(refused) => {
                if let Err(error) = shadow.discard().await {
                    tracing::warn!(%error, "the next rebuild drops what this one leaves behind");
                }
                Err(refused)
            }
        }
    }

    /// Writes every order into the shadow; answers how far the log is in it.
    async fn fill(&self, shadow: &mut dyn Shadow) -> Result<i64, RebuildError> {
        let began = self.clock.now();
        let (mut lacking, mut deadline) = (u64::MAX, Instant::now());
        let mut folds = Folds::default();
        loop {
            self.read(&mut folds, shadow, began).await?;
            let found = shadow.disagreement(began).await?;
            let example = || found.example.clone().unwrap_or_default();
            if found.ahead > 0 {
                return Err(RebuildError::LogAhead { orders: found.ahead, example: example() });
            }
            if found.behind == 0 {
                return Ok(folds.sequence);
            }
            if found.behind < lacking {
                (lacking, deadline) = (found.behind, Instant::now() + self.limits.patience);
            }
            if Instant::now() >= deadline {
                return Err(RebuildError::LogBehind { orders: found.behind, example: example() });
            }
            sleep(PAUSE).await;
        }
    }

    /// Folds what the log has, until its end or an event from after the beginning, and writes it.
    async fn read(&self, folds: &mut Folds, shadow: &mut dyn Shadow, began: Timestamp) -> Result<(), RebuildError> {
        let Limits { page, open_max, .. } = self.limits;
        loop {
            let events = self.history.page(folds.sequence, page).await?;
            // What is younger is caught up from the store.
            let is_end = events.last().is_none_or(|last| last.at >= began);
            for logged in events {
                self.fold(folds, logged).await?;
            }
            if is_end {
                return self.write(shadow, folds.all()).await;
            }
            self.write(shadow, folds.leaving(open_max)).await?;
        }
    }

    async fn write(&self, shadow: &mut dyn Shadow, orders: Vec<Folded>) -> Result<(), RebuildError> {
        let now = self.clock.now();
        for some in orders.chunks(self.limits.page) {
            shadow.write(some, now).await?;
        }
        Ok(())
    }

    async fn fold(&self, folds: &mut Folds, logged: Logged) -> Result<(), RebuildError> {
        let (sequence, id, version) = (logged.sequence, logged.id, logged.version);
        if version > 1 && !folds.open.contains_key(&id) {
            for logged in self.history.events(id).await? {
                folds.take(logged)?;
            }
        }
        folds.take(logged)?;
        folds.sequence = sequence;
        if let Some(open) = folds.open.get_mut(&id) {
            open.touched = sequence;
            open.is_over = is_over(&open.folded.order) && open.folded.order.version == version;
        }
        Ok(())
    }
}

/// Orders whose events are being read.
#[derive(Default)]
struct Folds {
    open: BTreeMap<OrderId, Open>,
    /// How far the log is read.
    sequence: i64,
}

struct Open {
    folded: Folded,
    /// The sequence of its last event.
    touched: i64,
    is_written: bool,
    /// No event can follow.
    is_over: bool,
}

impl Folds {
    /// An event that is known already changes nothing.
    fn take(&mut self, logged: Logged) -> Result<(), RebuildError> {
        let Logged { sequence, id, version, event, at, traceparent } = logged;
        let corrupt = |error| StoreError::Corrupt(format!("order {id} in the event log: {error}"));
        match self.open.get_mut(&id) {
            Some(open) if version <= open.folded.order.version => {}
            Some(open) if version == open.folded.order.version + 1 => {
                open.folded.order.apply(&event, at).map_err(corrupt)?;
                open.is_written = false;
            }
            None if version == 1 => {
                let folded = Folded { order: Order::fold(id, [(event, at)]).map_err(corrupt)?, traceparent };
                self.open.insert(id, Open { folded, touched: sequence, is_written: false, is_over: false });
            }
            Some(_) | None => return Err(RebuildError::Hole { id, version }),
        }
        Ok(())
    }

    /// What is to be written; what no event can follow is forgotten.
    fn all(&mut self) -> Vec<Folded> {
        let unwritten = self.open.values_mut().filter(|open| !open.is_written);
        let orders = unwritten.map(|open| {
            open.is_written = true;
            open.folded.clone()
        });
        let orders = orders.collect();
        self.open.retain(|_, open| !open.is_over);
        orders
    }

    /// What no event can follow is forgotten and, if more than `open_max` are left, half of those: the ones
    /// that had no event for longest. Of them, what is to be written.
    fn leaving(&mut self, open_max: usize) -> Vec<Folded> {
        let mut touched: Vec<i64> = self.open.values().filter(|open| !open.is_over).map(|open| open.touched).collect();
        let oldest = if touched.len() > open_max {
            touched.sort_unstable();
            touched.get(touched.len() / 2).copied()
        } else {
            None
        };
        let left =
            self.open.extract_if(.., |_, open| open.is_over || oldest.is_some_and(|oldest| open.touched <= oldest));
        left.filter(|(_, open)| !open.is_written).map(|(_, open)| open.folded).collect()
    }
}

/// Whether no event can follow.
fn is_over(order: &Order) -> bool {
    order.status.has_ended() && saga::next_step(order).is_none()
}
