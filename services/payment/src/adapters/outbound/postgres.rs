//! Payments and their outbox in PostgreSQL.
//!
//! A batch is two statements: one reads, then each command is decided in memory, and the other writes all of it.
//! Every change is an event with the version after the last one, so of two who decided on the same state one is
//! refused. Then, which takes another instance, the batch is a transaction that locks its orders first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use eventlog::Event;
use eventlog::outbox::postgres as outbox;
use kernel::OrderId;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _};
use store::gather::{Failed, Gather, Traced, Writer};
use store::postgres::{Db, Kept, failed};
use store::{Servers, StoreError};

use super::stored::{DATABASE, OUTBOX, Step, Stored, step};
use crate::application::ports::{Decided, Listing, PaymentStore};
use crate::domain::payment::{Command, Payment, Refusal, Terms};

pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_initial.sql"),
    include_str!("../../../migrations/postgres/0002_lighter_writes.sql"),
    include_str!("../../../migrations/postgres/0003_refunds_by_staff.sql"),
];
/// Identities as text, as every reader of [`Stored`] has them.
const COLUMNS: &str = "order_id::text, user_id::text, amount_minor, currency, state, acquirer_reference, reason, \
                       not_after, created_at, updated_at, refunded_by::text";

/// What one command of a batch is answered.
type Answered = Result<Decided, Refusal>;
type Statement<'q> = Query<'q, Postgres, PgArguments>;

pub struct PostgresPayments {
    gather: Gather<PaymentWriter>,
}

/// How often a batch that was overtaken is written under locks. Somebody who locks nothing can be faster even then,
/// about keys and states that no lock on a row holds.
const LOCKED_MAX: u32 = 3;

/// Writes batches of commands, decided in their order.
pub struct PaymentWriter {
    kept: Kept,
}

impl PostgresPayments {
    /// # Errors
    /// When the database cannot be opened.
    pub async fn open(servers: &Servers, metrics: &Metrics) -> Result<Self, StoreError> {
        let db = Arc::new(Db::open(servers, DATABASE, MIGRATIONS, metrics).await?);
        let batch_max = db.batch_max();
        Ok(Self { gather: Gather::new(PaymentWriter { kept: Kept::new(db) }, batch_max, metrics) })
    }

    /// The database, for the outbox that stands in it.
    pub fn db(&self) -> Arc<Db> {
        self.gather.writer().kept.db().clone()
    }

    fn pool(&self) -> &PgPool {
        self.gather.writer().kept.db().pool()
    }
}

fn read(row: &PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        order: row.try_get(0)?,
        user: row.try_get(1)?,
        amount_minor: row.try_get(2)?,
        currency: row.try_get(3)?,
        state: row.try_get(4)?,
        reference: row.try_get(5)?,
        reason: row.try_get(6)?,
        not_after: row.try_get(7)?,
        created_at: row.try_get(8)?,
        updated_at: row.try_get(9)?,
        refunded_by: row.try_get(10)?,
    })
}

/// Where an order stands within a batch.
#[derive(Default)]
struct Account {
    payment: Option<Payment>,
    /// Of its last event; 0 if there is none.
    version: i64,
    changed: bool,
}

/// Nobody else decides about these orders before the transaction ends. The orders are sorted, so that no
/// two batches wait for each other; what does not exist yet can only be locked by its name.
async fn lock(tx: &mut PgConnection, orders: &BTreeSet<OrderId>) -> Result<(), StoreError> {
    let keys: Vec<String> = orders.iter().map(OrderId::to_string).collect();
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest($1::text[]) AS key";
    sqlx::query(sql).bind(keys).execute(tx).await?;
    Ok(())
}

/// Reads the payments of these orders that exist. Under locks it is a statement after [`lock`]'s, and so sees what
/// was committed while that one waited.
fn load(orders: &BTreeSet<OrderId>) -> Statement<'static> {
    let sql = format!(
        "SELECT {COLUMNS}, (SELECT max(version) FROM {OUTBOX} WHERE aggregate = order_id::text)
         FROM payments WHERE order_id = ANY($1)"
    );
    sqlx::query(AssertSqlSafe(sql)).bind(orders.iter().map(|order| *order.as_uuid()).collect::<Vec<_>>())
}

