//! The relay carries every committed event into the log, once and in order, whatever fails on the way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::context::{Context, Trace};
use chassis::events::relay::Relay;
use chassis::events::{
    Consumer, ConsumerSettings, Event, EventLog, Lag, Message, Outbox, Publish, PublishError, Stream,
};
use chassis::metrics::Metrics;
use chassis::sqlite::Db;
use chassis::sqlite::outbox::{self, SqliteOutbox};
use proptest::prelude::*;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::contract::{event, put, versions};
use crate::world::{World, soon};

const STREAM: Stream = Stream::Orders;
const SCHEMA: &str = "
CREATE TABLE outbox (
    aggregate TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    traceparent TEXT,
    published_at INTEGER,
    published_seq INTEGER,
    PRIMARY KEY (aggregate, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_unpublished ON outbox (aggregate, version) WHERE published_at IS NULL;
";

/// A service's store with an outbox in it.
struct Shop {
    world: World,
    db: Arc<Db>,
    outbox: Arc<SqliteOutbox>,
}

/// A relay that runs until this is dropped.
struct Running(CancellationToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Shop {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world(world: World) -> Self {
        let db = Arc::new(Db::open(&world.storage, "shop_db", &[SCHEMA], &Metrics::new("shop")).unwrap());
        let outbox = Arc::new(SqliteOutbox::new(db.clone(), "outbox", world.clock.clone()));
        Self { world, db, outbox }
    }

    /// Commits the aggregate's next `count` events, a transaction each.
    fn commit(&self, aggregate: &str, count: usize) {
        for _ in 0..count {
            let written: Result<(), StoreError> = self.db.write("command", |tx| {
                let version = outbox::next_version(tx, "outbox", aggregate)?;
                outbox::append(tx, "outbox", &[event(aggregate, version)])
            });
            written.unwrap();
        }
    }

    fn relay(&self, log: Arc<dyn EventLog>) -> Relay {
        Relay { stream: STREAM, outbox: self.outbox.clone(), log }
    }

    fn start(&self, log: Arc<dyn EventLog>) -> Running {
        let shutdown = CancellationToken::new();
        tokio::spawn(self.relay(log).run(shutdown.clone()));
        Running(shutdown)
    }

    /// Relays until nothing is left, or a round fails.
    async fn settle(&self, log: Arc<dyn EventLog>) -> Result<(), StoreError> {
        let relay = self.relay(log);
        while relay.round().await? > 0 {}
        Ok(())
    }

    /// Version and published sequence of the aggregate's rows.
    fn marks(&self, aggregate: &str) -> Vec<(i64, Option<i64>)> {
        let marks: Result<Vec<_>, StoreError> = self.db.read(|connection| {
            let mut rows = connection
                .prepare("SELECT version, published_seq FROM outbox WHERE aggregate = ?1 ORDER BY version")?;
            let rows = rows.query_map([aggregate], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        });
        marks.unwrap()
    }

    /// The log holds versions 1 to `count` of the aggregate, and the outbox knows where.
    async fn assert_relayed(&self, log: &dyn EventLog, aggregate: &str, count: i64) {
        let stands = log.read(STREAM, aggregate).await.unwrap();
        let events: Vec<Event> = stands.iter().map(|message| message.event.clone()).collect();
        assert_eq!(events, (1..=count).map(|version| event(aggregate, version)).collect::<Vec<_>>(), "in the log");
        let places: Vec<_> = stands.iter().map(|message| (message.event.version, Some(message.sequence))).collect();
        assert_eq!(self.marks(aggregate), places, "in the outbox");
    }
}

/// What happens to a publication on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It arrives, and so does its answer.
    Arrives,
    /// It never arrives.
    Lost,
    /// It arrives; its answer does not.
    AnswerLost,
}

/// A log behind a bad connection: publications meet these fates, then all is well. Every one of
/// them gives way to other tasks, before and after, as a network does.
struct Behind {
    log: Arc<dyn EventLog>,
    fates: Mutex<VecDeque<Fate>>,
}

impl Behind {
    fn new(log: Arc<dyn EventLog>, fates: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        Arc::new(Self { log, fates: Mutex::new(fates.into_iter().collect()) })
    }

    fn is_through(&self) -> bool {
        self.fates.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl EventLog for Behind {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Arrives);
        let lost = || batch.iter().map(|_| Err(StoreError::Unavailable("the connection is lost".into()).into()));
        tokio::task::yield_now().await;
        if fate == Fate::Lost {
            return lost().collect();
        }
        let answers = self.log.publish(stream, batch).await;
        tokio::task::yield_now().await;
        match fate {
            Fate::AnswerLost => lost().collect(),
            _ => answers,
        }
    }

    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        self.log.last(stream, aggregate).await
    }

    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError> {
        self.log.read(stream, aggregate).await
    }

    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        self.log.at(stream, sequence).await
    }

    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError> {
        self.log.scan(stream, after, most).await
    }

    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError> {
        self.log.lag(stream).await
    }

    async fn prepare(&self, stream: Stream) -> Result<(), StoreError> {
        self.log.prepare(stream).await
    }

    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError> {
        self.log.rewind(stream, last).await
    }

    async fn disturbed(&self) {
        self.log.disturbed().await
    }

    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        self.log.consumer(stream, settings).await
    }
}

