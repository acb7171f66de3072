//! The commands that come in batches, each a statement: what passes is updated or inserted, and the
//! answer names it.
//!
//! The ids come as `(SELECT $n)`: that hides from the planner how many there are, so that it plans once for
//! any number and not anew for each batch, which would take longer than the batch. What is said of those that
//! passed is looked up in a hash of their ids, `(… IN (…)) IS TRUE`: a join would go through all of them for each.
//!
//! The orders of a batch come sorted by id and are looked up one after the other, so they are locked in that order,
//! and two batches never wait for each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{OrderId, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::StoreError;
use store::gather::{Failed, Traced};
use store::postgres::{self, Kept, is_taken};
use tokio::time::Instant;
use uuid::Uuid;

use super::columns::{Attempts, Events, Statement};
use super::load_kept;
use crate::adapters::outbound::rows;
use crate::application::ports::{Commit, Created, NewOrder, News, Postpone, Stored};
use crate::domain::{Step, Tries};

/// So often a statement is made again that met another one of the same owner.
const MET_MAX: u32 = 3;

/// A command of which a statement takes many.
pub trait Command: Send + Sync + Sized + 'static {
    type Answer: Send + 'static;

    fn id(&self) -> OrderId;

    /// Writes all of them, no two about the same order and in the order of ids, each answered by itself;
    /// or none.
    fn write(
        kept: &Kept,
        batch: &[&Traced<Self>],
    ) -> impl Future<Output = Result<Vec<Result<Self::Answer, StoreError>>, Failed>> + Send;
}

/// Who is refused because of another's row is told so without the row.
fn failed(error: sqlx::Error) -> Failed {
    match is_taken(&error) {
        true => Failed::OneOfThem(StoreError::Conflict("somebody else has written this already".into())),
        false => postgres::failed(error),
    }
}

/// The attempts of the orders that passed, numbered on.
macro_rules! record {
    () => {
        "recorded AS (
             INSERT INTO saga_attempts (order_id, sequence, step, number, outcome, epoch, started_at, took_us, detail)
             SELECT a.order_id,
                    coalesce((SELECT max(sequence) FROM saga_attempts WHERE order_id = a.order_id), 0) + a.nth,
                    a.step, a.number, a.outcome, a.epoch, a.started_at, a.took_us, a.detail
             FROM unnest((SELECT $1::uuid[]), $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[],
                         $7::bigint[], $8::bigint[], $9::text[])
                  AS a (order_id, nth, step, number, outcome, epoch, started_at, took_us, detail)
             WHERE (a.order_id IN (SELECT id FROM passed)) IS TRUE)
         SELECT id FROM passed"
    };
}

/// The events of the orders that passed.
macro_rules! append {
    () => {
        "appended AS (
             INSERT INTO order_events (aggregate, version, kind, data, occurred_at, traceparent)
             SELECT e.order_id::text, e.version, e.kind, e.data, e.occurred_at, e.traceparent
             FROM unnest((SELECT $10::uuid[]), $11::bigint[], $12::text[], $13::text[], $14::bigint[], $15::text[])
                  AS e (order_id, version, kind, data, occurred_at, traceparent)
             WHERE (e.order_id IN (SELECT id FROM passed)) IS TRUE), "
    };
}

pub const CREATE: &str = concat!(
    "WITH passed AS (
         INSERT INTO orders (id, user_id, status, total_minor, currency, lines, fingerprint, version, due_at,
                             traceparent, created_at, updated_at)
         SELECT c.id, c.user_id, c.status, c.total_minor, c.currency, c.lines, c.fingerprint, 1, c.due_at,
                c.traceparent, c.at, c.at
         FROM unnest((SELECT $16::uuid[]), $17::uuid[], $18::text[], $19::bigint[], $20::text[], $21::text[],
                     $22::text[], $23::bigint[], $24::bigint[], $25::text[])
              AS c (id, user_id, status, total_minor, currency, lines, fingerprint, due_at, at, traceparent)
         ON CONFLICT (id) DO NOTHING RETURNING id), ",
    append!(),
    record!()
);