fn accounts(rows: &[PgRow]) -> Result<BTreeMap<OrderId, Account>, StoreError> {
    let account = |row: &PgRow| {
        let payment = read(row)?.into_payment()?;
        let version: Option<i64> = row.try_get(11)?;
        let version = version.ok_or_else(|| StoreError::Corrupt(format!("payment {} has no event", payment.order)))?;
        Ok((payment.order, Account { payment: Some(payment), version, changed: false }))
    };
    rows.iter().map(account).collect()
}

/// Each command in its turn; answers, and the events under their own traces.
fn decide(
    batch: &[Traced<Command>],
    accounts: &mut BTreeMap<OrderId, Account>,
) -> Result<(Vec<Answered>, Vec<Event>), StoreError> {
    let (mut events, mut answers) = (Vec::new(), Vec::with_capacity(batch.len()));
    for Traced { command, trace } in batch {
        let account = accounts.entry(command.order).or_default();
        let next_version = || Ok(account.version + 1);
        answers.push(step(account.payment.clone(), command, next_version)?.map(|Step { payment, rows }| {
            let changed = !rows.is_empty();
            account.version += i64::try_from(rows.len()).unwrap_or(i64::MAX);
            account.changed |= changed;
            account.payment = Some(payment.clone());
            events.extend(rows.into_iter().map(|row| Event { traceparent: trace.clone(), ..row }));
            Decided { payment, changed }
        }));
    }
    Ok((answers, events))
}

/// Writes what has changed, and the events. A version that exists is refused, and all with it.
fn save<'q>(accounts: &'q BTreeMap<OrderId, Account>, events: &'q [Event]) -> Statement<'q> {
    let sql = "WITH told AS (
                   INSERT INTO payment_events (aggregate, version, kind, data, occurred_at, traceparent)
                   SELECT * FROM unnest($12::text[], $13::bigint[], $14::text[], $15::text[], $16::bigint[], $17::text[])
               )
               INSERT INTO payments (order_id, user_id, amount_minor, currency, state, acquirer_reference, reason,
                                     not_after, created_at, updated_at, refunded_by)
               SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                                    $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::uuid[])
               ON CONFLICT (order_id) DO UPDATE
               SET state = excluded.state, acquirer_reference = excluded.acquirer_reference,
                   reason = excluded.reason, updated_at = excluded.updated_at, refunded_by = excluded.refunded_by";
    let changed = accounts.values().filter(|account| account.changed);
    let payments: Vec<&Payment> = changed.filter_map(|account| account.payment.as_ref()).collect();
    let terms: Vec<Option<Terms>> = payments.iter().map(|payment| payment.terms).collect();
    let text = |of: fn(&Payment) -> &str| payments.iter().map(|payment| of(payment)).collect::<Vec<&str>>();
    let number = |of: fn(&Payment) -> i64| payments.iter().map(|payment| of(payment)).collect::<Vec<i64>>();
    let term = |of: fn(&Terms) -> i64| terms.iter().map(|terms| terms.as_ref().map(of)).collect::<Vec<Option<i64>>>();
    let told = |of: fn(&Event) -> &str| events.iter().map(of).collect::<Vec<&str>>();
    sqlx::query(sql)
        .bind(payments.iter().map(|payment| *payment.order.as_uuid()).collect::<Vec<_>>())
        .bind(terms.iter().map(|terms| terms.map(|terms| *terms.user.as_uuid())).collect::<Vec<_>>())
        .bind(term(|terms| terms.amount.minor))
        .bind(terms.iter().map(|terms| terms.map(|terms| terms.amount.currency.to_string())).collect::<Vec<_>>())
        .bind(text(|payment| payment.state.as_str()))
        .bind(text(|payment| &payment.reference))
        .bind(text(|payment| &payment.reason))
        .bind(term(|terms| terms.not_after.as_micros()))
        .bind(number(|payment| payment.created_at.as_micros()))
        .bind(number(|payment| payment.updated_at.as_micros()))
        .bind(payments.iter().map(|payment| payment.refunded_by.map(|staff| *staff.as_uuid())).collect::<Vec<_>>())
        .bind(told(|event| &event.aggregate))
        .bind(events.iter().map(|event| event.version).collect::<Vec<_>>())
        .bind(told(|event| &event.kind))
        .bind(told(|event| &event.data))
        .bind(events.iter().map(|event| event.occurred_at.as_micros()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.traceparent.as_deref()).collect::<Vec<_>>())
}

