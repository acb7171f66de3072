//! The embedded event log: a SQLite table and an in-process wake-up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::metrics::Metrics;
use kernel::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::{Db, Storage};
use tokio::sync::watch;

use crate::event::{Event, Message};
use crate::log::{Consumer, ConsumerSettings, EventLog, Lag, Publish, PublishError};
use crate::stream::{DEAD_LETTERS, Stream};

/// The tables that the log consists of.
pub const SCHEMA: &str = "
-- Every message of every stream. Sequences run from 1 in each stream.
CREATE TABLE messages (
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    aggregate TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    traceparent TEXT,
    PRIMARY KEY (stream, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_by_aggregate ON messages (stream, aggregate, sequence);
-- How far each durable consumer has been given messages for the first time.
CREATE TABLE consumers (
    stream TEXT NOT NULL,
    name TEXT NOT NULL,
    delivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, name)
) STRICT, WITHOUT ROWID;
-- Delivered, not acknowledged; due again at that time.
CREATE TABLE pending (
    stream TEXT NOT NULL,
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (stream, name, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_due ON pending (stream, name, due_at);
";

/// The name of the log's database.
pub const DATABASE: &str = "event_log";

/// What consumers in this process are told of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct News {
    /// The last sequence appended.
    last: i64,
    /// How many times the stream went back.
    rewinds: u64,
}

/// What wakes the consumers of each stream that this process has published to or consumes.
#[derive(Default)]
struct Wakers(Mutex<BTreeMap<Stream, watch::Sender<News>>>);

impl Wakers {
    fn of<T>(&self, stream: Stream, work: impl FnOnce(&watch::Sender<News>) -> T) -> T {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(wakers.entry(stream).or_default())
    }

    fn appended(&self, stream: Stream, sequence: i64) {
        // An old message that is published again must not hide a new one that no consumer has looked at.
        self.of(stream, |waker| waker.send_modify(|news| news.last = sequence.max(news.last)));
    }

    fn rewound(&self, stream: Stream, last: i64) {
        self.of(stream, |waker| waker.send_modify(|news| *news = News { last, rewinds: news.rewinds + 1 }));
    }

    fn subscribe(&self, stream: Stream) -> watch::Receiver<News> {
        self.of(stream, watch::Sender::subscribe)
    }
}

/// One log for all services of a process; it lives outside them, as a broker does.
pub struct SqliteEventLog {
    db: Arc<Db>,
    clock: SharedClock,
    wakers: Arc<Wakers>,
}

impl SqliteEventLog {
    /// # Errors
    /// When its database cannot be opened.
    pub fn open(storage: &Storage, clock: SharedClock) -> Result<Self, StoreError> {
        let db = Db::open(storage, DATABASE, &[SCHEMA], &Metrics::new("event-log"))?;
        Ok(Self { db: Arc::new(db), clock, wakers: Arc::default() })
    }
}

fn message_of(stream: Stream, row: &Row<'_>) -> rusqlite::Result<Message> {
    let event = Event {
        aggregate: row.get(1)?,
        version: row.get(2)?,
        kind: row.get(3)?,
        data: row.get(4)?,
        occurred_at: Timestamp::from_micros(row.get(5)?),
        traceparent: row.get(6)?,
    };
    Ok(Message { stream, sequence: row.get(0)?, event, deliveries: row.get(7)? })
}

const COLUMNS: &str = "m.sequence, m.aggregate, m.version, m.kind, m.data, m.occurred_at, m.traceparent";

// Without statistics SQLite would rather scan the stream in its primary key's order: hence the
// `INDEXED BY` wherever an aggregate is looked up.
fn last_of(connection: &Connection, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, 0 FROM messages m INDEXED BY messages_by_aggregate WHERE stream = ?1 AND aggregate = ?2 ORDER BY sequence DESC LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row(params![stream.name(), aggregate], |row| message_of(stream, row)).optional()?)
}

fn append(tx: &Connection, stream: Stream, event: &Event) -> Result<i64, StoreError> {
    let mut next = tx.prepare_cached("SELECT coalesce(max(sequence), 0) + 1 FROM messages WHERE stream = ?1")?;
    let sequence: i64 = next.query_row([stream.name()], |row| row.get(0))?;
    tx.prepare_cached("INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        stream.name(),
        sequence,
        event.aggregate,
        event.version,
        event.kind,
        event.data,
        event.occurred_at.as_micros(),
        event.traceparent
    ])?;
    Ok(sequence)
}

