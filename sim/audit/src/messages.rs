//! Messages of the event log, by aggregate, from the tables that the embedded log consists of.
//!
//! JetStream finds one aggregate's messages one by one; an audit wants those of every order. So the
//! streams are copied once, in their own order and in batches, into such tables.

use eventlog::{DEAD_LETTERS, Event, EventLog, Message, Stream, sqlite};
use kernel::Timestamp;
use rusqlite::{Connection, params};
use store::StoreError;

use super::rows::all;

/// How many messages are copied at once.
const BATCH: usize = 1_000;

/// The aggregate's messages in the stream, oldest first.
pub fn of(log: &Connection, stream: Stream, aggregate: &str) -> Result<Vec<Event>, StoreError> {
    let sql = "SELECT aggregate, version, kind, data, occurred_at, traceparent
               FROM messages INDEXED BY messages_by_aggregate WHERE stream = ?1 AND aggregate = ?2 ORDER BY sequence";
    all(log, sql, params![stream.name(), aggregate], |row| {
        Ok(Event {
            aggregate: row.get(0)?,
            version: row.get(1)?,
            kind: row.get(2)?,
            data: row.get(3)?,
            occurred_at: Timestamp::from_micros(row.get(4)?),
            traceparent: row.get(5)?,
        })
    })
}

/// Events of the order that the notification service gave up on, as `<STREAM>/<aggregate>/<version>`.
pub fn given_up(log: &Connection, order: &str) -> Result<Vec<String>, StoreError> {
    let mut given_up = Vec::new();
    for stream in [order::STREAM, payment::STREAM] {
        // A dead letter is filed under `<stream>.<consumer>.<event>`; `0` comes right after `/`.
        let filed = format!("{stream}.{}.", notification::CONSUMER);
        let sql = "SELECT aggregate FROM messages INDEXED BY messages_by_aggregate
                   WHERE stream = 'DEAD_LETTERS' AND aggregate >= ?1 AND aggregate < ?2 ORDER BY aggregate";
        let range = [format!("{filed}{order}/"), format!("{filed}{order}0")];
        let letters: Vec<String> = all(log, sql, range, |row| row.get(0))?;
        let events = letters.iter().filter_map(|letter| letter.strip_prefix(&filed));
        given_up.extend(events.map(|event| format!("{stream}/{event}")));
    }
    Ok(given_up)
}

/// A copy of every stream that an audit reads, in a temporary file that goes with it.
///
/// # Errors
/// When the log cannot be read, or the copy not be written.
pub async fn copy(log: &dyn EventLog) -> Result<Connection, StoreError> {
    // SQLite's name for a file of its own that nobody else sees.
    let mut copy = Connection::open("")?;
    copy.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;")?;
    copy.execute_batch(sqlite::SCHEMA)?;
    for stream in [order::STREAM, payment::STREAM, inventory::STREAM, DEAD_LETTERS] {
        copy_stream(log, stream, &mut copy).await?;
    }
    Ok(copy)
}

/// Copies one stream into the table `messages`; answers its last sequence.
///
/// # Errors
/// When the log cannot be read, or the copy not be written.
pub async fn copy_stream(log: &dyn EventLog, stream: Stream, copy: &mut Connection) -> Result<i64, StoreError> {
    let mut after = 0;
    loop {
        let batch = log.scan(stream, after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(after) };
        after = last.sequence;
        write(copy, &batch)?;
    }
}

fn write(copy: &mut Connection, batch: &[Message]) -> Result<(), StoreError> {
    let tx = copy.transaction()?;
    {
        let mut insert = tx.prepare_cached("INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for Message { stream, sequence, event, .. } in batch {
            insert.execute(params![
                stream.name(),
                sequence,
                event.aggregate,
                event.version,
                event.kind,
                event.data,
                event.occurred_at.as_micros(),
                event.traceparent
            ])?;
        }
    }
    Ok(tx.commit()?)
}
