//! Payments and their outbox in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use eventlog::Event;
use eventlog::outbox::sqlite as outbox;
use kernel::OrderId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::{Db, Storage};

use super::stored::{DATABASE, OUTBOX, Step, Stored, step};
use crate::application::ports::{Decided, Listing, PaymentStore};
use crate::domain::payment::{Command, Payment, Refusal};

pub const MIGRATIONS: [&str; 2] = [
    include_str!("../../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../../migrations/sqlite/0002_refunds_by_staff.sql"),
];
const COLUMNS: &str = "order_id, user_id, amount_minor, currency, state, acquirer_reference, reason, not_after, \
                       created_at, updated_at, refunded_by";

pub struct SqlitePayments {
    db: Arc<Db>,
}

impl SqlitePayments {
    /// # Errors
    /// When the database cannot be opened.
    pub fn open(storage: &Storage, metrics: &Metrics) -> Result<Self, StoreError> {
        Ok(Self { db: Arc::new(Db::open(storage, DATABASE, &MIGRATIONS, metrics)?) })
    }

    /// The database, for the outbox that stands in it.
    pub fn db(&self) -> Arc<Db> {
        self.db.clone()
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        order: row.get(0)?,
        user: row.get(1)?,
        amount_minor: row.get(2)?,
        currency: row.get(3)?,
        state: row.get(4)?,
        reference: row.get(5)?,
        reason: row.get(6)?,
        not_after: row.get(7)?,
        created_at: row.get(8)?,
        updated_at: row.get(9)?,
        refunded_by: row.get(10)?,
    })
}

fn find(connection: &Connection, order: OrderId) -> Result<Option<Payment>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE order_id = ?1");
    let stored = connection.prepare_cached(&sql)?.query_row([order.to_string()], read).optional()?;
    stored.map(Stored::into_payment).transpose()
}

fn save(tx: &Connection, payment: &Payment) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO payments ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (order_id) DO UPDATE
         SET state = ?5, acquirer_reference = ?6, reason = ?7, updated_at = ?10, refunded_by = ?11"
    );
    let terms = payment.terms.as_ref();
    tx.prepare_cached(&sql)?.execute(params![
        payment.order.to_string(),
        terms.map(|terms| terms.user.to_string()),
        terms.map(|terms| terms.amount.minor),
        terms.map(|terms| terms.amount.currency.to_string()),
        payment.state.as_str(),
        payment.reference,
        payment.reason,
        terms.map(|terms| terms.not_after.as_micros()),
        payment.created_at.as_micros(),
        payment.updated_at.as_micros(),
        payment.refunded_by.map(|staff| staff.to_string()),
    ])?;
    Ok(())
}

/// The transaction holds the write lock from its beginning, so what is read here cannot change
/// before it is committed.
fn execute_one(tx: &Connection, command: &Command) -> Result<Result<Decided, Refusal>, StoreError> {
    let next_version = || outbox::next_version(tx, OUTBOX, &command.order.to_string());
    let Step { payment, rows } = match step(find(tx, command.order)?, command, next_version)? {
        Ok(step) => step,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let changed = !rows.is_empty();
    if changed {
        outbox::append(tx, OUTBOX, &rows)?;
        save(tx, &payment)?;
    }
    Ok(Ok(Decided { payment, changed }))
}

#[async_trait]
impl PaymentStore for SqlitePayments {
    async fn execute(&self, commands: &[Command]) -> Result<Vec<Result<Decided, Refusal>>, StoreError> {
        let what = commands.first().map_or("nothing", |command| command.action.name());
        self.db.write(what, |tx| commands.iter().map(|command| execute_one(tx, command)).collect()).await
    }

    async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError> {
        self.db.read(|connection| find(connection, order))
    }

    async fn history(&self, order: OrderId) -> Result<Vec<Event>, StoreError> {
        self.db.read(|connection| outbox::events_of(connection, OUTBOX, &order.to_string()))
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError> {
        // Two statements, so that each can use the index made for it.
        let of_user = if listing.user.is_some() { "user_id = ?3 AND" } else { "?3 IS NULL AND" };
        let sql = format!(
            "SELECT {COLUMNS} FROM payments WHERE {of_user} created_at > ?1 ORDER BY created_at, order_id LIMIT ?2"
        );
        let user = listing.user.map(|user| user.to_string());
        let limit = i64::try_from(listing.limit).unwrap_or(i64::MAX);
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![listing.after_created.as_micros(), limit, user], read)?;
            rows.map(|row| row?.into_payment()).collect()
        })
    }
}