/// Fenced by version and epoch; leaves each order under the epoch after.
pub const COMMIT: &str = concat!(
    "WITH c AS (
         SELECT * FROM unnest((SELECT $16::uuid[]), $17::bigint[], $18::bigint[], $19::text[], $20::text[],
                              $21::bigint[], $22::boolean[], $23::bigint[], $24::bigint[], $25::bigint[])
              AS c (id, expected_version, epoch, status, cancel_reason, version, stock_committed, epoch_after, due_at, at)
     ), passed AS (
         UPDATE orders AS o
         SET status = c.status, cancel_reason = c.cancel_reason, version = c.version,
             stock_committed = c.stock_committed, epoch = c.epoch_after, attempt = 0, unknown = 0, broken = 0,
             unknown_step = NULL, due_at = c.due_at, updated_at = c.at
         FROM c
         WHERE o.id = c.id AND o.version = c.expected_version AND o.epoch = c.epoch
         RETURNING o.id), ",
    append!(),
    record!()
);

/// Fenced by the epoch.
pub const POSTPONE: &str = concat!(
    "WITH c AS (
         SELECT * FROM unnest((SELECT $10::uuid[]), $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
                              $15::text[], $16::bigint[])
              AS c (id, epoch, attempt, unknown, broken, unknown_step, due_at)
     ), passed AS (
         UPDATE orders AS o
         SET attempt = c.attempt, unknown = c.unknown, broken = c.broken, unknown_step = c.unknown_step,
             due_at = c.due_at
         FROM c
         WHERE o.id = c.id AND o.epoch = c.epoch
         RETURNING o.id), ",
    record!()
);

/// Makes due what waits for news of a step and has it; tells of each order whether it did, and how it stood.
pub const WAKE: &str = "
    WITH c AS (
        SELECT * FROM unnest((SELECT $1::uuid[]), $2::text[], $3::bigint[]) AS c (id, step, now)
    ), locked AS MATERIALIZED (
        SELECT o.id FROM orders AS o JOIN c ON c.id = o.id AND c.step = o.unknown_step
        WHERE o.due_at IS NOT NULL ORDER BY o.id FOR UPDATE OF o
    ), woken AS (
        UPDATE orders AS o SET due_at = least(o.due_at, c.now)
        FROM c JOIN locked USING (id)
        WHERE o.id = c.id AND o.unknown_step = c.step AND o.due_at IS NOT NULL
        RETURNING o.id
    )
    SELECT o.id, woken.id IS NOT NULL, o.status, o.due_at IS NOT NULL
    FROM c JOIN orders AS o ON o.id = c.id LEFT JOIN woken ON woken.id = c.id";

/// Runs the statement; answers which orders passed.
async fn passed<'q>(
    kept: &Kept,
    what: &'static str,
    statement: impl Fn() -> Statement<'q> + Send,
) -> Result<BTreeSet<OrderId>, Failed> {
    let mut met = 0;
    let rows = loop {
        match kept.write_if(what, statement(), |rows| !rows.is_empty()).await {
            Ok(rows) => break rows,
            // Another write of the same owner, waited for, has numbered its attempts meanwhile.
            Err(error) if met < MET_MAX && is_attempt_taken(&error) => met += 1,
            Err(error) => return Err(failed(error)),
        }
    };
    let ids = rows.iter().map(|row| Ok(OrderId::from_uuid(row.try_get(0)?)));
    ids.collect::<Result<_, sqlx::Error>>().map_err(failed)
}

fn is_attempt_taken(error: &sqlx::Error) -> bool {
    is_taken(error)
        && error.as_database_error().is_some_and(|refused| refused.constraint() == Some("saga_attempts_pkey"))
}

fn column<'a, C, T>(batch: &[&'a Traced<C>], of: impl Fn(&'a C) -> T) -> Vec<T> {
    batch.iter().map(|traced| of(&traced.command)).collect()
}

