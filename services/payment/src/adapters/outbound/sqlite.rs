//! Payments and their outbox in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::metrics::Metrics;
use chassis::sqlite::{Db, Storage, outbox};
use kernel::{Money, OrderId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::application::ports::{Decided, Listing, PaymentStore};
use crate::domain::payment::{Command, Event, Payment, Refusal, Terms, decide};

/// The name of this service's database.
pub const DATABASE: &str = "payment_db";
/// The outbox table in it.
pub const OUTBOX: &str = "payment_events";
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];
const COLUMNS: &str = "order_id, user_id, amount_minor, currency, state, acquirer_reference, reason, not_after, \
                       created_at, updated_at";

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

/// A row as SQLite gives it, before it is believed.
struct Stored {
    order: String,
    user: Option<String>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    state: String,
    reference: String,
    reason: String,
    not_after: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
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
        })
    }

    fn into_payment(self) -> Result<Payment, StoreError> {
        let corrupt = |what: String| StoreError::Corrupt(format!("payment {}: {what}", self.order));
        let terms = match (&self.user, self.amount_minor, &self.currency, self.not_after) {
            (Some(user), Some(minor), Some(currency), Some(not_after)) => Some(Terms {
                user: user.parse().map_err(|error| corrupt(format!("{error}")))?,
                amount: Money::new(minor, currency.parse().map_err(|error| corrupt(format!("{error}")))?),
                not_after: Timestamp::from_micros(not_after),
            }),
            _ => None,
        };
        Ok(Payment {
            order: self.order.parse().map_err(|error| corrupt(format!("{error}")))?,
            terms,
            state: self.state.parse().map_err(&corrupt)?,
            reference: self.reference,
            reason: self.reason,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}

fn find(connection: &Connection, order: OrderId) -> Result<Option<Payment>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE order_id = ?1");
    let stored = connection.prepare_cached(&sql)?.query_row([order.to_string()], Stored::read).optional()?;
    stored.map(Stored::into_payment).transpose()
}

fn save(tx: &Transaction<'_>, payment: &Payment) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO payments ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (order_id) DO UPDATE SET state = ?5, acquirer_reference = ?6, reason = ?7, updated_at = ?10"
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
    ])?;
    Ok(())
}

fn outbox_row(order: OrderId, version: i64, event: &Event) -> Result<chassis::events::Event, StoreError> {
    Ok(chassis::events::Event {
        aggregate: order.to_string(),
        version,
        kind: event.kind.as_str().to_owned(),
        data: serde_json::to_string(&event.facts)?,
        occurred_at: event.at,
        traceparent: None,
    })
}

/// The transaction holds the write lock from its beginning, so what is read here cannot change
/// before it is committed.
fn execute_one(tx: &Transaction<'_>, command: &Command) -> Result<Result<Decided, Refusal>, StoreError> {
    let order = command.order;
    let mut payment = find(tx, order)?;
    let events = match decide(payment.as_ref(), command) {
        Ok(events) => events,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !events.is_empty() {
        let first = outbox::next_version(tx, OUTBOX, &order.to_string())?;
        let mut rows = Vec::with_capacity(events.len());
        for (version, event) in (first..).zip(&events) {
            let next = Payment::apply(payment.as_ref(), event);
            payment = Some(next.map_err(|error| StoreError::Corrupt(format!("payment {order}: {error}")))?);
            rows.push(outbox_row(order, version, event)?);
        }
        outbox::append(tx, OUTBOX, &rows)?;
        if let Some(payment) = &payment {
            save(tx, payment)?;
        }
    }
    Ok(payment.map(|payment| Decided { payment, changed: !events.is_empty() }).ok_or(Refusal::Unknown))
}

#[async_trait]
impl PaymentStore for SqlitePayments {
    async fn execute(&self, commands: &[Command]) -> Result<Vec<Result<Decided, Refusal>>, StoreError> {
        let what = commands.first().map_or("nothing", |command| command.action.name());
        self.db.write(what, |tx| commands.iter().map(|command| execute_one(tx, command)).collect())
    }

    async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError> {
        self.db.read(|connection| find(connection, order))
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError> {
        // Two statements, so that each can use the index made for it.
        let of_user = if listing.user.is_some() { "user_id = ?3 AND" } else { "?3 IS NULL AND" };
        let sql = format!(
            "SELECT {COLUMNS} FROM payments WHERE {of_user} created_at > ?1 ORDER BY created_at, order_id LIMIT ?2"
        );
        let user = listing.user.map(|user| user.to_string());
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows =
                statement.query_map(params![listing.after_created.as_micros(), listing.limit, user], Stored::read)?;
            rows.map(|row| row?.into_payment()).collect()
        })
    }
}
