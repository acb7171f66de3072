//! The broker is killed, loses its store, its end, or nothing, while events are published and consumed: in
//! the end everything is in the log and everybody has handled everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eventlog::consume::{Handler, Rejection, listen};
use eventlog::jetstream::JetStreamLog;
use eventlog::{ConsumerSettings, EventLog, Message};
use servers::LocalServers;
use tokio_util::sync::CancellationToken;

use crate::contract::event;
use crate::relay::PostgresShop;
use crate::relay_contract::{Running, STREAM, Shop, assert_relayed, settle, settled, start};
use crate::world::{PATIENCE, soon};

const AGGREGATES: i64 = 300;
const EVENTS: i64 = 2_000;
const CHUNK: i64 = 100;

/// Remembers what it was given.
#[derive(Default)]
struct Remembers {
    handled: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Handler for Remembers {
    async fn handle(&self, message: &Message) -> Result<(), Rejection> {
        tokio::task::yield_now().await;
        self.handled.lock().unwrap().insert(message.event.id());
        Ok(())
    }
}

/// Three servers of this test's own, a shop whose events are relayed, and two consumers of them.
struct Site {
    servers: LocalServers,
    shop: PostgresShop,
    log: Arc<dyn EventLog>,
    committed: i64,
    /// What stands behind this sequence has to be handled.
    behind: i64,
    handlers: [Arc<Remembers>; 2],
    _relay: Running,
    listening: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.listening.cancel();
    }
}

impl Site {
    async fn start() -> Self {
        let servers = LocalServers::throwaway().unwrap();
        let connections = servers.connections("");
        let shop = PostgresShop::open(&connections).await;
        // As in production: whoever consumes is another process than whoever publishes.
        let log: Arc<dyn EventLog> = Arc::new(JetStreamLog::connect(&connections, "relay").await.unwrap());
        let relay = start(&shop, log.clone());
        let listening = CancellationToken::new();
        let handlers = [Arc::new(Remembers::default()), Arc::new(Remembers::default())];
        for (name, handler) in ["one", "other"].into_iter().zip(&handlers) {
            let log = Arc::new(JetStreamLog::connect(&connections, name).await.unwrap());
            let settings = ConsumerSettings { name, ack_wait: Duration::from_secs(2), deliveries_max: 100, kinds: &[] };
            tokio::spawn(listen(log, STREAM, settings, handler.clone(), 8, listening.clone()));
        }
        Self { servers, shop, log, committed: 0, behind: 0, handlers, _relay: relay, listening }
    }

