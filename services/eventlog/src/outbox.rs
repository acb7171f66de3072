//! The port to a service's outbox, which the relay empties, and its implementations over both kinds of stores.

pub mod postgres;
pub mod sqlite;

use async_trait::async_trait;
use store::StoreError;
use tokio::sync::Notify;

use crate::event::{Event, id_of};

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