fn publish_one(tx: &Connection, stream: Stream, publish: &Publish) -> Result<i64, PublishError> {
    let last = last_of(tx, stream, &publish.event.aggregate)?;
    let actual = last.as_ref().map_or(0, |message| message.sequence);
    if let Some(last) = last
        && last.event.version == publish.event.version
    {
        return Ok(actual);
    }
    if actual != publish.expected_last {
        return Err(PublishError::WrongLast { expected: publish.expected_last, actual });
    }
    let sequence = append(tx, stream, &publish.event)?;
    let event = &publish.event;
    tracing::debug!(target: "shop::event", %stream, sequence, id = event.id(), kind = event.kind);
    Ok(sequence)
}

#[async_trait]
impl EventLog for SqliteEventLog {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let written: Result<Vec<_>, StoreError> = self
            .db
            .write_alone("publish", |tx| Ok(batch.iter().map(|publish| publish_one(tx, stream, publish)).collect()));
        match written {
            Ok(answers) => {
                if let Some(last) = answers.iter().filter_map(|answer| answer.as_ref().ok()).max() {
                    self.wakers.appended(stream, *last);
                }
                answers
            }
            Err(error) => batch.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        self.db.read(|connection| last_of(connection, stream, aggregate))
    }

    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, 0 FROM messages m INDEXED BY messages_by_aggregate WHERE stream = ?1 AND aggregate = ?2 ORDER BY sequence"
        );
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![stream.name(), aggregate], |row| message_of(stream, row))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        Ok(self.scan(stream, sequence - 1, 1).await?.into_iter().find(|message| message.sequence == sequence))
    }

    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError> {
        // A bound LIMIT would make SQLite prepare the statement anew at every call.
        let sql = format!(
            "SELECT {COLUMNS}, 0 FROM messages m WHERE stream = ?1 AND sequence > ?2 ORDER BY sequence LIMIT {most}"
        );
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![stream.name(), after], |row| message_of(stream, row))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError> {
        let sql = "SELECT c.name,
                   (SELECT count(*) FROM messages m WHERE m.stream = c.stream AND m.sequence > c.delivered)
                   + (SELECT count(*) FROM pending p WHERE p.stream = c.stream AND p.name = c.name)
                   FROM consumers c WHERE c.stream = ?1 ORDER BY c.name";
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement
                .query_map([stream.name()], |row| Ok(Lag { consumer: row.get(0)?, unacknowledged: row.get(1)? }))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    async fn prepare(&self, _stream: Stream) -> Result<(), StoreError> {
        Ok(())
    }

    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError> {
        self.db.write_alone("rewind", |tx| {
            tx.execute("DELETE FROM pending WHERE stream = ?1 AND sequence > ?2", params![stream.name(), last])?;
            tx.execute(
                "UPDATE consumers SET delivered = ?2 WHERE stream = ?1 AND delivered > ?2",
                params![stream.name(), last],
            )?;
            Ok::<_, StoreError>(())
        })?;
        self.wakers.rewound(stream, last);
        Ok(())
    }

    async fn disturbed(&self) {
        // Its file is written by this process alone.
        std::future::pending().await
    }

    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        self.db.write_alone("consumer", |tx| {
            tx.execute(
                "INSERT INTO consumers (stream, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![stream.name(), settings.name],
            )?;
            Ok::<_, StoreError>(())
        })?;
        let appended = self.wakers.subscribe(stream);
        let (db, clock, wakers) = (self.db.clone(), self.clock.clone(), Arc::downgrade(&self.wakers));
        let reached = Reached { sequence: 0, more: true, rewinds: 0 };
        Ok(Box::new(SqliteConsumer { db, clock, stream, settings, appended, reached, wakers }))
    }
}

