//! The relay carries every committed event into the log, once and in order, whatever fails on the way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use eventlog::outbox::sqlite::{self as outbox, SqliteOutbox};
use eventlog::{Event, EventLog, Message, Outbox, Publish};
use proptest::prelude::*;
use store::StoreError;
use store::sqlite::Db;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::contract::put;
use crate::relay_contract::{Behind, Fate, STREAM, Shop, assert_relayed, hear, relay, settle, settled, start, witness};
use crate::world::{World, soon};

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

struct SqliteShop {
    world: World,
    db: Arc<Db>,
    outbox: Arc<SqliteOutbox>,
}

impl SqliteShop {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world(world: World) -> Self {
        let db = Arc::new(Db::open(&world.storage, "shop_db", &[SCHEMA], &Metrics::new("shop")).unwrap());
        let outbox = Arc::new(SqliteOutbox::new(db.clone(), "outbox", world.clock.clone()));
        Self { world, db, outbox }
    }

    /// A log that holds the first `count` messages of this one, behind which everything is lost.
    async fn cut(&self, log: Arc<dyn EventLog>, count: usize) -> Arc<dyn EventLog> {
        let kept = log.scan(STREAM, 0, count).await.unwrap();
        drop(log);
        self.world.lose_the_log();
        let log = self.world.log();
        copy(kept, &*log).await;
        log
    }
}

async fn copy(messages: Vec<Message>, log: &dyn EventLog) {
    for Message { event, .. } in messages {
        let expected_last = log.last(STREAM, &event.aggregate).await.unwrap().map_or(0, |last| last.sequence);
        log.publish(STREAM, &[Publish { event, expected_last }]).await.remove(0).unwrap();
    }
}

#[async_trait]
impl Shop for SqliteShop {
    fn outbox(&self) -> Arc<dyn Outbox> {
        self.outbox.clone()
    }

    async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        self.db.write("command", |tx| outbox::append(tx, "outbox", events)).await
    }

    async fn marks(&self, aggregate: &str) -> Vec<(i64, Option<i64>)> {
        let marks: Result<Vec<_>, StoreError> = self.db.read(|connection| {
            let mut rows = connection
                .prepare("SELECT version, published_seq FROM outbox WHERE aggregate = ?1 ORDER BY version")?;
            let rows = rows.query_map([aggregate], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        });
        marks.unwrap()
    }
}

async fn shop_and_log() -> ((), SqliteShop, Arc<dyn EventLog>) {
    let shop = SqliteShop::new();
    let log = shop.world.log();
    ((), shop, log)
}

crate::relay_contract!(
    #[tokio::test(start_paused = true)]
    shop_and_log
);

