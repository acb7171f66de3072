//! The real use cases over a real store in a folder, on virtual time, with the world of
//! [`crate::world`] around them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::{Clock, SharedClock, SteadyClock};
use chassis::context::Tracer;
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use kernel::{OrderId, ProductId, Quantity, Timestamp, UserId};
use order::adapters::outbound::memory::InProcessKeys;
use order::adapters::outbound::sqlite::{DATABASE, MIGRATIONS, SqliteOrders};
use order::application::driver::{Driver, Pace, Parts};
use order::application::orders::{OrderDesk, OrderError, PlaceOrder, Placed};
use order::application::ports::{
    After, Commit, Created, History, HistoryEntry, IdempotencyKeys, Logged, NewOrder, News, Orders, Postpone,
    ProductRef, Recorded, Stored, Stuck,
};
use order::application::retries::Retries;
use order::application::steps::StepRecorder;
use order::application::waiters::Waiters;
use order::domain::saga::{self, Patience};
use order::domain::{Order, Status, Step};
use store::StoreError;
use store::sqlite::{Db, Storage};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::World;

pub fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

pub fn storage(folder: &TempDir) -> Storage {
    Storage::Folder(folder.path().to_owned())
}

pub fn sqlite_orders(folder: &TempDir) -> SqliteOrders {
    SqliteOrders::new(Arc::new(Db::open(&storage(folder), DATABASE, MIGRATIONS, &Metrics::new("test")).unwrap()))
}

/// The wall clock of a runtime whose time is virtual.
pub struct VirtualClock {
    begin: Timestamp,
    started: Instant,
    /// In microseconds.
    wrong_by: AtomicI64,
}

impl VirtualClock {
    /// It is wrong from now on, by so many seconds more.
    pub fn jump(&self, seconds: i64) {
        self.wrong_by.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let right = self.begin.plus(self.started.elapsed());
        Timestamp::from_micros(right.as_micros() + self.wrong_by.load(Ordering::Relaxed))
    }
}

/// Where one process ends and the next begins: what outlives it.
#[derive(Clone)]
pub struct Setup {
    pub folder: Arc<TempDir>,
    pub world: World,
    pub pace: Pace,
    /// The retry budget: a share of first attempts, and so many a second.
    pub budget: (f64, u32),
    /// Which commits of the process fail, counted from 0.
    pub commits_fail: BTreeMap<usize, CommitFails>,
    /// Whether somebody else claims the order between the first cancel's look and its write.
    pub cancel_is_overtaken: bool,
    /// Whether due orders are claimed.
    pub claims: bool,
    /// What is remembered of idempotency keys.
    pub keys: Remembers,
    /// When the process starts.
    pub at: Timestamp,
}

impl Setup {
    pub fn new() -> Self {
        Self::over(World::with_units(100))
    }

    pub fn over(world: World) -> Self {
        let pace = Pace {
            patience: Patience { attempts_max: 4, order_deadline: Duration::from_secs(30), operator_after: 5 },
            lease: Duration::from_secs(5),
            renewed_below: Duration::from_millis(3_500),
            backoff_base: Duration::from_millis(20),
            backoff_cap: Duration::from_secs(2),
            alert_after: 10,
            in_flight_max: 64,
        };
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self {
            folder,
            world,
            pace,
            budget: (0.2, 10),
            commits_fail: BTreeMap::new(),
            cancel_is_overtaken: false,
            claims: true,
            keys: Remembers::Keys,
            at,
        }
    }

    /// Runs `scene` in a process of its own, which ends with it as if killed: no task finishes, no
    /// destructor has a say in what is stored.
    pub fn process<T, F: Future<Output = T>>(&mut self, scene: impl FnOnce(Shop) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (clock, value) = runtime.block_on(async {
            let shop = Shop::open(self);
            let clock = shop.clock.clone();
            let value = scene(shop).await;
            (clock.now(), value)
        });
        self.at = clock;
        value
    }
}

/// What is remembered of idempotency keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Remembers {
    Keys,
    /// As if everything were always lost at once.
    Nothing,
    /// As if every key had been used, those too that never were.
    Rumours,
}

impl Remembers {
    fn keys(self, clock: &SharedClock) -> Arc<dyn IdempotencyKeys> {
        match self {
            Self::Keys => Arc::new(InProcessKeys::new(Duration::from_secs(86_400), clock.clone())),
            forgets => Arc::new(forgets),
        }
    }
}

#[async_trait]
impl IdempotencyKeys for Remembers {
    async fn used(&self, _: OrderId) -> bool {
        *self == Self::Rumours
    }
}

pub struct Shop {
    pub world: World,
    pub desk: OrderDesk,
    pub driver: Driver,
    pub orders: Arc<dyn Orders>,
    /// The wall's.
    pub clock: Arc<VirtualClock>,
    steady: SharedClock,
    /// The first driver's.
    pub steps: StepRecorder,
    setup: Setup,
}