struct SqliteConsumer {
    db: Arc<Db>,
    clock: SharedClock,
    stream: Stream,
    settings: ConsumerSettings,
    appended: watch::Receiver<News>,
    reached: Reached,
    /// To wake who reads the dead letters; it does not keep the log open.
    wakers: Weak<Wakers>,
}

/// How far a consumer has looked.
#[derive(Debug, Clone, Copy)]
struct Reached {
    sequence: i64,
    /// There may be messages after that which this process has not heard of.
    more: bool,
    /// How many times the stream had gone back by then.
    rewinds: u64,
}

impl SqliteConsumer {
    fn wants(&self, message: &Message) -> bool {
        self.settings.kinds.is_empty() || self.settings.kinds.contains(&message.event.kind.as_str())
    }

    /// What is due again, then what is new; each is marked as delivered in the same transaction.
    fn take(&mut self, most: usize, rewinds: u64) -> Result<Vec<Message>, StoreError> {
        let now = self.clock.now();
        let due_again = now.plus(self.settings.ack_wait).as_micros();
        let (stream, name) = (self.stream.name(), self.settings.name);
        let (taken, reached, buried) = self.db.write_alone("deliver", |tx| {
            let buried = self.bury(tx, now)?;
            let again = format!(
                "SELECT {COLUMNS}, p.deliveries + 1 FROM pending p
                 JOIN messages m ON m.stream = p.stream AND m.sequence = p.sequence
                 WHERE p.stream = ?1 AND p.name = ?2 AND p.due_at <= ?3 ORDER BY m.sequence LIMIT {most}"
            );
            let mut taken: Vec<Message> = tx
                .prepare_cached(&again)?
                .query_map(params![stream, name, now.as_micros()], |row| message_of(self.stream, row))?
                .collect::<Result<_, _>>()?;
            // A bound LIMIT would make SQLite prepare the statement anew at every call.
            let left = most - taken.len();
            let delivered: i64 = tx
                .prepare_cached("SELECT delivered FROM consumers WHERE stream = ?1 AND name = ?2")?
                .query_row(params![stream, name], |row| row.get(0))?;
            let fresh = format!(
                "SELECT {COLUMNS}, 1 FROM messages m WHERE stream = ?1 AND sequence > ?2 ORDER BY sequence LIMIT {left}"
            );
            let new: Vec<Message> = tx
                .prepare_cached(&fresh)?
                .query_map(params![stream, delivered], |row| message_of(self.stream, row))?
                .collect::<Result<_, _>>()?;
            let sequence = new.last().map_or(delivered, |last| last.sequence);
            let reached = Reached { sequence, more: new.len() == left, rewinds };
            if reached.sequence > delivered {
                tx.prepare_cached("UPDATE consumers SET delivered = ?3 WHERE stream = ?1 AND name = ?2")?
                    .execute(params![stream, name, reached.sequence])?;
            }
            taken.extend(new.into_iter().filter(|message| self.wants(message)));
            let mut mark = tx.prepare_cached("INSERT OR REPLACE INTO pending VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for message in &taken {
                mark.execute(params![stream, name, message.sequence, due_again, message.deliveries])?;
            }
            Ok::<_, StoreError>((taken, reached, buried))
        })?;
        self.reached = reached;
        self.tell_of_letter(buried);
        Ok(taken)
    }

    /// Wakes who reads the dead letters, if there is a new one.
    fn tell_of_letter(&self, buried: Option<i64>) {
        if let (Some(sequence), Some(wakers)) = (buried, self.wakers.upgrade()) {
            wakers.appended(DEAD_LETTERS, sequence);
        }
    }

    /// Poison: delivered too often, parked in `DEAD_LETTERS`; answers where the last one stands.
    fn bury(&self, tx: &Connection, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let (stream, name) = (self.stream.name(), self.settings.name);
        let sql = format!(
            "SELECT {COLUMNS}, p.deliveries FROM pending p
             JOIN messages m ON m.stream = p.stream AND m.sequence = p.sequence
             WHERE p.stream = ?1 AND p.name = ?2 AND p.due_at <= ?3 AND p.deliveries >= ?4"
        );
        let dead: Vec<Message> = tx
            .prepare_cached(&sql)?
            .query_map(params![stream, name, now.as_micros(), self.settings.deliveries_max], |row| {
                message_of(self.stream, row)
            })?
            .collect::<Result<_, _>>()?;
        let mut buried = None;
        for message in dead {
            buried = self.lay_down(tx, message)?.or(buried);
        }
        Ok(buried)
    }

