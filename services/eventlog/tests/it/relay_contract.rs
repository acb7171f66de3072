//! What the relay does, and what it needs of an outbox, whatever store and log are made of: each case
//! runs on an empty outbox and an empty log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::context::{Context, Trace};
use eventlog::relay::Relay;
use eventlog::{
    Consumer, ConsumerSettings, Event, EventLog, Lag, Message, Outbox, Publish, PublishError, Published, Stream,
};
use store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::contract::{event, put, versions};
use crate::world::soon;

pub use crate::contract::STREAM;

/// A service's store with an outbox in it.
#[async_trait]
pub trait Shop: Send + Sync {
    fn outbox(&self) -> Arc<dyn Outbox>;

    /// Commits these events, in one transaction.
    async fn append(&self, events: &[Event]) -> Result<(), StoreError>;

    /// Version and published sequence of the aggregate's rows.
    async fn marks(&self, aggregate: &str) -> Vec<(i64, Option<i64>)>;

    /// Commits the aggregate's next `count` events, a transaction each.
    async fn commit(&self, aggregate: &str, count: i64) {
        let first = self.outbox().all_of(aggregate).await.unwrap().len() as i64 + 1;
        for version in first..first + count {
            self.append(&[event(aggregate, version)]).await.unwrap();
        }
    }
}

/// A relay that runs until this is dropped.
pub struct Running(CancellationToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub fn relay(shop: &dyn Shop, log: Arc<dyn EventLog>) -> Relay {
    Relay { stream: STREAM, outbox: shop.outbox(), log }
}

pub fn start(shop: &dyn Shop, log: Arc<dyn EventLog>) -> Running {
    let shutdown = CancellationToken::new();
    tokio::spawn(relay(shop, log).run(shutdown.clone()));
    Running(shutdown)
}

/// Relays until nothing is left, or a round fails.
pub async fn settle(shop: &dyn Shop, log: Arc<dyn EventLog>) -> Result<(), StoreError> {
    let relay = relay(shop, log);
    while relay.round().await? > 0 {}
    Ok(())
}

/// Waits until a relay that runs has marked all rows.
pub async fn settled(shop: &dyn Shop) {
    let outbox = shop.outbox();
    let all = async {
        while !outbox.unpublished(1).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the marks", all).await;
}

/// The log holds versions 1 to `count` of the aggregate, and the outbox knows where.
pub async fn assert_relayed(shop: &dyn Shop, log: &dyn EventLog, aggregate: &str, count: i64) {
    let stands = log.read(STREAM, aggregate).await.unwrap();
    let events: Vec<Event> = stands.iter().map(|message| message.event.clone()).collect();
    assert_eq!(events, (1..=count).map(|version| event(aggregate, version)).collect::<Vec<_>>(), "in the log");
    let places: Vec<_> = stands.iter().map(|message| (message.event.version, Some(message.sequence))).collect();
    assert_eq!(shop.marks(aggregate).await, places, "in the outbox");
}

/// What happens to a publication on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and so does its answer.
    Arrives,
    /// It never arrives.
    Lost,
    /// It arrives; its answer does not.
    AnswerLost,
}

/// A log behind a bad connection: publications meet these fates, then all is well. Every one of
/// them gives way to other tasks, before and after, as a network does.
pub struct Behind {
    log: Mutex<Arc<dyn EventLog>>,
    fates: Mutex<VecDeque<Fate>>,
}

impl Behind {
    pub fn new(log: Arc<dyn EventLog>, fates: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        Arc::new(Self { log: Mutex::new(log), fates: Mutex::new(fates.into_iter().collect()) })
    }

    fn log(&self) -> Arc<dyn EventLog> {
        self.log.lock().unwrap().clone()
    }

    /// From now on another log is behind it.
    #[allow(dead_code, reason = "not every family of adapters can")]
    pub fn becomes(&self, log: Arc<dyn EventLog>) {
        *self.log.lock().unwrap() = log;
    }

    pub fn is_through(&self) -> bool {
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
        let answers = self.log().publish(stream, batch).await;
        tokio::task::yield_now().await;
        match fate {
            Fate::AnswerLost => lost().collect(),
            _ => answers,
        }
    }

    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        self.log().last(stream, aggregate).await
    }

    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError> {
        self.log().read(stream, aggregate).await
    }

    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        self.log().at(stream, sequence).await
    }

    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError> {
        self.log().scan(stream, after, most).await
    }

    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError> {
        self.log().lag(stream).await
    }

    async fn prepare(&self, stream: Stream) -> Result<(), StoreError> {
        self.log().prepare(stream).await
    }

    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError> {
        self.log().rewind(stream, last).await
    }

    async fn disturbed(&self) {
        self.log().disturbed().await
    }

    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        self.log().consumer(stream, settings).await
    }
}