impl Shop {
    pub fn new() -> Self {
        Self::open(&Setup::new())
    }

    pub fn open(setup: &Setup) -> Self {
        let clock = Arc::new(VirtualClock { begin: setup.at, started: Instant::now(), wrong_by: AtomicI64::new(0) });
        // As `order::build` does.
        let steady: SharedClock = Arc::new(SteadyClock::start(clock.clone()));
        let orders: Arc<dyn Orders> = Arc::new(Flaky {
            inner: sqlite_orders(&setup.folder),
            commits: Mutex::new(0),
            fail: setup.commits_fail.clone(),
            overtakes: Mutex::new(setup.cancel_is_overtaken),
        });
        let waiters = Waiters::default();
        let steps = StepRecorder::default();
        let driver = driver(setup, &orders, &steady, &waiters, &steps);
        let desk = OrderDesk {
            orders: orders.clone(),
            keys: setup.keys.keys(&steady),
            catalogue: Arc::new(setup.world.clone()),
            history: Arc::new(NoHistory),
            driver: driver.clone(),
            waiters,
            steps: steps.clone(),
            clock: steady.clone(),
        };
        if setup.claims {
            tokio::spawn(driver.clone().run(CancellationToken::new()));
        }
        Self { world: setup.world.clone(), desk, driver, orders, clock, steady, steps, setup: setup.clone() }
    }

    /// A second instance of the service over the same store.
    pub fn second_driver(&self) -> Driver {
        driver(&self.setup, &self.orders, &self.steady, &Waiters::default(), &StepRecorder::default())
    }

    /// Asks for so many units of product 1.
    pub async fn place(&self, key: &str, units: u32, wait: Duration) -> Result<Placed, OrderError> {
        self.place_items(key, &[(1, units)], wait).await
    }

    pub async fn place_items(&self, key: &str, items: &[(i64, u32)], wait: Duration) -> Result<Placed, OrderError> {
        let item = |&(id, units): &(i64, u32)| (ProductRef::Id(ProductId(id)), Quantity::try_from(units).unwrap());
        let items = items.iter().map(item).collect();
        // Lets the drivers find that there is nothing to do, so that they sleep when the order comes.
        tokio::task::yield_now().await;
        self.desk.place(PlaceOrder { user: user(1), key: key.into(), items, wait }).await
    }

    /// A new order of one unit, on its way.
    pub async fn start(&self, key: &str) -> OrderId {
        self.place(key, 1, Duration::ZERO).await.unwrap().order.id
    }

    /// The order when nothing is left to do about it, and the checks that every such order passes.
    pub async fn settled(&self, id: OrderId) -> Order {
        let order = eventually(async || {
            let order = self.orders.get(id).await.unwrap().unwrap().order;
            saga::next_step(&order).is_none().then_some(order)
        })
        .await;
        self.check(&order).await;
        order
    }

    /// A new order of one unit, settled.
    pub async fn settle(&self, key: &str) -> Order {
        self.settled(self.start(key).await).await
    }

