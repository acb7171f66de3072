//! How facts leave a service: written to its outbox in the transaction that made them, carried by
//! the relay to the event log, read from there by durable consumers.

pub mod consume;
pub mod counted;
pub mod exposed;
pub mod jetstream;
pub mod relay;
pub mod sqlite;

use std::fmt;

use async_trait::async_trait;
use kernel::Timestamp;
use tokio::sync::Notify;

use crate::store::StoreError;

/// The streams of the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    Orders,
    Payments,
    Inventory,
    Users,
    DeadLetters,
}

impl Stream {
    pub const ALL: [Self; 5] = [Self::Orders, Self::Payments, Self::Inventory, Self::Users, Self::DeadLetters];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "ORDERS",
            Self::Payments => "PAYMENTS",
            Self::Inventory => "INVENTORY",
            Self::Users => "USERS",
            Self::DeadLetters => "DEAD_LETTERS",
        }
    }

    /// The subject under which an aggregate's events stand, such as `events.order.<order id>`.
    pub fn subject(self, aggregate: &str) -> String {
        let noun = match self {
            Self::Orders => "order",
            Self::Payments => "payment",
            Self::Inventory => "inventory",
            Self::Users => "user",
            Self::DeadLetters => "dead",
        };
        format!("events.{noun}.{aggregate}")
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fact about one aggregate. `(aggregate, version)` is unique within a stream, and versions of an
/// aggregate run from 1 without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub aggregate: String,
    pub version: i64,
    pub kind: String,
    /// JSON.
    pub data: String,
    pub occurred_at: Timestamp,
    pub traceparent: Option<String>,
}

impl Event {
    /// What the log dedupes on (`Nats-Msg-Id`): decided by the fact itself, so that a second
    /// publication of it is recognised.
    pub fn id(&self) -> String {
        id_of(&self.aggregate, self.version)
    }
}

fn id_of(aggregate: &str, version: i64) -> String {
    format!("{aggregate}/{version}")
}

/// An event as it stands in the log, at a sequence of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub stream: Stream,
    pub sequence: i64,
    pub event: Event,
    /// How many times this consumer has been given it, this time included.
    pub deliveries: u32,
}

/// Why an event was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The subject's last sequence is another one than expected: somebody published meanwhile, or
    /// the log has lost messages. Nothing was appended.
    #[error("the subject's last sequence is {actual}, not {expected}")]
    WrongLast { expected: i64, actual: i64 },
    #[error(transparent)]
    Log(#[from] StoreError),
}

/// An event to append, and the sequence at which the version before it is believed to stand (0: there is
/// none). It MUST NOT be that of the event itself: a log that no longer remembers ids would take it for a
/// later one's.
#[derive(Debug, Clone)]
pub struct Publish {
    pub event: Event,
    pub expected_last: i64,
}

/// The event log.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends each event, answering its sequence, in order; one refusal does not stop the others.
    /// MUST refuse with `WrongLast` when the expectation fails; MUST answer the old sequence, and
    /// append nothing, when an event of the same id is the subject's last one.
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>>;

    /// The last message of an aggregate.
    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError>;

    /// All messages of an aggregate, oldest first.
    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError>;

    /// The message at a sequence of the stream; `None` where there is none (any more).
    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError>;

    /// Up to `most` messages behind the sequence `after`, oldest first; none at the stream's end.
    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError>;

    /// How many messages each durable consumer of the stream has not acknowledged yet.
    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError>;

    /// Makes sure that the stream exists. Only whoever publishes to it may ask for that, and only
    /// before publishing: an empty stream in the place of a lost one has to be refilled first.
    /// (`DEAD_LETTERS`, which nobody refills, is prepared by whoever consumes.)
    async fn prepare(&self, stream: Stream) -> Result<(), StoreError>;

    /// The log has lost everything behind the sequence `last` of the stream. Each durable consumer
    /// MUST be given again what it had not acknowledged up to there, and everything that comes after.
    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError>;

    /// Waits until something happened after which the log may have lost messages: since the first time
    /// that the answered future was polled, whenever it is polled again.
    async fn disturbed(&self);

    /// The durable consumer of that name, created at the stream's beginning if it is new. What was
    /// delivered and not acknowledged within `ack_wait` is delivered again, `deliveries_max` times
    /// in all, and then goes to `DEAD_LETTERS`.
    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError>;
}