pub async fn witness(log: &dyn EventLog) -> Box<dyn Consumer> {
    let settings =
        ConsumerSettings { name: "witness", ack_wait: Duration::from_secs(3600), deliveries_max: 9, kinds: &[] };
    log.consumer(STREAM, settings).await.unwrap()
}

/// The next `count` messages.
pub async fn hear(witness: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.extend(soon("a message", witness.next(count - heard.len())).await.unwrap());
    }
    heard
}

// The outbox.

fn published(aggregate: &str, version: i64, sequence: i64) -> Published {
    Published { aggregate: aggregate.to_owned(), version, sequence }
}

fn rows(marks: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    marks.iter().map(|(aggregate, version, sequence)| ((*aggregate).to_owned(), *version, *sequence)).collect()
}

async fn waiting(shop: &dyn Shop, most: usize) -> Vec<(String, i64)> {
    let unpublished = shop.outbox().unpublished(most).await.unwrap();
    let mut waiting: Vec<_> = unpublished.into_iter().map(|row| (row.event.id(), row.previous_sequence)).collect();
    waiting.sort();
    waiting
}

pub async fn of_each_aggregate_the_lowest_unpublished_version_waits(shop: &dyn Shop, _: Arc<dyn EventLog>) {
    assert_eq!(waiting(shop, 10).await, []);
    shop.commit("a", 3).await;
    shop.commit("b", 1).await;
    assert_eq!(waiting(shop, 10).await, [("a/1".to_owned(), 0), ("b/1".to_owned(), 0)]);
    assert_eq!(waiting(shop, 1).await.len(), 1, "not more than asked for");
    shop.outbox().mark_published(&rows(&[("a", 1, 7), ("b", 1, 8)])).await.unwrap();
    assert_eq!(waiting(shop, 10).await, [("a/2".to_owned(), 7)]);
    shop.outbox().mark_published(&[]).await.unwrap();
    shop.outbox().mark_published(&rows(&[("a", 3, 9), ("a", 2, 8)])).await.unwrap();
    assert_eq!(waiting(shop, 10).await, []);
    shop.outbox().mark_lost("a", 2).await.unwrap();
    assert_eq!(waiting(shop, 10).await, [("a/2".to_owned(), 7)]);
    assert_eq!(shop.marks("a").await, [(1, Some(7)), (2, None), (3, None)]);
    let row = shop.outbox().unpublished(1).await.unwrap().remove(0);
    assert_eq!(row.event, event("a", 2));
}

pub async fn the_last_published_row_is_known_and_all_behind_a_loss_is_taken_back(
    shop: &dyn Shop,
    _: Arc<dyn EventLog>,
) {
    let outbox = shop.outbox();
    shop.commit("a", 3).await;
    shop.commit("b", 2).await;
    assert_eq!(outbox.last_published(i64::MAX).await.unwrap(), None);
    outbox.mark_published(&rows(&[("a", 1, 10), ("b", 1, 20), ("a", 2, 30_000), ("b", 2, 60_000)])).await.unwrap();
    let of = [
        (9, None),
        (10, Some(published("a", 1, 10))),
        (29_999, Some(published("b", 1, 20))),
        (30_000, Some(published("a", 2, 30_000))),
        (i64::MAX, Some(published("b", 2, 60_000))),
    ];
    for (not_after, row) in of {
        assert_eq!(outbox.last_published(not_after).await.unwrap(), row, "up to {not_after}");
    }
    outbox.mark_all_lost(60_000).await.unwrap();
    assert_eq!(shop.marks("b").await, [(1, Some(20)), (2, Some(60_000))], "nothing is behind the last one");
    outbox.mark_all_lost(10).await.unwrap();
    assert_eq!(shop.marks("a").await, [(1, Some(10)), (2, None), (3, None)]);
    assert_eq!(shop.marks("b").await, [(1, None), (2, None)]);
    assert_eq!(waiting(shop, 10).await, [("a/2".to_owned(), 10), ("b/1".to_owned(), 0)]);
    outbox.mark_all_lost(0).await.unwrap();
    assert_eq!(outbox.last_published(i64::MAX).await.unwrap(), None);
}

