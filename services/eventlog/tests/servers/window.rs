//! JetStream after it has forgotten what it knew: what is published again then, is known by what stands there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::{self, stream};
use async_trait::async_trait;
use eventlog::jetstream::JetStreamLog;
use eventlog::{Consumer, ConsumerSettings, EventLog, Lag, Message, Publish, PublishError, Stream};
use servers::Borrowed;
use store::{Servers, StoreError};

use crate::contract::{self, put, versions};
use crate::event_log::STREAMS;
use crate::relay::PostgresShop;
use crate::relay_contract::{self, STREAM, Shop, assert_relayed, settle};
use crate::world::soon;

/// The shortest that a server takes.
const WINDOW: Duration = Duration::from_millis(100);
/// What streams have in production.
const USUAL_WINDOW: Duration = Duration::from_secs(120);

/// A log whose every publication is made when the broker has forgotten the ids of all before it.
struct AfterWindow {
    log: JetStreamLog,
    context: jetstream::Context,
    /// Where nobody's events are, on the stream.
    nowhere: String,
    published: Mutex<BTreeSet<String>>,
}

impl AfterWindow {
    /// A new log, whose stream of these tests remembers ids for so long.
    async fn open(servers: &Servers, window: Duration) -> Arc<Self> {
        let (token, place) = servers.nats.trim_start_matches("nats://").split_once('@').unwrap();
        let client = async_nats::ConnectOptions::with_token(token.into()).connect(place).await.unwrap();
        let context = jetstream::new(client);
        let (name, subjects) = match servers.namespace.as_str() {
            "" => (STREAM.name().to_owned(), STREAM.subject(">")),
            namespace => (
                format!("{}_{}", namespace.to_uppercase(), STREAM.name()),
                format!("{namespace}.{}", STREAM.subject(">")),
            ),
        };
        let config = stream::Config {
            name,
            subjects: vec![subjects.clone()],
            allow_direct: true,
            duplicate_window: window,
            ..stream::Config::default()
        };
        let made = context.create_stream(config).await.unwrap();
        assert_eq!(made.cached_info().config.duplicate_window, window, "the server keeps to what it is asked for");
        let log = JetStreamLog::connect(servers, "test").await.unwrap();
        for stream in STREAMS {
            log.prepare(stream).await.unwrap();
        }
        let nowhere = subjects.replace('>', "nowhere");
        Arc::new(Self { log, context, nowhere, published: Mutex::default() })
    }

    /// Whether the broker knows a message by this id. Asked with one that it cannot take: where it knows the
    /// id it says so, and otherwise that the stream is not that long.
    async fn remembers(&self, id: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, "1000000");
        let sent = self.context.publish_with_headers(self.nowhere.clone(), headers, "".into()).await.unwrap();
        match sent.await {
            Ok(answer) => {
                assert!(answer.duplicate, "nothing was to be appended: {answer:?}");
                true
            }
            Err(refused) => {
                assert!(refused.to_string().contains("wrong last sequence"), "{refused}");
                false
            }
        }
    }

    /// Waits until the broker knows none of these messages by its id any more.
    async fn forgets(&self, ids: BTreeSet<String>) {
        let all = async {
            for id in ids {
                while self.remembers(&id).await {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        soon("the broker to forget", all).await;
    }
}

#[async_trait]
impl EventLog for AfterWindow {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let before = std::mem::take(&mut *self.published.lock().unwrap());
        self.forgets(before).await;
        let answers = self.log.publish(stream, batch).await;
        self.published.lock().unwrap().extend(batch.iter().map(|publish| publish.event.id()));
        answers
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

async fn open() -> (Borrowed, Arc<AfterWindow>) {
    let borrowed = servers::for_test().unwrap();
    let log = AfterWindow::open(&borrowed.connections, WINDOW).await;
    (borrowed, log)
}

/// Runs each case of the log's contract where no publication finds its id remembered.
macro_rules! keeps {
    ($($name:ident: $case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (_borrowed, log) = open().await;
                contract::$case(&*log).await;
            }
        )*
    };
}

keeps!(
    after_the_window_the_last_event_again_answers_its_old_sequence: the_last_event_again_answers_its_old_sequence,
    after_the_window_an_older_event_again_is_never_appended: an_older_event_again_is_never_appended,
    after_the_window_a_wrong_expectation_is_refused: a_wrong_expectation_is_refused_with_the_actual_sequence,
);

/// And those of the relay's contract, between PostgreSQL and such a log.
macro_rules! relays {
    ($($name:ident: $case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (borrowed, log) = open().await;
                let shop = PostgresShop::open(&borrowed.connections).await;
                relay_contract::$case(&shop, log).await;
            }
        )*
    };
}

relays!(
    after_the_window_a_crash_between_publishing_and_marking_makes_no_second_event:
        a_crash_between_publishing_and_marking_makes_no_second_event,
    after_the_window_an_event_that_was_not_marked_is_found_before_later_ones:
        an_event_that_was_not_marked_is_found_before_later_ones,
    after_the_window_a_log_that_is_ahead_by_several_versions_is_caught_up_with:
        a_log_that_is_ahead_by_several_versions_is_caught_up_with,
    after_the_window_a_failing_log_loses_nothing_and_doubles_nothing: a_failing_log_loses_nothing_and_doubles_nothing,
);

/// So the cases above met no memory of ids, and would have met one within the window.
#[tokio::test]
async fn an_event_is_known_by_its_id_within_the_window_and_by_where_it_stands_after_it() {
    for window in [USUAL_WINDOW, WINDOW] {
        let borrowed = servers::for_test().unwrap();
        let log = AfterWindow::open(&borrowed.connections, window).await;
        let first = put(&log.log, "a", 1, 0).await.unwrap();
        match window {
            USUAL_WINDOW => assert!(log.remembers("a/1").await),
            _ => log.forgets(["a/1".to_owned()].into()).await,
        }
        assert_eq!(put(&log.log, "a", 1, 0).await.unwrap(), first, "{window:?}");
        assert_eq!(versions(&log.log, "a").await, [1], "{window:?}");
    }
}

/// A relay repeats its first versions when later ones stand there already.
#[tokio::test]
async fn after_the_window_a_relay_repeats_old_versions_and_makes_no_duplicate_and_no_gap() {
    let (borrowed, log) = open().await;
    let shop = PostgresShop::open(&borrowed.connections).await;
    shop.commit("a", 2).await;
    settle(&shop, log.clone()).await.unwrap();
    // As if the first relay had been cut off before it could mark anything.
    shop.outbox().mark_all_lost(0).await.unwrap();
    shop.commit("a", 1).await;
    settle(&shop, log.clone()).await.unwrap();
    assert_relayed(&shop, &*log, "a", 3).await;
}
