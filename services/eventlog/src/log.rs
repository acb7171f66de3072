//! The port to the event log, and to the durable consumers of its streams.

use async_trait::async_trait;
use store::StoreError;

use crate::event::{Event, Message};
use crate::stream::Stream;

/// Why an event was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The subject's last sequence is another one than expected: another writer published meanwhile, or
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

    /// Makes sure that the stream exists. Only its publisher may ask for that, and only
    /// before publishing: an empty stream in the place of a lost one has to be refilled first.
    /// (`DEAD_LETTERS`, which is never refilled, is prepared by each consumer.)
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
