//! What stands in the event log: facts, and the places where they stand.

use kernel::Timestamp;

use crate::stream::Stream;

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

pub(crate) fn id_of(aggregate: &str, version: i64) -> String {
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
