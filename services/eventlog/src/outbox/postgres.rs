//! The outbox table, which has one shape in every service:
//!
//! ```sql
//! CREATE TABLE <table> (
//!     aggregate text NOT NULL,
//!     version bigint NOT NULL CHECK (version > 0),
//!     kind text NOT NULL,
//!     data text NOT NULL,              -- JSON, as it is published
//!     occurred_at bigint NOT NULL,     -- microseconds since 1970
//!     traceparent text,
//!     published_at bigint,             -- when the relay knew it to be in the event log
//!     published_seq bigint,            -- and where
//!     PRIMARY KEY (aggregate, version)
//! );
//! CREATE INDEX <table>_unpublished ON <table> (aggregate, version) WHERE published_at IS NULL;
//! CREATE INDEX <table>_published ON <table> (published_seq) WHERE published_seq IS NOT NULL;
//! ```
//!
//! Rows are never deleted: the table is the event store that the log can be refilled from.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::context::Context;
use futures_util::future::BoxFuture;
use kernel::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use store::StoreError;
use store::postgres::{Db, Kept, is_taken};
use tokio::sync::Notify;

use super::{Outbox, Published, ROWS_PER_HEAD, Unpublished, heads};
use crate::event::Event;

fn event_of(row: &PgRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        aggregate: row.try_get(0)?,
        version: row.try_get(1)?,
        kind: row.try_get(2)?,
        data: row.try_get(3)?,
        occurred_at: Timestamp::from_micros(row.try_get(4)?),
        traceparent: row.try_get(5)?,
    })
}

fn previous(row: &PgRow) -> Result<i64, sqlx::Error> {
    let sequence: Option<i64> = row.try_get(6)?;
    Ok(sequence.unwrap_or(0))
}

const COLUMNS: &str = "aggregate, version, kind, data, occurred_at, traceparent";

/// Writes events in the caller's transaction, all in one statement, each with its own trace, or, where it has
/// none, that of the current request.
///
/// # Errors
/// `Conflict` when one of those versions exists; the transaction is then of no use any more.
pub fn append<'a>(
    tx: &'a mut PgConnection,
    table: &'a str,
    events: &'a [Event],
) -> BoxFuture<'a, Result<(), StoreError>> {
    Box::pin(async move {
        if events.is_empty() {
            return Ok(());
        }
        let trace = Context::current().trace.map(|trace| trace.to_string());
        let sql = format!(
            "INSERT INTO {table} ({COLUMNS})
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[])"
        );
        let column = |of: fn(&Event) -> &str| events.iter().map(of).collect::<Vec<&str>>();
        let traces: Vec<Option<&str>> =
            events.iter().map(|event| event.traceparent.as_deref().or(trace.as_deref())).collect();
        let written = sqlx::query(AssertSqlSafe(sql))
            .bind(column(|event| &event.aggregate))
            .bind(events.iter().map(|event| event.version).collect::<Vec<i64>>())
            .bind(column(|event| &event.kind))
            .bind(column(|event| &event.data))
            .bind(events.iter().map(|event| event.occurred_at.as_micros()).collect::<Vec<i64>>())
            .bind(traces)
            .execute(tx)
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) if is_taken(&error) => {
                let ids: Vec<String> = events.iter().map(Event::id).collect();
                Err(StoreError::Conflict(format!("one of {} exists", ids.join(", "))))
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// All events of an aggregate, oldest first.
///
/// # Errors
/// When the table cannot be read.
pub fn events_of<'a>(
    connection: &'a mut PgConnection,
    table: &'a str,
    aggregate: &'a str,
) -> BoxFuture<'a, Result<Vec<Event>, StoreError>> {
    Box::pin(async move {
        let sql = format!("SELECT {COLUMNS} FROM {table} WHERE aggregate = $1 ORDER BY version");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(aggregate).fetch_all(connection).await?;
        Ok(rows.iter().map(event_of).collect::<Result<_, _>>()?)
    })
}

/// How many sequences one statement marks as lost: each must end before the server's time limit.
const LOST_AT_ONCE: i64 = 10_000;

