//! Orders in PostgreSQL. Each write is one statement and with it one transaction: the rows that pass the
//! fence are updated, and the events and attempts of those alone are written.

mod columns;
mod commands;
mod rebuild;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use eventlog::Event;
use kernel::{OrderId, Timestamp, UserId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::StoreError;
use store::gather::{Failed, Gather, Traced, Writer};
use store::postgres::{Db, Kept};
use tokio::time::Instant;
use uuid::Uuid;

use super::rows::{self, parsed};
use crate::application::ports::{
    After, Attempt, Commit, Created, NewOrder, News, Orders, Postpone, Recorded, Stored, Stuck,
};
use crate::domain::{Order, Step, Tries};
use commands::{Command, Moved, Wake};

pub use super::rows::{DATABASE, EVENTS};

pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_initial.sql"),
    include_str!("../../../migrations/postgres/0002_lighter_writes.sql"),
];

/// What [`loaded`] reads: an order's guards, and its events.
macro_rules! order_and_events {
    () => {
        "SELECT o.id, o.epoch, o.attempt, o.unknown, o.broken, o.traceparent, o.fingerprint,
                e.version, e.kind, e.data, e.occurred_at, o.due_at "
    };
}

/// Of any number of orders by one plan, see [`commands`].
const LOAD: &str = concat!(
    order_and_events!(),
    "FROM unnest((SELECT $1::uuid[])) AS wanted (id)
     JOIN orders AS o ON o.id = wanted.id
     LEFT JOIN order_events AS e ON e.aggregate = o.id::text
     ORDER BY o.id, e.version"
);
const LIST_OF_USER: &str = concat!(
    order_and_events!(),
    "FROM (SELECT * FROM orders WHERE user_id = $4 AND (created_at, id) > ($1, $2)
           ORDER BY created_at, id LIMIT $3) AS o
     LEFT JOIN order_events AS e ON e.aggregate = o.id::text
     ORDER BY o.created_at, o.id, e.version"
);
const LIST_OF_ALL: &str = concat!(
    order_and_events!(),
    "FROM (SELECT * FROM orders WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3) AS o
     LEFT JOIN order_events AS e ON e.aggregate = o.id::text
     ORDER BY o.created_at, o.id, e.version"
);

/// Driven from now on: news about its step is no reason for somebody else to claim it as well. What
/// another instance is claiming at this moment is passed over.
const CLAIM: &str = "
    WITH due AS (SELECT id FROM orders WHERE due_at <= $1 ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)
    UPDATE orders AS o SET epoch = o.epoch + 1, due_at = $2, unknown_step = NULL FROM due WHERE o.id = due.id
    RETURNING o.id, o.epoch";

/// The last attempt of an order says what it is stuck in. Each half has an index of its own. A forward step
/// is never in it: it is given up in the end, and the order gets on by itself.
const STUCK: &str = "
    SELECT o.id, o.user_id, o.status, last.step, last.number, last.detail, o.updated_at, o.due_at
    FROM (SELECT id, operator_since AS updated_at FROM orders
          WHERE operator_since IS NOT NULL AND (operator_since, id) > ($2, $3)
          UNION ALL
          SELECT id, updated_at FROM orders
          WHERE unknown > 0 AND unknown >= $1 AND status IN ('CANCELLING', 'CONFIRMED') AND due_at IS NOT NULL
            AND (updated_at, id) > ($2, $3)
          ORDER BY updated_at, id LIMIT $4) AS found
    JOIN orders AS o ON o.id = found.id
    JOIN saga_attempts AS last ON last.order_id = found.id
         AND last.sequence = (SELECT max(sequence) FROM saga_attempts WHERE order_id = found.id)
    ORDER BY found.updated_at, found.id";

/// The statements of every order's way, how many parameters each has, and a name; for looking at their plans.
pub const HOT: &[(&str, &str, usize)] = &[
    ("create", commands::CREATE, 25),
    ("commit", commands::COMMIT, 25),
    ("postpone", commands::POSTPONE, 16),
    ("wake", commands::WAKE, 3),
    ("load", LOAD, 1),
    ("list_of_user", LIST_OF_USER, 4),
    ("claim", CLAIM, 3),
    ("stuck", STUCK, 4),
];

pub struct PostgresOrders {
    db: Arc<Db>,
    creations: Gather<OrderWriter<NewOrder>>,
    commits: Gather<OrderWriter<Moved>>,
    postponements: Gather<OrderWriter<Postpone>>,
    news: Gather<OrderWriter<Wake>>,
}

/// Writes batches of one kind of command, each one statement.
pub struct OrderWriter<C> {
    kept: Kept,
    name: &'static str,
    kind: PhantomData<fn(C)>,
}

impl<C: Command> OrderWriter<C> {
    fn gather(db: &Arc<Db>, name: &'static str, metrics: &Metrics) -> Gather<Self> {
        Gather::new(Self { kept: Kept::new(db.clone()), name, kind: PhantomData }, db.batch_max(), metrics)
    }
}

#[async_trait]
impl<C: Command> Writer for OrderWriter<C> {
    type Command = C;
    type Answer = Result<C::Answer, StoreError>;
    type Key = OrderId;