    /// Moves one message to `DEAD_LETTERS`; answers where it stands there. A dead letter that is poison
    /// itself stays where it is: appended again, it would never end.
    fn lay_down(&self, tx: &Connection, message: Message) -> Result<Option<i64>, StoreError> {
        let (stream, name) = (self.stream.name(), self.settings.name);
        tx.execute(
            "DELETE FROM pending WHERE stream = ?1 AND name = ?2 AND sequence = ?3",
            params![stream, name, message.sequence],
        )?;
        let id = format!("{stream}.{name}.{}", message.event.id());
        tracing::error!(event = id, deliveries = message.deliveries, "dead-lettered");
        if self.stream == DEAD_LETTERS {
            return Ok(None);
        }
        let letter = Event { aggregate: id, version: 1, ..message.event };
        append(tx, DEAD_LETTERS, &letter).map(Some)
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.db.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT min(due_at) FROM pending WHERE stream = ?1 AND name = ?2")?;
            let due: Option<i64> =
                statement.query_row(params![self.stream.name(), self.settings.name], |row| row.get(0))?;
            Ok(due.map(Timestamp::from_micros))
        })
    }
}

#[async_trait]
impl Consumer for SqliteConsumer {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        loop {
            let appended = *self.appended.borrow_and_update();
            let due = self.next_due()?;
            let again = due.is_some_and(|due| due <= self.clock.now());
            // Looking is a write: not without a reason.
            let new = appended.last > self.reached.sequence || appended.rewinds != self.reached.rewinds;
            if again || new || self.reached.more {
                let taken = self.take(most.max(1), appended.rewinds)?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
                continue;
            }
            tokio::select! {
                biased;
                changed = self.appended.changed() => {
                    if changed.is_err() {
                        return Err(StoreError::Unavailable("the event log is closed".into()));
                    }
                }
                () = async {
                    match due {
                        Some(due) => tokio::time::sleep(due.since(self.clock.now())).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    async fn acknowledge(&mut self, sequences: &[i64]) -> Result<(), StoreError> {
        if sequences.is_empty() {
            return Ok(());
        }
        self.db.write_alone("acknowledge", |tx| {
            let mut delete =
                tx.prepare_cached("DELETE FROM pending WHERE stream = ?1 AND name = ?2 AND sequence = ?3")?;
            for sequence in sequences {
                delete.execute(params![self.stream.name(), self.settings.name, sequence])?;
            }
            Ok(())
        })
    }

    async fn retry_later(&mut self, sequence: i64, delay: std::time::Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (due, at_once) = (now.plus(delay).as_micros(), now.as_micros());
        // There is nothing to wait for before it is parked.
        let sql = "UPDATE pending SET due_at = iif(deliveries >= ?6, ?5, ?4)
                   WHERE stream = ?1 AND name = ?2 AND sequence = ?3";
        let (stream, name, most) = (self.stream.name(), self.settings.name, self.settings.deliveries_max);
        self.db.write_alone("retry_later", |tx| {
            tx.prepare_cached(sql)?.execute(params![stream, name, sequence, due, at_once, most])?;
            Ok(())
        })
    }

    async fn park(&mut self, sequence: i64) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, p.deliveries FROM pending p
             JOIN messages m ON m.stream = p.stream AND m.sequence = p.sequence
             WHERE p.stream = ?1 AND p.name = ?2 AND p.sequence = ?3"
        );
        let buried = self.db.write_alone("park", |tx| {
            let message = tx
                .prepare_cached(&sql)?
                .query_row(params![self.stream.name(), self.settings.name, sequence], |row| {
                    message_of(self.stream, row)
                })
                .optional()?;
            message.map_or(Ok(None), |message| self.lay_down(tx, message))
        })?;
        self.tell_of_letter(buried);
        Ok(())
    }
}