// What a log lost.

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_end_is_refilled_up_to_the_new_event() {
    let (_, shop, log) = shop_and_log().await;
    shop.commit("a", 3).await;
    settle(&shop, log.clone()).await.unwrap();
    let log = shop.cut(log, 2).await;
    shop.commit("a", 2).await;
    settle(&shop, log.clone()).await.unwrap();
    assert_relayed(&shop, &*log, "a", 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_log_is_whole_again_with_aggregates_in_it_that_are_done_with() {
    let (_, shop, log) = shop_and_log().await;
    shop.commit("active", 2).await;
    shop.commit("finished", 3).await;
    settle(&shop, log.clone()).await.unwrap();
    let log = shop.cut(log, 0).await;
    let mut witness = witness(&*log).await;
    let _relay = start(&shop, log.clone());
    assert_eq!(hear(&mut *witness, 5).await.len(), 5, "the relay notices at its start, without a new event");
    shop.commit("active", 1).await;
    hear(&mut *witness, 1).await;
    settled(&shop).await;
    assert_relayed(&shop, &*log, "active", 3).await;
    assert_relayed(&shop, &*log, "finished", 3).await;
}

#[tokio::test(start_paused = true)]
async fn wherever_a_log_is_cut_off_it_is_whole_again() {
    let names = ["a", "b", "c"];
    for kept in 0..=12 {
        let (_, shop, log) = shop_and_log().await;
        for _ in 0..4 {
            for name in names {
                shop.commit(name, 1).await;
                settle(&shop, log.clone()).await.unwrap();
            }
        }
        let log = shop.cut(log, kept).await;
        settle(&shop, log.clone()).await.unwrap();
        let order: Vec<String> = log.scan(STREAM, 0, 99).await.unwrap().iter().map(|at| at.event.id()).collect();
        assert_eq!(order.len(), 12, "{kept} were left: {order:?}");
        for name in names {
            assert_relayed(&shop, &*log, name, 4).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_cut_off_again_while_it_is_refilled_is_whole_in_the_end() {
    for second in 0..6 {
        let (_, shop, log) = shop_and_log().await;
        shop.commit("a", 3).await;
        shop.commit("b", 3).await;
        settle(&shop, log.clone()).await.unwrap();
        let log = shop.cut(log, 4).await;
        shop.commit("c", 2).await;
        relay(&shop, log.clone()).round().await.unwrap();
        let log = shop.cut(log, second).await;
        settle(&shop, log.clone()).await.unwrap();
        for (name, count) in [("a", 3), ("b", 3), ("c", 2)] {
            assert_relayed(&shop, &*log, name, count).await;
        }
    }
}

/// The first step of taking back is done, the second is not.
#[tokio::test(start_paused = true)]
async fn a_relay_that_is_killed_before_it_takes_back_its_marks_begins_anew() {
    let (_, shop, log) = shop_and_log().await;
    shop.commit("a", 4).await;
    settle(&shop, log.clone()).await.unwrap();
    let log = shop.cut(log, 2).await;
    log.rewind(STREAM, 2).await.unwrap();
    settle(&shop, log.clone()).await.unwrap();
    assert_relayed(&shop, &*log, "a", 4).await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_refill_goes_on_where_it_was_even_where_sequences_coincide() {
    let (_, shop, log) = shop_and_log().await;
    shop.commit("a", 2).await;
    settle(&shop, log.clone()).await.unwrap();
    assert_eq!(shop.marks("a").await, [(1, Some(1)), (2, Some(2))]);
    let log = shop.cut(log, 0).await;
    put(&*log, "other", 1, 0).await.unwrap();
    shop.commit("a", 1).await;
    // Version 1 is refilled at sequence 2, where version 2 stood in the lost log; then the
    // connection goes.
    for lost_after in 1..6 {
        let fates = (0..lost_after).map(|_| Fate::Arrives).chain([Fate::Lost]);
        let _ = settle(&shop, Behind::new(log.clone(), fates)).await;
    }
    settle(&shop, log.clone()).await.unwrap();
    assert_relayed(&shop, &*log, "a", 3).await;
}

/// No connection was lost, and nobody says anything: the sequence that is answered gives it away.
#[tokio::test(start_paused = true)]
async fn a_log_that_goes_back_unnoticed_is_found_out_by_the_next_event() {
    for kept in 0..=4 {
        let (_, shop, log) = shop_and_log().await;
        let changing = Behind::new(log.clone(), []);
        let _relay = start(&shop, changing.clone());
        shop.commit("a", 2).await;
        shop.commit("b", 2).await;
        settled(&shop).await;
        let elsewhere = World::new();
        let went_back: Arc<dyn EventLog> = elsewhere.log();
        copy(log.scan(STREAM, 0, kept).await.unwrap(), &*went_back).await;
        changing.becomes(went_back.clone());
        shop.commit("c", 1).await;
        let all = async {
            while went_back.scan(STREAM, 0, 99).await.unwrap().len() < 5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the refill", all).await;
        settled(&shop).await;
        for (name, count) in [("a", 2), ("b", 2), ("c", 1)] {
            assert_relayed(&shop, &*went_back, name, count).await;
        }
    }
}

/// A consumer that had got further than what was left is given everything that comes after.
#[tokio::test(start_paused = true)]
async fn consumers_go_back_with_the_log() {
    let (_, shop, log) = shop_and_log().await;
    shop.commit("a", 4).await;
    settle(&shop, log.clone()).await.unwrap();
    let mut ahead = witness(&*log).await;
    let all: Vec<i64> = hear(&mut *ahead, 4).await.iter().map(|message| message.sequence).collect();
    ahead.acknowledge(&all).await.unwrap();
    // Such a log has lost messages and kept its consumers.
    log.rewind(STREAM, 2).await.unwrap();
    let again: Vec<String> = hear(&mut *ahead, 2).await.iter().map(|message| message.event.id()).collect();
    assert_eq!(again, ["a/3", "a/4"]);
}

// Running.

#[tokio::test(start_paused = true)]
async fn a_commit_wakes_it_and_no_timer() {
    let (_, shop, log) = shop_and_log().await;
    let mut witness = witness(&*log).await;
    let _relay = start(&shop, log.clone());
    for pause_ms in [0, 1, 1_009, 3_600_007] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let committed_at = Instant::now();
        shop.commit("a", 1).await;
        hear(&mut *witness, 1).await;
        assert_eq!(committed_at.elapsed(), Duration::ZERO, "after {pause_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn stops_when_told_to_also_while_it_waits_for_a_failing_log() {
    let (_, shop, log) = shop_and_log().await;
    shop.commit("a", 1).await;
    let shutdown = CancellationToken::new();
    let bad = Behind::new(log, [Fate::Lost; 1000]);
    let task = tokio::spawn(relay(&shop, bad).run(shutdown.clone()));
    tokio::time::sleep(Duration::from_millis(250)).await;
    let told_at = Instant::now();
    shutdown.cancel();
    soon("the relay", task).await.unwrap();
    assert_eq!(told_at.elapsed(), Duration::ZERO);
}

#[derive(Debug, Clone)]
enum Step {
    Commit(u8),
    /// Rounds of a relay whose publications meet these fates and which is then killed.
    Relay(Vec<Fate>),
    /// The log loses all but so many of ten parts.
    Lose(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![3 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::AnswerLost)];
    let step = prop_oneof![
        4 => (0u8..3).prop_map(Step::Commit),
        4 => proptest::collection::vec(fate, 1..6).prop_map(Step::Relay),
        1 => (0usize..10).prop_map(Step::Lose),
    ];
    proptest::collection::vec(step, 1..40)
}

async fn run(steps: Vec<Step>) {
    let shop = SqliteShop::in_world(World::in_memory());
    let mut log: Arc<dyn EventLog> = shop.world.log();
    for step in steps {
        match step {
            Step::Commit(which) => shop.commit(&format!("a{which}"), 1).await,
            Step::Relay(fates) => {
                let bad = Behind::new(log.clone(), fates);
                let relay = relay(&shop, bad.clone());
                while !bad.is_through() && !matches!(relay.round().await, Ok(0)) {}
            }
            Step::Lose(tenths) => {
                let count = log.scan(STREAM, 0, 1000).await.unwrap().len();
                log = shop.cut(log, count * tenths / 10).await;
            }
        }
    }
    settle(&shop, log.clone()).await.unwrap();
    for which in 0..3 {
        let aggregate = format!("a{which}");
        let count = shop.outbox.all_of(&aggregate).await.unwrap().len() as i64;
        assert_relayed(&shop, &*log, &aggregate, count).await;
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