/// The [`Outbox`] over a table of the shape above.
pub struct PostgresOutbox {
    db: Arc<Db>,
    /// For what the relay does all the time.
    kept: Kept,
    table: &'static str,
    clock: SharedClock,
}

impl PostgresOutbox {
    pub fn new(db: Arc<Db>, table: &'static str, clock: SharedClock) -> Self {
        let kept = Kept::relaxed(db.clone());
        Self { db, kept, table, clock }
    }
}

#[async_trait]
impl Outbox for PostgresOutbox {
    async fn unpublished(&self, most: usize) -> Result<Vec<Unpublished>, StoreError> {
        let table = self.table;
        let sql = format!(
            "SELECT {COLUMNS},
                    CASE WHEN version > 1
                         THEN (SELECT p.published_seq FROM {table} p
                               WHERE p.aggregate = o.aggregate AND p.version = o.version - 1) END
             FROM {table} o WHERE published_at IS NULL ORDER BY aggregate, version LIMIT $1"
        );
        let most = most.min(self.db.batch_max());
        let limit = i64::try_from(most.saturating_mul(ROWS_PER_HEAD)).unwrap_or(i64::MAX);
        let rows = self.kept.fetch_all(sqlx::query(AssertSqlSafe(sql)).bind(limit)).await?;
        let unpublished =
            rows.iter().map(|row| Ok(Unpublished { event: event_of(row)?, previous_sequence: previous(row)? }));
        Ok(heads(unpublished.collect::<Result<_, sqlx::Error>>()?, most))
    }

    async fn all_of(&self, aggregate: &str) -> Result<Vec<Event>, StoreError> {
        let mut connection = self.db.pool().acquire().await?;
        events_of(&mut connection, self.table, aggregate).await
    }

    /// A mark that a crash of the server has undone is made again: the relay finds the event in the log.
    async fn mark_published(&self, rows: &[(String, i64, i64)]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE {} AS o SET published_at = $4, published_seq = mark.sequence
             FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS mark (aggregate, version, sequence)
             WHERE o.aggregate = mark.aggregate AND o.version = mark.version",
            self.table
        );
        let marks = sqlx::query(AssertSqlSafe(sql))
            .bind(rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
            .bind(self.clock.now().as_micros());
        self.kept.db().writes("mark_published");
        self.kept.fetch_all(marks).await?;
        self.kept.db().marked("mark_published");
        Ok(())
    }

    async fn mark_lost(&self, aggregate: &str, version: i64) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE {} SET published_at = NULL, published_seq = NULL WHERE aggregate = $1 AND version >= $2",
            self.table
        );
        sqlx::query(AssertSqlSafe(sql)).bind(aggregate).bind(version).execute(self.db.pool()).await?;
        Ok(())
    }

    async fn last_published(&self, not_after: i64) -> Result<Option<Published>, StoreError> {
        let sql = format!(
            "SELECT aggregate, version, published_seq FROM {}
             WHERE published_seq <= $1 ORDER BY published_seq DESC LIMIT 1",
            self.table
        );
        let row = sqlx::query(AssertSqlSafe(sql)).bind(not_after).fetch_optional(self.db.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Published { aggregate: row.try_get(0)?, version: row.try_get(1)?, sequence: row.try_get(2)? }))
    }

    /// From the end, so that a mark behind `after` stays visible as the greatest one until all are gone.
    async fn mark_all_lost(&self, after: i64) -> Result<(), StoreError> {
        let sql =
            format!("UPDATE {} SET published_at = NULL, published_seq = NULL WHERE published_seq > $1", self.table);
        while let Some(last) = self.last_published(i64::MAX).await?.filter(|last| last.sequence > after) {
            let from = after.max(last.sequence - LOST_AT_ONCE);
            sqlx::query(AssertSqlSafe(sql.as_str())).bind(from).execute(self.db.pool()).await?;
        }
        Ok(())
    }

    fn committed(&self) -> &Notify {
        self.db.committed()
    }
}