    fn name(&self) -> &'static str {
        self.name
    }

    /// Commands about the same order come one after the other.
    fn key(&self, command: &C) -> Option<OrderId> {
        Some(command.id())
    }

    async fn write(&self, batch: &[Traced<C>]) -> Result<Vec<Self::Answer>, Failed> {
        let mut by_id: Vec<(usize, &Traced<C>)> = batch.iter().enumerate().collect();
        by_id.sort_by_key(|(_, traced)| traced.command.id());
        let (places, commands): (Vec<usize>, Vec<&Traced<C>>) = by_id.into_iter().unzip();
        let answers = C::write(&self.kept, &commands).await?;
        let answers: BTreeMap<usize, Self::Answer> = places.into_iter().zip(answers).collect();
        Ok(answers.into_values().collect())
    }
}

impl PostgresOrders {
    pub fn new(db: Arc<Db>, metrics: &Metrics) -> Self {
        let creations = OrderWriter::gather(&db, "order_db.create", metrics);
        let commits = OrderWriter::gather(&db, "order_db.commit", metrics);
        let postponements = OrderWriter::gather(&db, "order_db.postpone", metrics);
        let news = OrderWriter::gather(&db, "order_db.wake", metrics);
        Self { db, creations, commits, postponements, news }
    }

    /// A write of one statement that answers how many rows it changed.
    async fn changed(
        &self,
        what: &'static str,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<u64, StoreError> {
        let started = Instant::now();
        self.db.writes(what);
        let changed = query.execute(self.db.pool()).await?.rows_affected();
        if changed > 0 {
            self.db.wrote(what, started);
        }
        Ok(changed)
    }
}

fn answered<T>(answers: Vec<Result<Result<T, StoreError>, StoreError>>) -> Vec<Result<T, StoreError>> {
    answers.into_iter().map(Result::flatten).collect()
}

/// An order as read, or why it cannot be.
struct Read {
    id: OrderId,
    fingerprint: String,
    stored: Result<Stored, StoreError>,
}

/// The orders of these rows, in their order: a row for each event, those of an order beside each other.
fn loaded(rows: &[PgRow]) -> Result<Vec<Read>, StoreError> {
    let mut read = Vec::new();
    for of_one in rows.chunk_by(|one, other| one.get::<Uuid, _>(0) == other.get::<Uuid, _>(0)) {
        let Some(first) = of_one.first() else { continue };
        let id = OrderId::from_uuid(first.try_get(0)?);
        let events: Vec<Event> =
            of_one.iter().filter_map(|row| event(id, row).transpose()).collect::<Result<_, _>>()?;
        let tries = Tries { attempts: count(first, 2)?, unknown: count(first, 3)?, broken: count(first, 4)? };
        let (epoch, traceparent) = (first.try_get(1)?, first.try_get(5)?);
        let due_at: Option<i64> = first.try_get(11)?;
        let due_at = due_at.map(Timestamp::from_micros);
        let stored = rows::fold(id, &events).map(|order| Stored { order, epoch, tries, traceparent, due_at });
        read.push(Read { id, fingerprint: first.try_get(6)?, stored });
    }
    Ok(read)
}

/// `None` in the only row of an order that has no events.
fn event(id: OrderId, row: &PgRow) -> Result<Option<Event>, StoreError> {
    let Some(version) = row.try_get(7)? else { return Ok(None) };
    Ok(Some(Event {
        aggregate: id.to_string(),
        version,
        kind: row.try_get(8)?,
        data: row.try_get(9)?,
        occurred_at: Timestamp::from_micros(row.try_get(10)?),
        traceparent: None,
    }))
}

fn count(row: &PgRow, column: usize) -> Result<u32, StoreError> {
    let number: i64 = row.try_get(column)?;
    u32::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} is not a number of attempts")))
}

/// As [`load`], on a writer's own connection.
async fn load_kept(kept: &Kept, ids: &[OrderId]) -> Result<Vec<Read>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| *id.as_uuid()).collect();
    loaded(&kept.fetch_all(sqlx::query(LOAD).bind(ids)).await?)
}

async fn load(db: &Db, ids: &[OrderId]) -> Result<Vec<Read>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| *id.as_uuid()).collect();
    loaded(&sqlx::query(LOAD).bind(ids).fetch_all(db.pool()).await?)
}

fn recorded(row: &PgRow) -> Result<Recorded, StoreError> {
    let took: Option<i64> = row.try_get(6)?;
    let attempt = Attempt {
        step: parsed(row.try_get(1)?)?,
        number: count(row, 2)?,
        outcome: parsed(row.try_get(3)?)?,
        started_at: Timestamp::from_micros(row.try_get(5)?),
        took: took.map(|micros| Duration::from_micros(micros.unsigned_abs())),
        detail: row.try_get(7)?,
    };
    Ok(Recorded { sequence: row.try_get(0)?, epoch: row.try_get(4)?, attempt })
}