async fn witness(log: &dyn EventLog) -> Box<dyn Consumer> {
    let settings =
        ConsumerSettings { name: "witness", ack_wait: Duration::from_secs(3600), deliveries_max: 9, kinds: &[] };
    log.consumer(STREAM, settings).await.unwrap()
}

/// The next `count` messages.
async fn hear(witness: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.extend(soon("a message", witness.next(count - heard.len())).await.unwrap());
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn publishes_every_version_of_every_aggregate_in_order() {
    let shop = Shop::new();
    let log = shop.world.log();
    for aggregate in ["a", "b", "a", "c", "b", "a"] {
        shop.commit(aggregate, 2);
    }
    let mut witness = witness(&*log).await;
    let _relay = shop.start(log.clone());
    let mut heard: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for message in hear(&mut *witness, 12).await {
        heard.entry(message.event.aggregate).or_default().push(message.event.version);
    }
    assert_eq!(heard["a"], [1, 2, 3, 4, 5, 6]);
    assert_eq!(heard["b"], [1, 2, 3, 4]);
    assert_eq!(heard["c"], [1, 2]);
    tokio::task::yield_now().await;
    shop.assert_relayed(&*log, "a", 6).await;
}

#[tokio::test(start_paused = true)]
async fn more_aggregates_than_it_carries_at_once_all_arrive() {
    let shop = Shop::new();
    let log = shop.world.log();
    let names: Vec<String> = (0..600).map(|number| format!("a{number}")).collect();
    let many = names.iter().map(|name| event(name, 1)).collect::<Vec<_>>();
    shop.db.write("command", |tx| outbox::append(tx, "outbox", &many)).unwrap();
    shop.settle(log.clone()).await.unwrap();
    for name in &names {
        assert_eq!(versions(&*log, name).await, [1], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_publishing_and_marking_makes_no_second_event() {
    let shop = Shop::new();
    let log = shop.world.log();
    shop.commit("a", 2);
    put(&*log, "a", 1, 0).await.unwrap();
    shop.settle(log.clone()).await.unwrap();
    shop.assert_relayed(&*log, "a", 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_ahead_by_several_versions_is_caught_up_with() {
    let shop = Shop::new();
    let log = shop.world.log();
    shop.commit("a", 4);
    let mut last = 0;
    for version in 1..=3 {
        last = put(&*log, "a", version, last).await.unwrap();
        put(&*log, &format!("between-{version}"), 1, 0).await.unwrap();
    }
    shop.settle(log.clone()).await.unwrap();
    shop.assert_relayed(&*log, "a", 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_end_is_refilled_up_to_the_new_event() {
    let shop = Shop::new();
    shop.commit("a", 3);
    shop.settle(shop.world.log()).await.unwrap();
    shop.world.lose_the_log();
    let log = shop.world.log();
    put(&*log, "a", 1, 0).await.unwrap();
    put(&*log, "a", 2, 1).await.unwrap();
    shop.commit("a", 2);
    shop.settle(log.clone()).await.unwrap();
    assert_eq!(versions(&*log, "a").await, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_log_is_whole_again_with_aggregates_in_it_that_are_done_with() {
    let shop = Shop::new();
    shop.commit("active", 2);
    shop.commit("finished", 3);
    shop.settle(shop.world.log()).await.unwrap();
    shop.world.lose_the_log();
    let log = shop.world.log();
    let mut witness = witness(&*log).await;
    let _relay = shop.start(log.clone());
    assert_eq!(hear(&mut *witness, 5).await.len(), 5, "the relay notices at its start, without a new event");
    shop.commit("active", 1);
    hear(&mut *witness, 1).await;
    tokio::task::yield_now().await;
    shop.assert_relayed(&*log, "active", 3).await;
    shop.assert_relayed(&*log, "finished", 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_refill_goes_on_where_it_was_even_where_sequences_coincide() {
    let shop = Shop::new();
    shop.commit("a", 2);
    shop.settle(shop.world.log()).await.unwrap();
    assert_eq!(shop.marks("a"), [(1, Some(1)), (2, Some(2))]);
    shop.world.lose_the_log();
    let log = shop.world.log();
    put(&*log, "other", 1, 0).await.unwrap();
    shop.commit("a", 1);
    // Version 1 is refilled at sequence 2, where version 2 stood in the lost log; then the
    // connection goes.
    for lost_after in 1..6 {
        let fates = (0..lost_after).map(|_| Fate::Arrives).chain([Fate::Lost]);
        let _ = shop.settle(Behind::new(log.clone(), fates)).await;
    }
    shop.settle(log.clone()).await.unwrap();
    shop.assert_relayed(&*log, "a", 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_middle_of_the_log_is_an_error_and_not_silence() {
    let shop = Shop::new();
    let log = shop.world.log();
    shop.commit("a", 1);
    shop.commit("whole", 1);
    put(&*log, "a", 3, 0).await.unwrap();
    let outcome = shop.relay(log.clone()).round().await;
    assert!(matches!(outcome, Err(StoreError::Corrupt(_))), "{outcome:?}");
    shop.assert_relayed(&*log, "whole", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_log_loses_nothing_and_doubles_nothing() {
    let shop = Shop::new();
    let log = shop.world.log();
    let fates = [Fate::Lost, Fate::AnswerLost, Fate::AnswerLost, Fate::Lost, Fate::Arrives, Fate::AnswerLost];
    let bad = Behind::new(log.clone(), fates);
    shop.commit("a", 3);
    shop.commit("b", 1);
    let mut witness = witness(&*log).await;
    let relay = shop.start(bad.clone());
    hear(&mut *witness, 4).await;
    shop.commit("a", 1);
    hear(&mut *witness, 1).await;
    while !bad.is_through() || !shop.outbox.unpublished(1).await.unwrap().is_empty() {
        soon("the marks", tokio::time::sleep(Duration::from_millis(10))).await;
    }
    drop(relay);
    shop.assert_relayed(&*log, "a", 4).await;
    shop.assert_relayed(&*log, "b", 1).await;
}

#[tokio::test(start_paused = true)]
async fn two_relays_at_once_make_no_second_event_and_no_gap() {
    let shop = Shop::new();
    let log = shop.world.log();
    let mut witness = witness(&*log).await;
    let _one = shop.start(Behind::new(log.clone(), []));
    let _other = shop.start(Behind::new(log.clone(), [Fate::Arrives, Fate::AnswerLost]));
    for _ in 0..10 {
        shop.commit("a", 2);
        tokio::task::yield_now().await;
        shop.commit("b", 1);
    }
    hear(&mut *witness, 30).await;
    assert_eq!(versions(&*log, "a").await, (1..=20).collect::<Vec<_>>());
    assert_eq!(versions(&*log, "b").await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_commit_wakes_it_and_no_timer() {
    let shop = Shop::new();
    let log = shop.world.log();
    let mut witness = witness(&*log).await;
    let _relay = shop.start(log.clone());
    for pause_ms in [0, 1, 1_009, 3_600_007] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let committed_at = Instant::now();
        shop.commit("a", 1);
        hear(&mut *witness, 1).await;
        assert_eq!(committed_at.elapsed(), Duration::ZERO, "after {pause_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn stops_when_told_to_also_while_it_waits_for_a_failing_log() {
    let shop = Shop::new();
    shop.commit("a", 1);
    let shutdown = CancellationToken::new();
    let bad = Behind::new(shop.world.log(), [Fate::Lost; 1000]);
    let task = tokio::spawn(shop.relay(bad).run(shutdown.clone()));
    tokio::time::sleep(Duration::from_millis(250)).await;
    let told_at = Instant::now();
    shutdown.cancel();
    soon("the relay", task).await.unwrap();
    assert_eq!(told_at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_requests_trace_goes_with_its_events_and_none_is_made_up() {
    let shop = Shop::new();
    let log = shop.world.log();
    let trace = Trace { trace_id: 7, span_id: 9, sampled: true };
    let context = Context { trace: Some(trace), token: None };
    let own =
        Event { traceparent: Some("00-000000000000000000000000000000aa-00000000000000bb-00".into()), ..event("a", 2) };
    context.scope(async { shop.commit("a", 1) }).await;
    context_free(&shop, own.clone());
    shop.commit("a", 1);
    let rows: Vec<_> = shop.outbox.all_of("a").await.unwrap().into_iter().map(|event| event.traceparent).collect();
    assert_eq!(rows, [Some(trace.to_string()), own.traceparent, None]);
    shop.settle(log.clone()).await.unwrap();
    let messages = log.read(STREAM, "a").await.unwrap();
    assert_eq!(messages.into_iter().map(|message| message.event.traceparent).collect::<Vec<_>>(), rows);
}

fn context_free(shop: &Shop, event: Event) {
    shop.db.write("command", |tx| outbox::append(tx, "outbox", &[event])).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_version_is_written_once() {
    let shop = Shop::new();
    shop.commit("a", 1);
    let again = shop.db.write("command", |tx| outbox::append(tx, "outbox", &[event("b", 1), event("a", 1)]));
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    assert!(shop.outbox.all_of("b").await.unwrap().is_empty(), "all of the transaction or nothing");
}

#[derive(Debug, Clone)]
enum Step {
    Commit(u8),
    /// Rounds of a relay whose publications meet these fates and which is then killed.
    Relay(Vec<Fate>),
    /// The log loses everything.
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![3 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::AnswerLost)];
    let step = prop_oneof![
        4 => (0u8..3).prop_map(Step::Commit),
        4 => proptest::collection::vec(fate, 1..6).prop_map(Step::Relay),
        1 => Just(Step::Lose),
    ];
    proptest::collection::vec(step, 1..40)
}

async fn run(steps: Vec<Step>) {
    let shop = Shop::in_world(World::in_memory());
    let mut log = shop.world.log();
    for step in steps {
        match step {
            Step::Commit(which) => shop.commit(&format!("a{which}"), 1),
            Step::Relay(fates) => {
                let bad = Behind::new(log.clone(), fates);
                let relay = shop.relay(bad.clone());
                while !bad.is_through() && !matches!(relay.round().await, Ok(0)) {}
            }
            Step::Lose => {
                drop(log);
                shop.world.lose_the_log();
                log = shop.world.log();
            }
        }
    }
    shop.settle(log.clone()).await.unwrap();
    for which in 0..3 {
        let aggregate = format!("a{which}");
        let count = shop.outbox.all_of(&aggregate).await.unwrap().len() as i64;
        assert_eq!(versions(&*log, &aggregate).await, (1..=count).collect::<Vec<_>>(), "{aggregate}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is lost on the way, the next relay makes the log whole.
    #[test]
    fn the_log_is_whole_in_the_end_whatever_happened(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
