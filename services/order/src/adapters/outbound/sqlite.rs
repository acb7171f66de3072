//! Orders in SQLite.

mod rebuild;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::outbox::sqlite as outbox;
use kernel::{OrderId, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::Db;

use super::rows::{self, parsed};
#[cfg(feature = "planted-bugs")]
use crate::application::planted::PlantedBug;
use crate::application::ports::{
    After, Attempt, Commit, Created, NewOrder, News, Orders, Postpone, Recorded, Stored, Stuck,
};
use crate::domain::{Order, OrderEvent, Step, Tries};

pub use super::rows::{DATABASE, EVENTS, decode};

pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../../migrations/sqlite/0002_recovery.sql"),
];

/// The last attempt of an order says what it is stuck in. Each half has an index of its own. A forward step
/// is never in it: it is given up in the end, and the order gets on by itself.
const STUCK: &str = "
    SELECT found.id, orders.user_id, orders.status, last.step, last.number, last.detail, orders.updated_at, orders.due_at
    FROM (SELECT id, updated_at FROM orders WHERE status = 'NEEDS_OPERATOR' AND (updated_at, id) > (?2, ?3)
          UNION ALL
          SELECT id, updated_at FROM orders
          WHERE unknown > 0 AND unknown >= ?1 AND status IN ('CANCELLING', 'CONFIRMED') AND due_at IS NOT NULL
            AND (updated_at, id) > (?2, ?3)
          ORDER BY updated_at, id LIMIT ?4) AS found
    JOIN orders ON orders.id = found.id
    JOIN saga_attempts AS last ON last.order_id = found.id
         AND last.sequence = (SELECT max(sequence) FROM saga_attempts WHERE order_id = found.id)
    ORDER BY found.updated_at, found.id";