impl Command for NewOrder {
    type Answer = Created;

    fn id(&self) -> OrderId {
        self.id
    }

    async fn write(kept: &Kept, batch: &[&Traced<Self>]) -> Result<Vec<Result<Created, StoreError>>, Failed> {
        let (mut attempts, mut events) = (Attempts::default(), Events::default());
        let mut orders = Vec::with_capacity(batch.len());
        let mut lines = Vec::with_capacity(batch.len());
        for Traced { command: new, trace } in batch {
            let order = rows::begun(new)?;
            attempts.push(new.id, 1, &[rows::creation(new.at)]);
            let created = rows::encode(new.id, 0, std::slice::from_ref(&new.created), new.at)?;
            events.push(new.id, created, trace.as_ref());
            lines.push(rows::lines(&order)?);
            orders.push(order);
        }
        let made = passed(kept, "create_order", || {
            events
                .bind(attempts.bind(sqlx::query(CREATE)))
                .bind(column(batch, |new| *new.id.as_uuid()))
                .bind(orders.iter().map(|order| *order.user.as_uuid()).collect::<Vec<Uuid>>())
                .bind(orders.iter().map(|order| order.status.as_str()).collect::<Vec<_>>())
                .bind(orders.iter().map(|order| order.total.minor).collect::<Vec<i64>>())
                .bind(orders.iter().map(|order| order.total.currency.to_string()).collect::<Vec<_>>())
                .bind(&lines)
                .bind(column(batch, |new| new.fingerprint.as_str()))
                .bind(column(batch, |new| new.due_at.as_micros()))
                .bind(column(batch, |new| new.at.as_micros()))
                .bind(batch.iter().map(|traced| traced.trace.as_deref()).collect::<Vec<_>>())
        })
        .await?;
        let before: Vec<OrderId> =
            batch.iter().map(|traced| traced.command.id).filter(|id| !made.contains(id)).collect();
        let mut before = existing(kept, &before).await;
        let answers = orders.into_iter().zip(batch).map(|(order, traced)| match before.remove(&order.id) {
            Some(existed) => existed,
            None if made.contains(&order.id) => {
                let (traceparent, due_at) = (traced.trace.clone(), Some(traced.command.due_at));
                Ok(Created::New(Stored { order, epoch: 1, tries: Tries::default(), traceparent, due_at }))
            }
            None => Err(StoreError::Conflict(format!("order {} was there and is gone", order.id))),
        });
        Ok(answers.collect())
    }
}

/// The answers about orders whose ids were taken. That they cannot be read is nothing to those that were made.
async fn existing(kept: &Kept, ids: &[OrderId]) -> BTreeMap<OrderId, Result<Created, StoreError>> {
    if ids.is_empty() {
        return BTreeMap::new();
    }
    let read = match load_kept(kept, ids).await {
        Ok(read) => read,
        Err(error) => return ids.iter().map(|id| (*id, Err(error.clone()))).collect(),
    };
    let answers = read.into_iter().map(|read| {
        let fingerprint = read.fingerprint;
        (read.id, read.stored.map(|order| Created::Existed { order, fingerprint }))
    });
    answers.collect()
}

/// A commit, and the epoch that it leaves.
pub struct Moved {
    pub commit: Commit,
    pub epoch_after: i64,
}

impl Command for Moved {
    type Answer = ();

    fn id(&self) -> OrderId {
        self.commit.id
    }