pub async fn a_version_is_written_once(shop: &dyn Shop, _: Arc<dyn EventLog>) {
    shop.commit("a", 1).await;
    let again = shop.append(&[event("b", 1), event("a", 1)]).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    assert!(shop.outbox().all_of("b").await.unwrap().is_empty(), "all of the transaction or nothing");
}

// The relay.

pub async fn publishes_every_version_of_every_aggregate_in_order(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    for aggregate in ["a", "b", "a", "c", "b", "a"] {
        shop.commit(aggregate, 2).await;
    }
    let mut witness = witness(&*log).await;
    let _relay = start(shop, log.clone());
    let mut heard: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for message in hear(&mut *witness, 12).await {
        heard.entry(message.event.aggregate).or_default().push(message.event.version);
    }
    assert_eq!(heard["a"], [1, 2, 3, 4, 5, 6]);
    assert_eq!(heard["b"], [1, 2, 3, 4]);
    assert_eq!(heard["c"], [1, 2]);
    settled(shop).await;
    assert_relayed(shop, &*log, "a", 6).await;
}

pub async fn more_aggregates_than_it_carries_at_once_all_arrive(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    let names: Vec<String> = (0..600).map(|number| format!("a{number}")).collect();
    let many = names.iter().map(|name| event(name, 1)).collect::<Vec<_>>();
    shop.append(&many).await.unwrap();
    settle(shop, log.clone()).await.unwrap();
    for name in &names {
        assert_eq!(versions(&*log, name).await, [1], "{name}");
    }
}

pub async fn a_commit_wakes_it(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    let mut witness = witness(&*log).await;
    let _relay = start(shop, log.clone());
    for count in 1..=3 {
        shop.commit("a", 1).await;
        assert_eq!(hear(&mut *witness, 1).await[0].event, event("a", count));
        settled(shop).await;
    }
}

pub async fn a_crash_between_publishing_and_marking_makes_no_second_event(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    shop.commit("a", 2).await;
    put(&*log, "a", 1, 0).await.unwrap();
    settle(shop, log.clone()).await.unwrap();
    assert_relayed(shop, &*log, "a", 2).await;
}

/// The greatest known sequence is behind that of an event which an earlier process published and did not mark.
pub async fn an_event_that_was_not_marked_is_found_before_later_ones(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    shop.commit("unmarked", 1).await;
    put(&*log, "unmarked", 1, 0).await.unwrap();
    shop.commit("a", 1).await;
    let a = put(&*log, "a", 1, 0).await.unwrap();
    shop.outbox().mark_published(&rows(&[("a", 1, a)])).await.unwrap();
    settle(shop, log.clone()).await.unwrap();
    assert_relayed(shop, &*log, "unmarked", 1).await;
    assert_relayed(shop, &*log, "a", 1).await;
}

pub async fn a_log_that_is_ahead_by_several_versions_is_caught_up_with(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    shop.commit("a", 4).await;
    let mut last = 0;
    for version in 1..=3 {
        last = put(&*log, "a", version, last).await.unwrap();
        put(&*log, &format!("between-{version}"), 1, 0).await.unwrap();
    }
    settle(shop, log.clone()).await.unwrap();
    assert_relayed(shop, &*log, "a", 4).await;
}

pub async fn a_hole_in_the_middle_of_the_log_is_an_error_and_not_silence(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    shop.commit("a", 1).await;
    shop.commit("whole", 1).await;
    put(&*log, "a", 3, 0).await.unwrap();
    let outcome = relay(shop, log.clone()).round().await;
    assert!(matches!(outcome, Err(StoreError::Corrupt(_))), "{outcome:?}");
    assert_relayed(shop, &*log, "whole", 1).await;
}