pub struct SqliteOrders {
    db: Arc<Db>,
    /// Whether the projection is being made anew; the file is written by this process alone.
    rebuilding: Arc<AtomicBool>,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

impl SqliteOrders {
    pub fn new(db: Arc<Db>) -> Self {
        Self {
            db,
            rebuilding: Arc::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub fn with_planted_bug(self, planted_bug: Option<PlantedBug>) -> Self {
        Self { planted_bug, ..self }
    }

    /// Together; if that fails, each alone, so that a bad one spoils no other.
    async fn each<C: Sync, T: Send>(
        &self,
        what: &'static str,
        batch: &[C],
        write: impl Fn(&Connection, &C) -> Result<T, StoreError> + Send + Sync,
    ) -> Vec<Result<T, StoreError>> {
        if let [only] = batch {
            return vec![self.db.write(what, |tx| write(tx, only)).await];
        }
        let all = |tx: &Connection| batch.iter().map(|one| write(tx, one)).collect::<Result<Vec<T>, StoreError>>();
        if let Ok(answers) = self.db.write(what, all).await {
            return answers.into_iter().map(Ok).collect();
        }
        let mut answers = Vec::with_capacity(batch.len());
        for one in batch {
            answers.push(self.db.write(what, |tx| write(tx, one)).await);
        }
        answers
    }
}

fn append(tx: &Connection, id: OrderId, after: i64, events: &[OrderEvent], at: Timestamp) -> Result<(), StoreError> {
    outbox::append(tx, EVENTS, &rows::encode(id, after, events, at)?)
}

/// An order from its own events; the guards from its row.
fn load(connection: &Connection, id: OrderId) -> Result<Option<Stored>, StoreError> {
    let sql = "SELECT epoch, attempt, unknown, broken, traceparent, due_at FROM orders WHERE id = ?1";
    let guards = |row: &Row<'_>| {
        let tries = Tries { attempts: row.get(1)?, unknown: row.get(2)?, broken: row.get(3)? };
        let due_at: Option<i64> = row.get(5)?;
        Ok((row.get(0)?, tries, row.get(4)?, due_at.map(Timestamp::from_micros)))
    };
    let row = connection.prepare_cached(sql)?.query_row([id.to_string()], guards).optional()?;
    let Some((epoch, tries, traceparent, due_at)) = row else { return Ok(None) };
    let events = outbox::events_of(connection, EVENTS, &id.to_string())?;
    Ok(Some(Stored { order: rows::fold(id, &events)?, epoch, tries, traceparent, due_at }))
}

fn insert(tx: &Connection, new: &NewOrder) -> Result<Created, StoreError> {
    let (order, traceparent) = (rows::begun(new)?, rows::traceparent());
    let sql = "INSERT INTO orders (id, user_id, status, total_minor, currency, lines, fingerprint, version,
                                   due_at, traceparent, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9, ?10, ?10) ON CONFLICT (id) DO NOTHING";
    let inserted = tx.prepare_cached(sql)?.execute(params![
        new.id.to_string(),
        order.user.to_string(),
        order.status.as_str(),
        order.total.minor,
        order.total.currency.as_str(),
        rows::lines(&order)?,
        new.fingerprint,
        new.due_at.as_micros(),
        traceparent,
        new.at.as_micros(),
    ])?;
    if inserted == 0 {
        let order = load(tx, new.id)?.ok_or_else(|| StoreError::Corrupt(format!("order {} has no events", new.id)))?;
        let fingerprint = tx
            .prepare_cached("SELECT fingerprint FROM orders WHERE id = ?1")?
            .query_row([new.id.to_string()], |row| row.get(0))?;
        return Ok(Created::Existed { order, fingerprint });
    }
    append(tx, new.id, 0, std::slice::from_ref(&new.created), new.at)?;
    record(tx, new.id, 1, &[rows::creation(new.at)])?;
    Ok(Created::New(Stored { order, epoch: 1, tries: Tries::default(), traceparent, due_at: Some(new.due_at) }))
}

fn record(tx: &Connection, id: OrderId, epoch: i64, attempts: &[Attempt]) -> Result<(), StoreError> {
    let sql = "INSERT INTO saga_attempts
               SELECT ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM saga_attempts WHERE order_id = ?1";
    let mut insert = tx.prepare_cached(sql)?;
    for attempt in attempts {
        insert.execute(params![
            id.to_string(),
            attempt.step.as_str(),
            attempt.number,
            attempt.outcome.as_str(),
            epoch,
            attempt.started_at.as_micros(),
            attempt.took.map(rows::micros),
            attempt.detail,
        ])?;
    }
    Ok(())
}

/// Fenced by version and epoch; leaves the order under `epoch_after`.
fn commit(tx: &Connection, commit: &Commit, epoch_after: i64) -> Result<(), StoreError> {
    let sql = "UPDATE orders SET status = ?4, cancel_reason = ?5, version = ?6, stock_committed = ?7, epoch = ?8,
                                 attempt = 0, unknown = 0, broken = 0, unknown_step = NULL, due_at = ?9,
                                 updated_at = ?10
               WHERE id = ?1 AND version = ?2 AND epoch = ?3";
    let order = &commit.order;
    let changed = tx.prepare_cached(sql)?.execute(params![
        commit.id.to_string(),
        commit.expected_version,
        commit.epoch,
        order.status.as_str(),
        order.cancel_reason.map(|reason| reason.as_str()),
        order.version,
        order.stock_committed,
        epoch_after,
        commit.due_at.map(Timestamp::as_micros),
        commit.at.as_micros(),
    ])?;
    if changed == 0 {
        return Err(rows::overtaken(commit));
    }
    append(tx, commit.id, commit.expected_version, &commit.events, commit.at)?;
    record(tx, commit.id, commit.epoch, &commit.attempts)
}

fn postpone(tx: &Connection, postpone: &Postpone) -> Result<(), StoreError> {
    let sql = "UPDATE orders SET attempt = ?3, unknown = ?4, broken = ?5, unknown_step = ?6, due_at = ?7
               WHERE id = ?1 AND epoch = ?2";
    let changed = tx.prepare_cached(sql)?.execute(params![
        postpone.id.to_string(),
        postpone.epoch,
        postpone.tries.attempts,
        postpone.tries.unknown,
        postpone.tries.broken,
        postpone.unknown_step.map(|step| step.as_str()),
        postpone.due_at.as_micros(),
    ])?;
    if changed == 0 {
        return Err(rows::not_its_owner(postpone.id));
    }
    record(tx, postpone.id, postpone.epoch, &postpone.attempts)
}

fn recorded(row: &Row<'_>) -> Result<Recorded, StoreError> {
    let text = |column| row.get::<_, String>(column);
    let took: Option<u64> = row.get(6)?;
    let attempt = Attempt {
        step: parsed(&text(1)?)?,
        number: row.get(2)?,
        outcome: parsed(&text(3)?)?,
        started_at: Timestamp::from_micros(row.get(5)?),
        took: took.map(Duration::from_micros),
        detail: row.get(7)?,
    };
    Ok(Recorded { sequence: row.get(0)?, epoch: row.get(4)?, attempt })
}

fn stuck(row: &Row<'_>) -> Result<Stuck, StoreError> {
    let text = |column| row.get::<_, String>(column);
    let due_at: Option<i64> = row.get(7)?;
    Ok(Stuck {
        id: parsed(&text(0)?)?,
        user: parsed(&text(1)?)?,
        status: parsed(&text(2)?)?,
        step: parsed(&text(3)?)?,
        attempts: row.get(4)?,
        detail: row.get(5)?,
        since: Timestamp::from_micros(row.get(6)?),
        due_at: due_at.map(Timestamp::from_micros),
    })
}

/// See [`rows::behind`]: every id is greater than the empty text.
fn behind(after: After) -> (i64, String) {
    let (at, id) = rows::behind(after);
    (at, id.map(|id| id.to_string()).unwrap_or_default())
}

/// PLANTED BUGS: what guards a write is read just before it is compared, so that it always holds.
#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;