#[async_trait]
impl Writer for PaymentWriter {
    type Command = Command;
    type Answer = Answered;
    type Key = ();

    fn name(&self) -> &'static str {
        DATABASE
    }

    fn key(&self, _: &Command) -> Option<()> {
        None
    }

    async fn write(&self, batch: &[Traced<Command>]) -> Result<Vec<Self::Answer>, Failed> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let name = first.command.action.name();
        let mixed = batch.iter().any(|other| other.command.action.name() != name);
        let what = if mixed { "payment_batch" } else { name };
        let orders = batch.iter().map(|traced| traced.command.order).collect();
        let mut written = self.write_at_once(batch, &orders, what).await;
        for _ in 0..LOCKED_MAX {
            match written {
                // Somebody else was faster.
                Err(Failed::OneOfThem(StoreError::Conflict(_))) => {
                    written = self.write_locked(batch, &orders, what).await
                }
                _ => break,
            }
        }
        written
    }
}

impl PaymentWriter {
    /// `Conflict`, and nothing is written, when what was read was not so any more.
    async fn write_at_once(
        &self,
        batch: &[Traced<Command>],
        orders: &BTreeSet<OrderId>,
        what: &'static str,
    ) -> Result<Vec<Answered>, Failed> {
        let rows = self.kept.read(|| load(orders)).await.map_err(Failed::All)?;
        let mut accounts = accounts(&rows)?;
        let (answers, events) = decide(batch, &mut accounts)?;
        if !events.is_empty() {
            self.kept.write(what, save(&accounts, &events)).await.map_err(failed)?;
        }
        Ok(answers)
    }

    /// The locks are by key, so they hold for orders without a row as well.
    async fn write_locked(
        &self,
        batch: &[Traced<Command>],
        orders: &BTreeSet<OrderId>,
        what: &'static str,
    ) -> Result<Vec<Answered>, Failed> {
        let mut tx = self.kept.begin(what).await.map_err(Failed::All)?;
        lock(&mut tx, orders).await?;
        let mut accounts = accounts(&load(orders).fetch_all(&mut *tx).await.map_err(StoreError::from)?)?;
        let (answers, events) = decide(batch, &mut accounts)?;
        if events.is_empty() {
            tx.rollback().await?;
            return Ok(answers);
        }
        save(&accounts, &events).execute(&mut *tx).await.map_err(StoreError::from)?;
        tx.commit().await.map_err(Failed::All)?;
        Ok(answers)
    }
}

#[async_trait]
impl PaymentStore for PostgresPayments {
    async fn execute(&self, commands: &[Command]) -> Result<Vec<Result<Decided, Refusal>>, StoreError> {
        self.gather.submit_all(commands.iter().cloned()).await.into_iter().collect()
    }

    async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM payments WHERE order_id = $1");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(order.as_uuid()).fetch_optional(self.pool()).await?;
        row.map(|row| read(&row)?.into_payment()).transpose()
    }

    async fn history(&self, order: OrderId) -> Result<Vec<Event>, StoreError> {
        let mut connection = self.pool().acquire().await?;
        outbox::events_of(&mut connection, OUTBOX, &order.to_string()).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError> {
        // Two statements, so that each can use the index made for it.
        let of_user = if listing.user.is_some() { "user_id = $3 AND" } else { "$3::uuid IS NULL AND" };
        let sql = format!(
            "SELECT {COLUMNS} FROM payments WHERE {of_user} created_at > $1
             ORDER BY payments.created_at, payments.order_id LIMIT $2"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(listing.after_created.as_micros())
            .bind(i64::try_from(listing.limit).unwrap_or(i64::MAX))
            .bind(listing.user.as_ref().map(|user| *user.as_uuid()))
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| read(row)?.into_payment()).collect()
    }
}