pub async fn a_failing_log_loses_nothing_and_doubles_nothing(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    let fates = [Fate::Lost, Fate::AnswerLost, Fate::AnswerLost, Fate::Lost, Fate::Arrives, Fate::AnswerLost];
    let bad = Behind::new(log.clone(), fates);
    shop.commit("a", 3).await;
    shop.commit("b", 1).await;
    let mut witness = witness(&*log).await;
    let relay = start(shop, bad.clone());
    hear(&mut *witness, 4).await;
    shop.commit("a", 1).await;
    hear(&mut *witness, 1).await;
    while !bad.is_through() {
        soon("the fates", tokio::time::sleep(Duration::from_millis(10))).await;
    }
    settled(shop).await;
    drop(relay);
    assert_relayed(shop, &*log, "a", 4).await;
    assert_relayed(shop, &*log, "b", 1).await;
}

pub async fn two_relays_at_once_make_no_second_event_and_no_gap(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    let mut witness = witness(&*log).await;
    let _one = start(shop, Behind::new(log.clone(), []));
    let _other = start(shop, Behind::new(log.clone(), [Fate::Arrives, Fate::AnswerLost]));
    for _ in 0..10 {
        shop.commit("a", 2).await;
        tokio::task::yield_now().await;
        shop.commit("b", 1).await;
    }
    hear(&mut *witness, 30).await;
    assert_eq!(versions(&*log, "a").await, (1..=20).collect::<Vec<_>>());
    assert_eq!(versions(&*log, "b").await, (1..=10).collect::<Vec<_>>());
}

pub async fn the_requests_trace_goes_with_its_events_and_none_is_made_up(shop: &dyn Shop, log: Arc<dyn EventLog>) {
    let trace = Trace { trace_id: 7, span_id: 9, sampled: true };
    let context = Context { trace: Some(trace), token: None };
    let own =
        Event { traceparent: Some("00-000000000000000000000000000000aa-00000000000000bb-00".into()), ..event("a", 2) };
    context.scope(shop.commit("a", 1)).await;
    shop.append(std::slice::from_ref(&own)).await.unwrap();
    shop.commit("a", 1).await;
    let rows: Vec<_> = shop.outbox().all_of("a").await.unwrap().into_iter().map(|event| event.traceparent).collect();
    assert_eq!(rows, [Some(trace.to_string()), own.traceparent, None]);
    settle(shop, log.clone()).await.unwrap();
    let messages = log.read(STREAM, "a").await.unwrap();
    assert_eq!(messages.into_iter().map(|message| message.event.traceparent).collect::<Vec<_>>(), rows);
}

/// Runs each case on a new shop and a new log: `keeps!(shop_and_log, case, …)`.
#[macro_export]
macro_rules! relay_contract {
    ($(#[$attribute:meta])* $make:path) => {
        $crate::relay_contract!(@cases ($(#[$attribute])*) $make,
            of_each_aggregate_the_lowest_unpublished_version_waits,
            the_last_published_row_is_known_and_all_behind_a_loss_is_taken_back,
            a_version_is_written_once,
            publishes_every_version_of_every_aggregate_in_order,
            more_aggregates_than_it_carries_at_once_all_arrive,
            a_commit_wakes_it,
            a_crash_between_publishing_and_marking_makes_no_second_event,
            an_event_that_was_not_marked_is_found_before_later_ones,
            a_log_that_is_ahead_by_several_versions_is_caught_up_with,
            a_hole_in_the_middle_of_the_log_is_an_error_and_not_silence,
            a_failing_log_loses_nothing_and_doubles_nothing,
            two_relays_at_once_make_no_second_event_and_no_gap,
            the_requests_trace_goes_with_its_events_and_none_is_made_up,
        );
    };
    (@cases $attributes:tt $make:path, $($case:ident),* $(,)?) => {
        $($crate::relay_contract!(@case $attributes $make, $case);)*
    };
    (@case ($(#[$attribute:meta])*) $make:path, $case:ident) => {
        $(#[$attribute])*
        async fn $case() {
            let (_world, shop, log) = $make().await;
            $crate::relay_contract::$case(&shop, log).await;
        }
    };
}