    async fn write(kept: &Kept, batch: &[&Traced<Self>]) -> Result<Vec<Result<(), StoreError>>, Failed> {
        let (mut attempts, mut events) = (Attempts::default(), Events::default());
        for Traced { command: Moved { commit, .. }, trace } in batch {
            attempts.push(commit.id, commit.epoch, &commit.attempts);
            let appended = rows::encode(commit.id, commit.expected_version, &commit.events, commit.at)?;
            events.push(commit.id, appended, trace.as_ref());
        }
        let reason = |moved: &Self| moved.commit.order.cancel_reason.map(|reason| reason.as_str());
        let passed = passed(kept, "commit_order", || {
            events
                .bind(attempts.bind(sqlx::query(COMMIT)))
                .bind(column(batch, |moved| *moved.commit.id.as_uuid()))
                .bind(column(batch, |moved| moved.commit.expected_version))
                .bind(column(batch, |moved| moved.commit.epoch))
                .bind(column(batch, |moved| moved.commit.order.status.as_str()))
                .bind(column(batch, reason))
                .bind(column(batch, |moved| moved.commit.order.version))
                .bind(column(batch, |moved| moved.commit.order.stock_committed))
                .bind(column(batch, |moved| moved.epoch_after))
                .bind(column(batch, |moved| moved.commit.due_at.map(Timestamp::as_micros)))
                .bind(column(batch, |moved| moved.commit.at.as_micros()))
        })
        .await?;
        let answer = |moved: &Self| {
            if passed.contains(&moved.commit.id) { Ok(()) } else { Err(rows::overtaken(&moved.commit)) }
        };
        Ok(column(batch, answer))
    }
}

impl Command for Postpone {
    type Answer = ();

    fn id(&self) -> OrderId {
        self.id
    }

    async fn write(kept: &Kept, batch: &[&Traced<Self>]) -> Result<Vec<Result<(), StoreError>>, Failed> {
        let mut attempts = Attempts::default();
        for Traced { command: postpone, .. } in batch {
            attempts.push(postpone.id, postpone.epoch, &postpone.attempts);
        }
        let passed = passed(kept, "postpone_order", || {
            attempts
                .bind(sqlx::query(POSTPONE))
                .bind(column(batch, |postpone| *postpone.id.as_uuid()))
                .bind(column(batch, |postpone| postpone.epoch))
                .bind(column(batch, |postpone| i64::from(postpone.tries.attempts)))
                .bind(column(batch, |postpone| i64::from(postpone.tries.unknown)))
                .bind(column(batch, |postpone| i64::from(postpone.tries.broken)))
                .bind(column(batch, |postpone| postpone.unknown_step.map(|step| step.as_str())))
                .bind(column(batch, |postpone| postpone.due_at.as_micros()))
        })
        .await?;
        let answer = |one: &Self| if passed.contains(&one.id) { Ok(()) } else { Err(rows::not_its_owner(one.id)) };
        Ok(column(batch, answer))
    }
}

/// News of a step.
pub struct Wake {
    pub id: OrderId,
    pub step: Step,
    pub now: Timestamp,
}

impl Command for Wake {
    type Answer = News;

    fn id(&self) -> OrderId {
        self.id
    }

    async fn write(kept: &Kept, batch: &[&Traced<Self>]) -> Result<Vec<Result<News, StoreError>>, Failed> {
        let started = Instant::now();
        let query = sqlx::query(WAKE)
            .bind(column(batch, |wake| *wake.id.as_uuid()))
            .bind(column(batch, |wake| wake.step.as_str()))
            .bind(column(batch, |wake| wake.now.as_micros()));
        kept.db().writes("wake_order");
        let rows = kept.fetch_all(query).await.map_err(failed)?;
        let mut told = BTreeMap::new();
        for row in &rows {
            let (id, news) = news(row).map_err(failed)?;
            told.insert(id, news);
        }
        if told.values().any(|news| matches!(news, Ok(News::Awaited))) {
            kept.db().wrote("wake_order", started);
        }
        Ok(column(batch, |wake| told.get(&wake.id).cloned().unwrap_or(Ok(News::OfNoOrder))))
    }
}

fn news(row: &PgRow) -> Result<(OrderId, Result<News, StoreError>), sqlx::Error> {
    let (is_woken, status, is_due): (bool, &str, bool) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let news = if is_woken { Ok(News::Awaited) } else { rows::unawaited(status, is_due) };
    Ok((OrderId::from_uuid(row.try_get(0)?), news))
}
