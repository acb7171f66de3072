//! The projection made anew: `orders_shadow`, which nothing else knows of until it is renamed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use eventlog::Event;
use eventlog::outbox::sqlite as outbox;
use kernel::Timestamp;
use rusqlite::{Connection, Row, params};
use store::StoreError;
use store::sqlite::Db;

use super::{EVENTS, SqliteOrders};
use crate::adapters::outbound::shadow::{self, Projected};
use crate::application::ports::{Disagreement, Folded, Projection, Rebuilt, Shadow};

const WRITE: &str = "
    INSERT INTO orders_shadow (id, user_id, status, cancel_reason, total_minor, currency, lines, fingerprint, version,
                               stock_committed, created_at, updated_at, due_at, epoch, attempt, unknown, broken,
                               unknown_step, traceparent)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, CASE WHEN ?13 THEN coalesce(o.due_at, ?15) END,
           coalesce(o.epoch, max(?15, coalesce((SELECT max(epoch) + 1 FROM saga_attempts WHERE order_id = ?1), 0))),
           coalesce(o.attempt, 0), coalesce(o.unknown, 0), coalesce(o.broken, 0), o.unknown_step,
           CASE WHEN o.id IS NULL THEN ?14 ELSE o.traceparent END
    FROM (SELECT 1) LEFT JOIN orders AS o ON o.id = ?1 WHERE true
    ON CONFLICT (id) DO UPDATE
    SET (status, cancel_reason, version, stock_committed, updated_at, due_at)
        = (excluded.status, excluded.cancel_reason, excluded.version, excluded.stock_committed, excluded.updated_at,
           excluded.due_at)
    WHERE excluded.version >= orders_shadow.version";

#[async_trait]
impl Projection for SqliteOrders {
    async fn begin(&self) -> Result<Box<dyn Shadow>, StoreError> {
        if self.rebuilding.swap(true, Ordering::AcqRel) {
            return Err(shadow::under_way());
        }
        let shadow = SqliteShadow { db: self.db.clone(), rebuilding: self.rebuilding.clone() };
        self.db.write_alone("begin_rebuild", |tx| {
            tx.execute_batch("DROP TABLE IF EXISTS orders_shadow")?;
            let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'orders'";
            let table: String = tx.query_row(sql, [], |row| row.get(0))?;
            // What stands before is the name, which a rename quotes.
            let columns = table.find('(').and_then(|at| table.get(at..)).unwrap_or_default();
            Ok::<_, StoreError>(tx.execute_batch(&format!("CREATE TABLE orders_shadow {columns}"))?)
        })?;
        Ok(Box::new(shadow))
    }
}

struct SqliteShadow {
    db: Arc<Db>,
    rebuilding: Arc<AtomicBool>,
}

impl Drop for SqliteShadow {
    fn drop(&mut self) {
        self.rebuilding.store(false, Ordering::Release);
    }
}

#[async_trait]
impl Shadow for SqliteShadow {
    async fn write(&mut self, orders: &[Folded], now: Timestamp) -> Result<(), StoreError> {
        if orders.is_empty() {
            return Ok(());
        }
        self.db.write_alone("write_shadow", |tx| write(tx, orders, now))
    }

    async fn disagreement(&mut self, before: Timestamp) -> Result<Disagreement, StoreError> {
        self.db.read(|connection| {
            let found =
                |row: &Row<'_>| Ok(Disagreement { behind: row.get(0)?, ahead: row.get(1)?, example: row.get(2)? });
            Ok(connection.query_row(shadow::DISAGREEMENT, [before.as_micros()], found)?)
        })
    }

    async fn swap(self: Box<Self>, sequence: i64, now: Timestamp) -> Result<Rebuilt, StoreError> {
        self.db.write_alone("swap_orders", |tx| {
            let moved: Vec<String> =
                tx.prepare(shadow::MOVED)?.query_map([sequence], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for id in moved {
                let events: Vec<Event> = outbox::events_of(tx, EVENTS, &id)?;
                write(tx, &shadow::folded(&events)?, now)?;
            }
            tx.execute(shadow::REFRESH, [now.as_micros()])?;
            let found = |row: &Row<'_>| {
                Ok(Rebuilt { orders: row.get(0)?, missing: row.get(1)?, differing: row.get(2)?, stray: row.get(3)? })
            };
            let rebuilt = tx.query_row(shadow::COMPARE, [], found)?;
            rename(tx)?;
            Ok(rebuilt)
        })
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        self.db.write_alone("end_rebuild", |tx| Ok(tx.execute_batch("DROP TABLE orders_shadow")?))
    }
}

fn write(connection: &Connection, orders: &[Folded], now: Timestamp) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(WRITE)?;
    for folded in orders {
        let row = Projected::of(folded)?;
        insert.execute(params![
            row.id.to_string(),
            row.user.to_string(),
            row.status,
            row.cancel_reason,
            row.total_minor,
            row.currency,
            row.lines,
            row.fingerprint,
            row.version,
            row.stock_committed,
            row.created_at,
            row.updated_at,
            row.is_due,
            row.traceparent,
            now.as_micros(),
        ])?;
    }
    Ok(())
}

/// The shadow takes the name of the table. The indices went with the table and are made as they were.
fn rename(connection: &Connection) -> Result<(), StoreError> {
    let sql =
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'orders' AND sql IS NOT NULL ORDER BY name";
    let indices: Vec<String> = connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    connection.execute_batch("DROP TABLE orders; ALTER TABLE orders_shadow RENAME TO orders")?;
    for index in indices {
        connection.execute_batch(&index)?;
    }
    Ok(())
}