fn stuck(row: &PgRow) -> Result<Stuck, StoreError> {
    let due_at: Option<i64> = row.try_get(7)?;
    Ok(Stuck {
        id: OrderId::from_uuid(row.try_get(0)?),
        user: UserId::from_uuid(row.try_get(1)?),
        status: parsed(row.try_get(2)?)?,
        step: parsed(row.try_get(3)?)?,
        attempts: count(row, 4)?,
        detail: row.try_get(5)?,
        since: Timestamp::from_micros(row.try_get(6)?),
        due_at: due_at.map(Timestamp::from_micros),
    })
}

/// See [`rows::behind`]: no order has the nil id.
fn behind(after: After) -> (i64, Uuid) {
    let (at, id) = rows::behind(after);
    (at, id.map_or(Uuid::nil(), |id| *id.as_uuid()))
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

#[async_trait]
impl Orders for PostgresOrders {
    async fn create(&self, batch: &[NewOrder]) -> Vec<Result<Created, StoreError>> {
        answered(self.creations.submit_all(batch.iter().cloned()).await)
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StoreError>> {
        let moved = batch.iter().map(|commit| Moved { commit: commit.clone(), epoch_after: commit.epoch });
        answered(self.commits.submit_all(moved).await)
    }

    async fn take_over(&self, commit: &Commit) -> Result<i64, StoreError> {
        let epoch_after = commit.epoch + 1;
        self.commits.submit(Moved { commit: commit.clone(), epoch_after }).await??;
        Ok(epoch_after)
    }

    async fn postpone(&self, batch: &[Postpone]) -> Vec<Result<(), StoreError>> {
        answered(self.postponements.submit_all(batch.iter().cloned()).await)
    }

    async fn claim_due(&self, now: Timestamp, lease: Duration, most: usize) -> Result<Vec<Stored>, StoreError> {
        let started = Instant::now();
        let query = sqlx::query(CLAIM).bind(now.as_micros()).bind(now.plus(lease).as_micros()).bind(limit(most));
        self.db.writes("claim_due");
        let rows = query.fetch_all(self.db.pool()).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.db.wrote("claim_due", started);
        let epochs = rows.iter().map(|row| Ok((OrderId::from_uuid(row.try_get(0)?), row.try_get(1)?)));
        let epochs: BTreeMap<OrderId, i64> = epochs.collect::<Result<_, StoreError>>()?;
        let ids: Vec<OrderId> = epochs.keys().copied().collect();
        let mut claimed = Vec::with_capacity(ids.len());
        for Read { id, stored, .. } in load(&self.db, &ids).await? {
            match stored {
                // Of another epoch: taken over since it was claimed.
                Ok(stored) => claimed.extend(Some(stored).filter(|stored| epochs.get(&id) == Some(&stored.epoch))),
                Err(error) => rows::not_to_be_driven(id, &error),
            }
        }
        Ok(claimed)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT due_at FROM orders WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1";
        let due: Option<i64> = sqlx::query_scalar(sql).fetch_optional(self.db.pool()).await?;
        Ok(due.map(Timestamp::from_micros))
    }

    async fn wake(&self, id: OrderId, step: Step, now: Timestamp) -> Result<News, StoreError> {
        self.news.submit(Wake { id, step, now }).await?
    }

    async fn get(&self, id: OrderId) -> Result<Option<Stored>, StoreError> {
        load(&self.db, &[id]).await?.pop().map(|read| read.stored).transpose()
    }

    async fn list(&self, user: Option<UserId>, after: After, most: usize) -> Result<Vec<Order>, StoreError> {
        let (at, id) = behind(after);
        let query = match user {
            Some(user) => sqlx::query(LIST_OF_USER).bind(at).bind(id).bind(limit(most)).bind(user.as_uuid()),
            None => sqlx::query(LIST_OF_ALL).bind(at).bind(id).bind(limit(most)),
        };
        let read = loaded(&query.fetch_all(self.db.pool()).await?)?;
        read.into_iter().map(|read| Ok(read.stored?.order)).collect()
    }

    async fn stuck(&self, unknown_min: u32, after: After, most: usize) -> Result<Vec<Stuck>, StoreError> {
        let (at, id) = behind(after);
        let query = sqlx::query(STUCK).bind(i64::from(unknown_min)).bind(at).bind(id).bind(limit(most));
        query.fetch_all(self.db.pool()).await?.iter().map(stuck).collect()
    }

    async fn retry(&self, id: OrderId, epoch: i64, now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE orders SET attempt = 0, unknown = 0, broken = 0, due_at = $3, epoch = epoch + 1
                   WHERE id = $1 AND epoch = $2 AND due_at IS NOT NULL";
        let query = sqlx::query(sql).bind(id.as_uuid()).bind(epoch).bind(now.as_micros());
        match self.changed("retry_order", query).await? {
            0 => Err(rows::not_to_retry(id)),
            _ => Ok(()),
        }
    }

    async fn attempts(&self, id: OrderId, after: i64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        let sql = "SELECT sequence, step, number, outcome, epoch, started_at, took_us, detail FROM saga_attempts
                   WHERE order_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
        let query = sqlx::query(sql).bind(id.as_uuid()).bind(after).bind(limit(most));
        query.fetch_all(self.db.pool()).await?.iter().map(recorded).collect()
    }
}