    /// What is true of every order with nothing left to do.
    async fn check(&self, order: &Order) {
        let versions = self.kinds(order.id).len() as i64;
        assert_eq!(order.version, versions, "versions have no gap");
        let (status, due): (String, Option<i64>) = self
            .connection()
            .query_row("SELECT status, due_at FROM orders WHERE id = ?1", [order.id.to_string()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!((status.as_str(), due), (order.status.as_str(), None), "the row is the fold and nothing is due");
        let effects = self.world.effects(order.id);
        let count = |effect| effects.iter().filter(|happened| **happened == effect).count();
        match order.status {
            Status::Confirmed => assert_eq!(effects, ["reserved", "captured", "sold"]),
            Status::Cancelled => {
                assert_eq!(count("captured"), count("refunded"), "the charge nets to zero: {effects:?}");
                assert_eq!(count("reserved"), count("released"), "no hold is left: {effects:?}");
                assert!(count("captured") <= 1 && count("reserved") <= 1 && count("sold") == 0, "{effects:?}");
            }
            other => panic!("{other} is no end"),
        }
    }

    fn connection(&self) -> rusqlite::Connection {
        storage(&self.setup.folder).open_read_only(DATABASE).unwrap()
    }

    /// The kinds of the order's events, in order.
    pub fn kinds(&self, id: OrderId) -> Vec<String> {
        let connection = self.connection();
        let sql = "SELECT kind FROM order_events WHERE aggregate = ?1 ORDER BY version";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([id.to_string()], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// The recorded attempts of a step: number, outcome and the epoch of who made it.
    pub fn attempts(&self, id: OrderId, step: Step) -> Vec<(u32, String, i64)> {
        let connection = self.connection();
        let sql =
            "SELECT number, outcome, epoch FROM saga_attempts WHERE order_id = ?1 AND step = ?2 ORDER BY sequence";
        let mut statement = connection.prepare(sql).unwrap();
        let rows =
            statement.query_map([id.to_string(), step.to_string()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// How often a step was recorded as done.
    pub fn done(&self, id: OrderId, step: Step) -> usize {
        self.attempts(id, step).iter().filter(|(_, outcome, _)| outcome == "done").count()
    }
}

fn driver(
    setup: &Setup,
    orders: &Arc<dyn Orders>,
    clock: &SharedClock,
    waiters: &Waiters,
    steps: &StepRecorder,
) -> Driver {
    let seeds = Seeds::from_number(1);
    Driver::new(Parts {
        orders: orders.clone(),
        stock: Arc::new(setup.world.clone()),
        payments: Arc::new(setup.world.clone()),
        clock: clock.clone(),
        tracer: Tracer::new(&seeds),
        seeds,
        steps: steps.clone(),
        retries: Retries::new(setup.budget.0, setup.budget.1, clock.clone()),
        trade: Default::default(),
        waiters: waiters.clone(),
        pace: setup.pace,
        #[cfg(feature = "planted-bugs")]
        planted: Default::default(),
    })
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until there is an answer, ever more slowly; fails after two virtual hours.
pub async fn eventually<T, F: Future<Output = Option<T>>>(poll: impl FnMut() -> F) -> T {
    within(Duration::from_secs(7200), poll).await
}

/// Polls until there is an answer, ever more slowly; fails after `limit`.
pub async fn within<T, F: Future<Output = Option<T>>>(limit: Duration, mut poll: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + limit;
    let mut delay = Duration::from_millis(1);
    loop {
        if let Some(value) = poll().await {
            return value;
        }
        assert!(Instant::now() < deadline, "it did not happen within {limit:?}");
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(limit / 200);
    }
}

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CommitFails {
    /// Nothing was written.
    Before,
    /// All was written, and the connection lost before the answer.
    After,
}

/// The store, on a bad day.
struct Flaky {
    inner: SqliteOrders,
    commits: Mutex<usize>,
    fail: BTreeMap<usize, CommitFails>,
    overtakes: Mutex<bool>,
}

#[async_trait]
impl Orders for Flaky {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StoreError>> {
        let number = {
            let mut commits = self.commits.lock().unwrap();
            *commits += 1;
            *commits - 1
        };
        let lost = || vec![Err(StoreError::Unavailable("the connection is lost".into()))];
        match self.fail.get(&number) {
            None => self.inner.commit(batch).await,
            Some(CommitFails::Before) => lost(),
            Some(CommitFails::After) => {
                self.inner.commit(batch).await;
                lost()
            }
        }
    }
    async fn create(&self, batch: &[NewOrder]) -> Vec<Result<Created, StoreError>> {
        self.inner.create(batch).await
    }
    async fn take_over(&self, commit: &Commit) -> Result<i64, StoreError> {
        if std::mem::take(&mut *self.overtakes.lock().unwrap()) {
            let lease = Duration::from_secs(5);
            self.inner.claim_due(commit.at.plus(lease), lease, 1).await?;
        }
        self.inner.take_over(commit).await
    }
    async fn postpone(&self, batch: &[Postpone]) -> Vec<Result<(), StoreError>> {
        self.inner.postpone(batch).await
    }
    async fn claim_due(&self, now: Timestamp, lease: Duration, most: usize) -> Result<Vec<Stored>, StoreError> {
        self.inner.claim_due(now, lease, most).await
    }
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_due().await
    }
    async fn wake(&self, id: OrderId, step: Step, now: Timestamp) -> Result<News, StoreError> {
        self.inner.wake(id, step, now).await
    }
    async fn get(&self, id: OrderId) -> Result<Option<Stored>, StoreError> {
        self.inner.get(id).await
    }
    async fn list(&self, user: Option<UserId>, after: After, most: usize) -> Result<Vec<Order>, StoreError> {
        self.inner.list(user, after, most).await
    }
    async fn stuck(&self, unknown_min: u32, after: After, most: usize) -> Result<Vec<Stuck>, StoreError> {
        self.inner.stuck(unknown_min, after, most).await
    }
    async fn retry(&self, id: OrderId, epoch: i64, now: Timestamp) -> Result<(), StoreError> {
        self.inner.retry(id, epoch, now).await
    }
    async fn attempts(&self, id: OrderId, after: i64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        self.inner.attempts(id, after, most).await
    }
}

struct NoHistory;

#[async_trait]
impl History for NoHistory {
    async fn of(&self, _: OrderId) -> Result<Vec<HistoryEntry>, StoreError> {
        Ok(Vec::new())
    }
    async fn page(&self, _: i64, _: usize) -> Result<Vec<Logged>, StoreError> {
        Ok(Vec::new())
    }
    async fn events(&self, _: OrderId) -> Result<Vec<Logged>, StoreError> {
        Ok(Vec::new())
    }
}