    /// Commits events of all aggregates in turn until there are so many.
    async fn commit_up_to(&mut self, count: i64) {
        while self.committed < count {
            let chunk: Vec<_> = (self.committed..self.committed + CHUNK)
                .map(|number| event(&format!("a{}", number % AGGREGATES), number / AGGREGATES + 1))
                .collect();
            self.shop.append(&chunk).await.unwrap();
            self.committed += CHUNK;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn handled(&self) -> [usize; 2] {
        [0, 1].map(|which| self.handlers[which].handled.lock().unwrap().len())
    }

    async fn until(&self, what: &str, is: impl AsyncFn() -> bool) {
        let wait = async {
            while !is().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("waited in vain: {what}; handled {:?} of {}", self.handled(), self.committed);
        }
    }

    /// What was handled so far is as if it had not been.
    fn forget(&mut self, behind: i64) {
        for handler in &self.handlers {
            handler.handled.lock().unwrap().clear();
        }
        self.behind = behind;
    }

    fn store(&self) -> PathBuf {
        self.servers.folder().join("nats/store")
    }

    /// Everything is in the log, once and in order, everybody has handled it, nothing is under way for ever.
    async fn assert_whole(&self) {
        self.until("the relay", async || self.shop.outbox().unpublished(1).await.unwrap().is_empty()).await;
        let mut stand: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let (mut after, mut wanted) = (0, BTreeSet::new());
        loop {
            let page = self.log.scan(STREAM, after, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.sequence;
            for message in page {
                if message.sequence > self.behind {
                    wanted.insert(message.event.id());
                }
                stand.entry(message.event.aggregate).or_default().push(message.event.version);
            }
        }
        for number in 0..AGGREGATES.min(self.committed) {
            let count = (self.committed - number + AGGREGATES - 1) / AGGREGATES;
            assert_eq!(stand[&format!("a{number}")], (1..=count).collect::<Vec<_>>(), "a{number}");
        }
        assert_relayed(&self.shop, &*self.log, "a7", (self.committed - 7 + AGGREGATES - 1) / AGGREGATES).await;
        let has_all = |handler: &Arc<Remembers>| wanted.is_subset(&handler.handled.lock().unwrap());
        self.until("the handlers", async || self.handlers.iter().all(has_all)).await;
        self.until("the acknowledgements", async || {
            let lag = self.log.lag(STREAM).await.unwrap();
            lag.len() == 2 && lag.iter().all(|lag| lag.unacknowledged == 0)
        })
        .await;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_killed_broker_that_kept_its_store_loses_nothing() {
    let mut site = Site::start().await;
    site.commit_up_to(EVENTS / 3).await;
    site.servers.nats.kill();
    site.servers.nats.start().unwrap();
    site.commit_up_to(EVENTS * 2 / 3).await;
    site.servers.nats.kill();
    site.commit_up_to(EVENTS).await;
    site.servers.nats.start().unwrap();
    site.assert_whole().await;
}

#[tokio::test]
async fn a_killed_broker_that_lost_its_store_is_refilled() {
    let mut site = Site::start().await;
    site.commit_up_to(EVENTS / 2).await;
    // In the middle of it: something is handled already, something is not published yet.
    site.until("the first", async || site.handled().into_iter().all(|handled| handled > 100)).await;
    site.servers.nats.kill();
    fs::remove_dir_all(site.store()).unwrap();
    site.servers.nats.start().unwrap();
    site.commit_up_to(EVENTS).await;
    site.assert_whole().await;
}

#[tokio::test]
async fn a_broker_that_lost_its_store_at_rest_is_refilled_without_a_new_event() {
    let mut site = Site::start().await;
    site.commit_up_to(EVENTS / 4).await;
    site.assert_whole().await;
    site.servers.nats.kill();
    fs::remove_dir_all(site.store()).unwrap();
    site.servers.nats.start().unwrap();
    settled_again(&site).await;
    site.assert_whole().await;
}

/// The relay has noticed the loss, and made it good.
async fn settled_again(site: &Site) {
    site.until("the refill", async || {
        let last = site.shop.outbox().last_published(i64::MAX).await.unwrap();
        match last {
            Some(last) => site.log.at(STREAM, last.sequence).await.is_ok_and(|there| there.is_some()),
            None => false,
        }
    })
    .await;
}

/// Cuts the end off: what was stored after the first part is gone, of `parts` of the store.
async fn lose_the_end(part: fn(&Path) -> PathBuf) {
    let mut site = Site::start().await;
    site.commit_up_to(EVENTS / 4).await;
    site.assert_whole().await;
    site.servers.nats.stop();
    let older = tempfile::tempdir().unwrap();
    copy(&part(&site.store()), older.path());
    site.servers.nats.start().unwrap();
    site.commit_up_to(EVENTS * 3 / 4).await;
    site.until("the second part", async || site.handled().into_iter().all(|handled| handled > 700)).await;
    site.servers.nats.stop();
    let store = part(&site.store());
    fs::remove_dir_all(&store).unwrap();
    copy(older.path(), &store);
    site.forget(EVENTS / 4);
    site.servers.nats.start().unwrap();
    site.commit_up_to(EVENTS).await;
    site.assert_whole().await;
}

#[tokio::test]
async fn a_broker_with_an_older_copy_of_its_store_is_refilled() {
    lose_the_end(|store| store.to_path_buf()).await;
}

#[tokio::test]
async fn consumers_that_are_ahead_of_what_a_broker_has_left_are_sent_back() {
    lose_the_end(|store| store.join("jetstream/$G/streams/THINGS/msgs")).await;
}

#[tokio::test]
async fn a_stream_that_somebody_deletes_comes_back() {
    let mut site = Site::start().await;
    site.commit_up_to(300).await;
    site.assert_whole().await;
    let address = format!("nats://{}", site.servers.nats.address());
    let token = site.servers.nats.url().trim_start_matches("nats://").split('@').next().unwrap().to_owned();
    let client = async_nats::ConnectOptions::with_token(token).connect(address).await.unwrap();
    async_nats::jetstream::new(client).delete_stream("THINGS").await.unwrap();
    site.commit_up_to(600).await;
    site.assert_whole().await;
}

/// Without the right to create, only whoever runs the servers makes streams.
#[tokio::test]
async fn a_missing_stream_is_one_line_that_says_what_to_create() {
    let borrowed = servers::for_test().unwrap();
    let may_not = store::Servers { create: false, ..borrowed.connections.clone() };
    let log = JetStreamLog::connect(&may_not, "test").await.unwrap();
    let error = log.prepare(STREAM).await.unwrap_err().to_string();
    for part in ["T", "_THINGS", "events.thing.>", "create"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(error.lines().count(), 1);
    let publisher = JetStreamLog::connect(&borrowed.connections, "publisher").await.unwrap();
    publisher.prepare(STREAM).await.unwrap();
    log.prepare(STREAM).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_starts_before_the_broker_is_whole_publishes_all() {
    let borrowed = servers::for_test().unwrap();
    let shop = PostgresShop::open(&borrowed.connections).await;
    let log: Arc<dyn EventLog> = Arc::new(JetStreamLog::connect(&borrowed.connections, "relay").await.unwrap());
    shop.commit("a", 2).await;
    settle(&shop, log.clone()).await.unwrap();
    soon("the marks", settled(&shop)).await;
    assert_relayed(&shop, &*log, "a", 2).await;
}