    fn is_planted(bug: Option<PlantedBug>) -> bool {
        matches!(bug, Some(PlantedBug::LastWriterWins | PlantedBug::IgnoreEpoch))
    }

    fn guards(tx: &Connection, id: OrderId) -> Result<(i64, i64), StoreError> {
        let sql = "SELECT version, epoch FROM orders WHERE id = ?1";
        Ok(tx.query_row(sql, [id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    pub(super) fn commit(tx: &Connection, bug: Option<PlantedBug>, one: &Commit) -> Result<Commit, StoreError> {
        let mut one = one.clone();
        if !is_planted(bug) {
            return Ok(one);
        }
        let (version, epoch) = guards(tx, one.id)?;
        one.epoch = epoch;
        if bug == Some(PlantedBug::LastWriterWins) {
            one.order.version += version - one.expected_version;
            one.expected_version = version;
        }
        Ok(one)
    }

    pub(super) fn postponement(
        tx: &Connection,
        bug: Option<PlantedBug>,
        one: &Postpone,
    ) -> Result<Postpone, StoreError> {
        let mut one = one.clone();
        if is_planted(bug) {
            one.epoch = guards(tx, one.id)?.1;
        }
        Ok(one)
    }
}

#[async_trait]
impl Orders for SqliteOrders {
    async fn create(&self, batch: &[NewOrder]) -> Vec<Result<Created, StoreError>> {
        self.each("create_order", batch, insert).await
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StoreError>> {
        self.each("commit_order", batch, |tx, one| {
            #[cfg(feature = "planted-bugs")]
            let one = &planted::commit(tx, self.planted_bug, one)?;
            commit(tx, one, one.epoch)
        })
        .await
    }

    async fn take_over(&self, taken: &Commit) -> Result<i64, StoreError> {
        let epoch = taken.epoch + 1;
        self.db.write("take_over", |tx| commit(tx, taken, epoch)).await?;
        Ok(epoch)
    }

    async fn postpone(&self, batch: &[Postpone]) -> Vec<Result<(), StoreError>> {
        self.each("postpone_order", batch, |tx, one| {
            #[cfg(feature = "planted-bugs")]
            let one = &planted::postponement(tx, self.planted_bug, one)?;
            postpone(tx, one)
        })
        .await
    }

    async fn claim_due(&self, now: Timestamp, lease: Duration, most: usize) -> Result<Vec<Stored>, StoreError> {
        let due: Option<Timestamp> = self.next_due().await?;
        if due.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        self.db.write_alone("claim_due", |tx| {
            // Driven from now on: news about its step is no reason for somebody else to claim it as well.
            let sql = "UPDATE orders SET epoch = epoch + 1, due_at = ?2, unknown_step = NULL WHERE id IN
                       (SELECT id FROM orders WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?3) RETURNING id";
            let lease_until = now.plus(lease).as_micros();
            let mut ids: Vec<String> = tx
                .prepare_cached(sql)?
                .query_map(params![now.as_micros(), lease_until, most], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            ids.sort();
            let mut claimed = Vec::with_capacity(ids.len());
            for id in &ids {
                let id = parsed(id)?;
                match load(tx, id) {
                    Ok(stored) => claimed.extend(stored),
                    Err(error @ StoreError::Corrupt(_)) => rows::not_to_be_driven(id, &error),
                    Err(error) => return Err(error),
                }
            }
            Ok(claimed)
        })
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.db.read(|connection| {
            let sql = "SELECT min(due_at) FROM orders WHERE due_at IS NOT NULL";
            let due: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(due.map(Timestamp::from_micros))
        })
    }

    async fn wake(&self, id: OrderId, step: Step, now: Timestamp) -> Result<News, StoreError> {
        let (id, step) = (id.to_string(), step.as_str());
        // Nearly every event finds nothing to wake: look before writing.
        let stands: Option<(bool, String, bool)> = self.db.read(|connection| {
            let sql = "SELECT unknown_step IS ?2, status, due_at IS NOT NULL FROM orders WHERE id = ?1";
            let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let mut statement = connection.prepare_cached(sql)?;
            Ok::<_, StoreError>(statement.query_row(params![id, step], columns).optional()?)
        })?;
        match stands {
            None => return Ok(News::OfNoOrder),
            Some((false, status, is_due)) => return rows::unawaited(&status, is_due),
            Some((true, ..)) => {}
        }
        let woken = self.db.write("wake_order", |tx| {
            let sql =
                "UPDATE orders SET due_at = min(due_at, ?3) WHERE id = ?1 AND unknown_step = ?2 AND due_at IS NOT NULL";
            Ok::<_, StoreError>(tx.prepare_cached(sql)?.execute(params![id, step, now.as_micros()])? > 0)
        });
        let woken = woken.await?;
        Ok(if woken { News::Awaited } else { News::NotAwaited })
    }

    async fn get(&self, id: OrderId) -> Result<Option<Stored>, StoreError> {
        self.db.read(|connection| load(connection, id))
    }

    async fn list(&self, user: Option<UserId>, after: After, most: usize) -> Result<Vec<Order>, StoreError> {
        let everybodys = "SELECT id FROM orders WHERE (created_at, id) > (?1, ?2) ORDER BY created_at, id LIMIT ?3";
        let users = "SELECT id FROM orders WHERE user_id = ?4 AND (created_at, id) > (?1, ?2)
                     ORDER BY created_at, id LIMIT ?3";
        let (at, id) = behind(after);
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(if user.is_some() { users } else { everybodys })?;
            let ids = |row: &Row<'_>| row.get(0);
            let rows = match user {
                Some(user) => statement.query_map(params![at, id, most, user.to_string()], ids)?,
                None => statement.query_map(params![at, id, most], ids)?,
            };
            let ids: Vec<String> = rows.collect::<Result<_, _>>()?;
            let loaded = ids.iter().map(|id| load(connection, parsed(id)?)).collect::<Result<Vec<_>, StoreError>>()?;
            Ok(loaded.into_iter().flatten().map(|stored| stored.order).collect())
        })
    }

    async fn stuck(&self, unknown_min: u32, after: After, most: usize) -> Result<Vec<Stuck>, StoreError> {
        let (at, id) = behind(after);
        self.db.read(|connection| {
            let mut statement = connection.prepare_cached(STUCK)?;
            statement.query_and_then(params![unknown_min, at, id, most], stuck)?.collect()
        })
    }

    async fn retry(&self, id: OrderId, epoch: i64, now: Timestamp) -> Result<(), StoreError> {
        self.db.write_alone("retry_order", |tx| {
            let sql = "UPDATE orders SET attempt = 0, unknown = 0, broken = 0, due_at = ?3, epoch = epoch + 1
                       WHERE id = ?1 AND epoch = ?2 AND due_at IS NOT NULL";
            let changed = tx.prepare_cached(sql)?.execute(params![id.to_string(), epoch, now.as_micros()])?;
            match changed {
                0 => Err(rows::not_to_retry(id)),
                _ => Ok(()),
            }
        })
    }

    async fn attempts(&self, id: OrderId, after: i64, most: usize) -> Result<Vec<Recorded>, StoreError> {
        self.db.read(|connection| {
            let sql = "SELECT sequence, step, number, outcome, epoch, started_at, took_us, detail FROM saga_attempts
                       WHERE order_id = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_and_then(params![id.to_string(), after, most], recorded)?.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_orders_are_found_without_looking_at_every_order() {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {STUCK}")).unwrap();
        let plan = statement.query_map(params![10, 0, "", 20], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<String> = plan.collect::<Result<_, _>>().unwrap();
        for used in ["orders_for_operator", "orders_failing"] {
            assert!(plan.iter().any(|line| line.contains(used)), "{used}: {plan:#?}");
        }
        assert!(!plan.iter().any(|line| line == "SCAN orders"), "{plan:#?}");
    }
}
