//! Processes in virtual time, each killed at its end, over databases that outlive them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::Clock;
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use chassis::settings::DurationRange;
use eventlog::consume::{Handler, run_concurrently};
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Consumer, ConsumerSettings, DEAD_LETTERS, Event, EventLog, Publish, Stream};
use kernel::{Timestamp, UserId};
use notification::adapters::inbound::events::{Announce, CONSUMER};
use notification::adapters::outbound::buyers::LogBuyers;
use notification::adapters::outbound::courier::{DATABASE, Manners, SimulatedCourier};
use notification::adapters::outbound::sqlite::SqliteLedger;
use notification::adapters::streams::{ORDERS, PAYMENTS};
use notification::application::notify::Notifier;
use notification::application::ports::{Accepted, MessageProvider, ProviderError, RecipientError, Recipients};
use notification::domain::{OutgoingMessage, Recipient};
use store::sqlite::Storage;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::people::{STRANGER, address, order, user};

pub const MANNERS: Manners = Manners {
    latency: DurationRange { low: Duration::from_millis(2), high: Duration::from_millis(10) },
    failure_rate: 0.0,
};
/// After this, what a killed process was handling comes again.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Virtual time within which everything that is expected to happen has happened.
const PATIENCE: Duration = Duration::from_secs(7200);

/// What outlives a process, and what the next one is like.
pub struct Setup {
    folder: Arc<TempDir>,
    at: Timestamp,
    /// (event id, channel) → how often it was handed over, in all processes.
    handed_over: Arc<Mutex<BTreeMap<(String, &'static str), u32>>>,
    pub manners: Manners,
    pub deliveries: u32,
    pub concurrency: usize,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            at: Timestamp::from_micros(1_700_000_000_000_000),
            handed_over: Arc::default(),
            manners: MANNERS,
            deliveries: 8,
            concurrency: 16,
        }
    }

    /// Runs `scene` in a process of its own, which ends with it as if killed.
    pub fn process<T>(&mut self, scene: impl AsyncFnOnce(&Shop) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (at, value) = runtime.block_on(async {
            let shop = Shop::open(self);
            let value = scene(&shop).await;
            (shop.clock.now(), value)
        });
        self.at = at;
        value
    }
}

struct VirtualClock {
    begin: Timestamp,
    started: Instant,
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.begin.plus(self.started.elapsed())
    }
}

pub struct Shop {
    pub log: Arc<SqliteEventLog>,
    pub courier: Arc<SimulatedCourier>,
    pub announce: Arc<Announce>,
    pub metrics: Metrics,
    clock: Arc<VirtualClock>,
    storage: Storage,
    settings: ConsumerSettings,
    concurrency: usize,
    handed_over: Arc<Mutex<BTreeMap<(String, &'static str), u32>>>,
}

/// A line of the provider's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub event_id: String,
    pub channel: String,
    pub recipient: String,
    pub body: String,
    pub order_id: String,
    pub accepted_at: i64,
}

fn courier(storage: &Storage, clock: Arc<VirtualClock>, manners: Manners) -> Arc<SimulatedCourier> {
    let ledger = SqliteLedger::open(storage, &Metrics::new("notification")).unwrap();
    Arc::new(SimulatedCourier::new(Arc::new(ledger), clock, &Seeds::from_number(1), manners))
}

impl Shop {
    fn open(setup: &Setup) -> Self {
        let storage = Storage::Folder(setup.folder.path().to_owned());
        let clock = Arc::new(VirtualClock { begin: setup.at, started: Instant::now() });
        let log = Arc::new(SqliteEventLog::open(&storage, clock.clone()).unwrap());
        let metrics = Metrics::new("notification");
        let courier = courier(&storage, clock.clone(), setup.manners);
        let notifier = Notifier {
            buyers: Arc::new(LogBuyers { log: log.clone() }),
            recipients: Arc::new(Directory),
            provider: Arc::new(Watched { inner: courier.clone(), handed_over: setup.handed_over.clone() }),
        };
        Self {
            announce: Arc::new(Announce::new(notifier, &metrics)),
            log,
            courier,
            metrics,
            clock,
            storage,
            settings: ConsumerSettings {
                name: CONSUMER,
                ack_wait: ACK_WAIT,
                deliveries_max: setup.deliveries,
                kinds: notification::adapters::inbound::events::KINDS,
            },
            concurrency: setup.concurrency,
            handed_over: setup.handed_over.clone(),
        }
    }

    /// The provider once more, over a connection of its own.
    pub fn another_courier(&self) -> Arc<SimulatedCourier> {
        courier(&self.storage, self.clock.clone(), MANNERS)
    }

    /// Appends the next event of an order to a stream.
    pub async fn publish(&self, stream: Stream, aggregate: &str, kind: &str, data: &str) {
        let last = self.log.last(stream, aggregate).await.unwrap();
        let (version, expected_last) = last.map_or((0, 0), |last| (last.event.version, last.sequence));
        let event = Event {
            aggregate: aggregate.to_owned(),
            version: version + 1,
            kind: kind.to_owned(),
            data: data.to_owned(),
            occurred_at: self.clock.now(),
            traceparent: None,
        };
        self.log.publish(stream, &[Publish { event, expected_last }]).await.remove(0).unwrap();
    }