/// How far a durable consumer is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    pub consumer: String,
    /// Never delivered, or delivered and not acknowledged.
    pub unacknowledged: u64,
}

#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Durable: two processes that give the same name share the work.
    pub name: &'static str,
    pub ack_wait: std::time::Duration,
    pub deliveries_max: u32,
    /// Only messages of these kinds are delivered, the others count as acknowledged; empty for all kinds.
    pub kinds: &'static [&'static str],
}

/// A place in a stream that outlives the process.
#[async_trait]
pub trait Consumer: Send {
    /// Waits until there is something to deliver; 1 to `most` messages, in stream order, those due
    /// again first.
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, StoreError>;
    /// These are done with, for good.
    async fn acknowledge(&mut self, sequences: &[i64]) -> Result<(), StoreError>;
    /// Deliver this one again after `delay`. One that has had its last delivery MUST go to
    /// `DEAD_LETTERS` at once.
    async fn retry_later(&mut self, sequence: i64, delay: std::time::Duration) -> Result<(), StoreError>;
    /// This one goes to `DEAD_LETTERS` now and is never delivered again, however many deliveries it has
    /// left. One that is not under way MUST be left alone.
    async fn park(&mut self, sequence: i64) -> Result<(), StoreError>;
}

/// An outbox row that is not yet known to be in the log.
#[derive(Debug, Clone)]
pub struct Unpublished {
    pub event: Event,
    /// Where the version before stands in the log; 0 for version 1.
    pub previous_sequence: i64,
}

/// How many rows are read for each that is wanted: in a log that is being refilled, several wait of each aggregate.
pub(crate) const ROWS_PER_HEAD: usize = 4;

/// Of rows by aggregate and version: the first one of each aggregate, up to `most`, those first that happened first.
pub(crate) fn heads(mut rows: Vec<Unpublished>, most: usize) -> Vec<Unpublished> {
    rows.dedup_by(|row, before| row.event.aggregate == before.event.aggregate);
    rows.sort_by(|one, other| {
        let place = |row: &Unpublished| row.event.occurred_at;
        place(one).cmp(&place(other)).then_with(|| one.event.aggregate.cmp(&other.event.aggregate))
    });
    rows.truncate(most);
    rows
}

/// An outbox row that is known to stand in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub aggregate: String,
    pub version: i64,
    pub sequence: i64,
}

impl Published {
    /// The event's [`Event::id`].
    pub fn id(&self) -> String {
        id_of(&self.aggregate, self.version)
    }
}

/// What the relay needs of a service's store.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// For up to `most` aggregates, and at least one if there is any, the lowest version not yet published. Rows are
    /// chosen by that mark alone: commits are not in the order of any id.
    async fn unpublished(&self, most: usize) -> Result<Vec<Unpublished>, StoreError>;
    /// All rows of an aggregate in version order.
    async fn all_of(&self, aggregate: &str) -> Result<Vec<Event>, StoreError>;
    /// Marks `(aggregate, version)` as standing at that sequence.
    async fn mark_published(&self, rows: &[(String, i64, i64)]) -> Result<(), StoreError>;
    /// The log has lost this aggregate from `version` on: these rows MUST count as unpublished again.
    async fn mark_lost(&self, aggregate: &str, version: i64) -> Result<(), StoreError>;
    /// Of the rows that are marked as published, the one with the greatest sequence up to `not_after`.
    async fn last_published(&self, not_after: i64) -> Result<Option<Published>, StoreError>;
    /// The log has lost everything behind the sequence `after`: every row that is marked with a greater
    /// one MUST count as unpublished again. Where that is interrupted, the greatest ones are done.
    async fn mark_all_lost(&self, after: i64) -> Result<(), StoreError>;
    /// Notified after commits.
    fn committed(&self) -> &Notify;
}
