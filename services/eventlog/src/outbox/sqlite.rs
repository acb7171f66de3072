//! The outbox table, which has one shape in every service:
//!
//! ```sql
//! CREATE TABLE <table> (
//!     aggregate TEXT NOT NULL,
//!     version INTEGER NOT NULL CHECK (version > 0),
//!     kind TEXT NOT NULL,
//!     data TEXT NOT NULL,              -- JSON
//!     occurred_at INTEGER NOT NULL,    -- microseconds since 1970
//!     traceparent TEXT,
//!     published_at INTEGER,            -- when the relay knew it to be in the event log
//!     published_seq INTEGER,           -- and where
//!     PRIMARY KEY (aggregate, version)
//! ) STRICT, WITHOUT ROWID;
//! CREATE INDEX <table>_unpublished ON <table> (aggregate, version) WHERE published_at IS NULL;
//! ```
//!
//! Rows are never deleted: the table is the event store that the log can be refilled from.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::context::Context;
use kernel::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::Db;
use tokio::sync::Notify;

use super::{Outbox, Published, ROWS_PER_HEAD, Unpublished, heads};
use crate::event::Event;

fn event_of(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        aggregate: row.get(0)?,
        version: row.get(1)?,
        kind: row.get(2)?,
        data: row.get(3)?,
        occurred_at: Timestamp::from_micros(row.get(4)?),
        traceparent: row.get(5)?,
    })
}

const COLUMNS: &str = "aggregate, version, kind, data, occurred_at, traceparent";

/// Writes events in the caller's transaction, each with the trace of the current request.
///
/// # Errors
/// `Conflict` when that version of the aggregate exists.
pub fn append(tx: &Connection, table: &str, events: &[Event]) -> Result<(), StoreError> {
    let trace = Context::current().trace.map(|trace| trace.to_string());
    let sql = format!("INSERT INTO {table} ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    let mut insert = tx.prepare_cached(&sql)?;
    for event in events {
        let traceparent = event.traceparent.as_ref().or(trace.as_ref());
        let written = insert.execute(params![
            event.aggregate,
            event.version,
            event.kind,
            event.data,
            event.occurred_at.as_micros(),
            traceparent
        ]);
        match written {
            Ok(_) => {}
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if failure.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                return Err(StoreError::Conflict(format!("{} exists", event.id())));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The version that the aggregate's next event will have.
///
/// # Errors
/// When the table cannot be read.
pub fn next_version(connection: &Connection, table: &str, aggregate: &str) -> Result<i64, StoreError> {
    let sql = format!("SELECT coalesce(max(version), 0) + 1 FROM {table} WHERE aggregate = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([aggregate], |row| row.get(0))?)
}

/// All events of an aggregate, oldest first.
///
/// # Errors
/// When the table cannot be read.
pub fn events_of(connection: &Connection, table: &str, aggregate: &str) -> Result<Vec<Event>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM {table} WHERE aggregate = ?1 ORDER BY version");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([aggregate], event_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The [`Outbox`] over a table of the shape above.
pub struct SqliteOutbox {
    db: Arc<Db>,
    table: &'static str,
    clock: SharedClock,
}

impl SqliteOutbox {
    pub fn new(db: Arc<Db>, table: &'static str, clock: SharedClock) -> Self {
        Self { db, table, clock }
    }
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn unpublished(&self, most: usize) -> Result<Vec<Unpublished>, StoreError> {
        let (table, limit) = (self.table, most.saturating_mul(ROWS_PER_HEAD));
        // A bound LIMIT would make SQLite prepare the statement anew at every call.
        let sql = format!(
            "SELECT {COLUMNS},
                    CASE WHEN version > 1
                         THEN (SELECT p.published_seq FROM {table} p
                               WHERE p.aggregate = o.aggregate AND p.version = o.version - 1) END
             FROM {table} o WHERE published_at IS NULL ORDER BY aggregate, version LIMIT {limit}"
        );
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| {
                let sequence: Option<i64> = row.get(6)?;
                Ok(Unpublished { event: event_of(row)?, previous_sequence: sequence.unwrap_or(0) })
            })?;
            Ok(heads(rows.collect::<Result<_, _>>()?, most))
        })
    }

    async fn all_of(&self, aggregate: &str) -> Result<Vec<Event>, StoreError> {
        self.db.read(|connection| events_of(connection, self.table, aggregate))
    }

    async fn mark_published(&self, rows: &[(String, i64, i64)]) -> Result<(), StoreError> {
        let now = self.clock.now().as_micros();
        let sql = format!(
            "UPDATE {} SET published_at = ?3, published_seq = ?4 WHERE aggregate = ?1 AND version = ?2",
            self.table
        );
        let mark = |tx: &Connection| {
            let mut update = tx.prepare_cached(&sql)?;
            for (aggregate, version, sequence) in rows {
                update.execute(params![aggregate, version, now, sequence])?;
            }
            Ok(())
        };
        self.db.write("mark_published", mark).await
    }

    async fn mark_lost(&self, aggregate: &str, version: i64) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE {} SET published_at = NULL, published_seq = NULL WHERE aggregate = ?1 AND version >= ?2",
            self.table
        );
        self.db.write_alone("mark_lost", |tx| {
            tx.prepare_cached(&sql)?.execute(params![aggregate, version])?;
            Ok(())
        })
    }

    // No index: it would cost every publication something, and this is asked when the relay starts.
    async fn last_published(&self, not_after: i64) -> Result<Option<Published>, StoreError> {
        let sql = format!(
            "SELECT aggregate, version, published_seq FROM {}
             WHERE published_seq <= ?1 ORDER BY published_seq DESC LIMIT 1",
            self.table
        );
        self.db.read(|connection| {
            let published =
                |row: &Row<'_>| Ok(Published { aggregate: row.get(0)?, version: row.get(1)?, sequence: row.get(2)? });
            Ok(connection.prepare_cached(&sql)?.query_row([not_after], published).optional()?)
        })
    }

    async fn mark_all_lost(&self, after: i64) -> Result<(), StoreError> {
        let sql =
            format!("UPDATE {} SET published_at = NULL, published_seq = NULL WHERE published_seq > ?1", self.table);
        self.db.write_alone("mark_all_lost", |tx| {
            tx.prepare_cached(&sql)?.execute([after])?;
            Ok(())
        })
    }

    fn committed(&self) -> &Notify {
        self.db.committed()
    }
}