    /// The `number`th order is placed by the `number`th user, and confirmed; today's event names the user.
    pub async fn confirmed_order(&self, number: u128) {
        let (order, user) = (order(number).to_string(), user(number));
        self.publish(ORDERS, &order, "OrderCreated", &format!(r#"{{"user":"{user}"}}"#)).await;
        self.publish(ORDERS, &order, "OrderConfirmed", &format!(r#"{{"user":"{user}"}}"#)).await;
    }

    pub async fn consumer(&self, stream: Stream) -> Box<dyn Consumer> {
        self.log.consumer(stream, self.settings.clone()).await.unwrap()
    }

    /// Runs the service's consumers until `enough`.
    pub async fn serve_until(&self, enough: impl Fn() -> bool) {
        let shutdown = CancellationToken::new();
        let listen = async |stream| {
            let handler: Arc<dyn Handler> = self.announce.clone();
            run_concurrently(self.consumer(stream).await, handler, self.concurrency, shutdown.clone()).await;
        };
        let listening = async { tokio::join!(listen(ORDERS), listen(PAYMENTS)) };
        tokio::select! {
            biased;
            () = eventually(enough) => {}
            _ = listening => unreachable!(),
        }
    }

    /// Runs the service's consumers until they are done with everything.
    pub async fn serve(&self) {
        self.serve_until(|| self.at_rest()).await;
    }

    /// Whether both consumers have been created and neither has anything left to do.
    fn at_rest(&self) -> bool {
        let sql = "SELECT (SELECT count(*) FROM consumers WHERE name = ?1) = 2
                      AND NOT EXISTS (SELECT 1 FROM pending WHERE name = ?1)
                      AND NOT EXISTS (SELECT 1 FROM messages m JOIN consumers c ON c.stream = m.stream
                                      WHERE c.name = ?1 AND m.sequence > c.delivered)";
        let log = self.storage.open_read_only("event_log").unwrap();
        log.query_row(sql, [CONSUMER], |row| row.get(0)).unwrap()
    }

    /// The provider's ledger, by event and channel.
    pub fn ledger(&self) -> Vec<Line> {
        let ledger = self.storage.open_read_only(DATABASE).unwrap();
        let sql = "SELECT event_id, channel, recipient, body, order_id, accepted_at FROM accepted ORDER BY 1, 2";
        let mut statement = ledger.prepare(sql).unwrap();
        let lines = statement.query_map([], |row| {
            Ok(Line {
                event_id: row.get(0)?,
                channel: row.get(1)?,
                recipient: row.get(2)?,
                body: row.get(3)?,
                order_id: row.get(4)?,
                accepted_at: row.get(5)?,
            })
        });
        lines.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// What the ledger's lines are about: event, channel, recipient.
    pub fn sent(&self) -> Vec<(String, String, String)> {
        self.ledger().into_iter().map(|line| (line.event_id, line.channel, line.recipient)).collect()
    }

    /// How often each message was handed to the provider.
    pub fn handed_over(&self) -> Vec<u32> {
        self.handed_over.lock().unwrap().values().copied().collect()
    }

    /// What stands in `DEAD_LETTERS`: whose, and what.
    pub async fn dead_letters(&self) -> Vec<String> {
        let settings = ConsumerSettings { name: "undertaker", ack_wait: ACK_WAIT, deliveries_max: 1000, kinds: &[] };
        let mut consumer = self.log.consumer(DEAD_LETTERS, settings).await.unwrap();
        let letters = tokio::time::timeout(Duration::from_millis(1), consumer.next(1000)).await;
        let mut letters: Vec<String> = match letters {
            Ok(letters) => letters.unwrap().into_iter().map(|letter| letter.event.aggregate).collect(),
            Err(_) => Vec::new(),
        };
        letters.sort();
        letters
    }
}

/// Polls until it is so, ever more slowly.
async fn eventually(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut delay = Duration::from_millis(1);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen within {PATIENCE:?}");
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(1));
    }
}

/// Knows everybody but one.
struct Directory;

#[async_trait]
impl Recipients for Directory {
    async fn of(&self, user: UserId) -> Result<Recipient, RecipientError> {
        match user.as_uuid().as_u128() {
            STRANGER => Err(RecipientError::NoSuchUser(user)),
            number => Ok(Recipient { user, email: address(number) }),
        }
    }
}

/// The provider, and who looks over its shoulder.
struct Watched {
    inner: Arc<SimulatedCourier>,
    handed_over: Arc<Mutex<BTreeMap<(String, &'static str), u32>>>,
}

#[async_trait]
impl MessageProvider for Watched {
    async fn send(&self, batch: &[OutgoingMessage]) -> Vec<Result<Accepted, ProviderError>> {
        for message in batch {
            let key = (message.event_id.to_string(), message.channel.as_str());
            *self.handed_over.lock().unwrap().entry(key).or_default() += 1;
        }
        self.inner.send(batch).await
    }
}
