//! The ledger in PostgreSQL.
//!
//! A batch is two statements: one reads, then each posting is decided in memory, and the other writes all of it, if
//! every key still stands where it was read. If not, which takes another instance, the batch is a transaction that
//! locks its keys first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use store::gather::{Failed, Gather, Traced, Writer};
use store::postgres::{Db, Kept, failed, plain};
use store::{Servers, StoreError};

use super::stored::{DATABASE, Stored};
use crate::application::ports::Ledger;
use crate::domain::charge::{Charge, Key, Posting, Refusal, decide};

pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_initial.sql"),
    include_str!("../../../migrations/postgres/0002_written_at_once.sql"),
];

/// SQLSTATE of a refusal: a key does not stand where it was read.
const MOVED: &str = "SH001";

type Statement<'q> = Query<'q, Postgres, PgArguments>;
type Standing = BTreeMap<Key, Charge>;

pub struct PostgresLedger {
    gather: Gather<LedgerWriter>,
}

/// How often a batch that was overtaken is written under locks. Somebody who locks nothing can be faster even then,
/// about keys and states that no lock on a row holds.
const LOCKED_MAX: u32 = 3;

/// Writes batches of postings, decided in their order.
pub struct LedgerWriter {
    kept: Kept,
}

impl PostgresLedger {
    /// # Errors
    /// When the database cannot be opened.
    pub async fn open(servers: &Servers, metrics: &Metrics) -> Result<Self, StoreError> {
        let db = Arc::new(Db::open(servers, DATABASE, MIGRATIONS, metrics).await?);
        let batch_max = db.batch_max();
        Ok(Self { gather: Gather::new(LedgerWriter { kept: Kept::new(db) }, batch_max, metrics) })
    }
}

fn read(row: &PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        amount: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        state: row.try_get("state")?,
        reason: row.try_get("reason")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Nobody else decides about these keys before the transaction ends. They are sorted, so that no two
/// batches wait for each other; what does not exist yet can only be locked by its name.
async fn lock(tx: &mut PgConnection, keys: &[&str]) -> Result<(), StoreError> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended(key, 0)) FROM unnest($1::text[]) AS key";
    sqlx::query(sql).bind(keys).execute(tx).await?;
    Ok(())
}

/// Reads where the keys that were ever seen stand. Under locks it is a statement after [`lock`]'s, and so sees what
/// was committed while that one waited.
fn load<'q>(keys: &'q [&'q str]) -> Statement<'q> {
    sqlx::query("SELECT key, amount_minor, currency, state, reason, updated_at FROM charges WHERE key = ANY($1)")
        .bind(keys)
}

fn standing(rows: &[PgRow]) -> Result<Standing, StoreError> {
    let charge = |row: &PgRow| {
        let key: String = row.try_get("key")?;
        let key: Key = key.parse().map_err(|error| StoreError::Corrupt(format!("charge {key}: {error}")))?;
        let charge = read(row)?.into_charge(&key)?;
        Ok((key, charge))
    };
    rows.iter().map(charge).collect()
}

/// A column of the charges' amounts, and one of their currencies.
fn amounts(charges: &[&Charge]) -> (Vec<Option<i64>>, Vec<Option<String>>) {
    let amount = |charge: &&Charge| {
        charge.amount.map_or((None, None), |amount| (Some(amount.minor), Some(amount.currency.to_string())))
    };
    charges.iter().map(amount).unzip()
}

/// Writes where keys stand from now on, each once, if they stand where they stood `before`; and one line for each
/// change, in their order. (That a key gets no second line of a kind forbids most of the same by itself.)
fn save<'q>(before: &Standing, after: &Standing, changes: &[Charge]) -> Statement<'q> {
    let sql = "WITH lines AS (
                   INSERT INTO ledger (key, kind, amount_minor, currency, at)
                   SELECT line.key, line.kind, line.minor, line.currency, line.at
                   FROM unnest($9::text[], $10::text[], $11::bigint[], $12::text[], $13::bigint[]) WITH ORDINALITY
                        AS line (key, kind, minor, currency, at, place)
                   ORDER BY line.place
               ), new AS (
                   SELECT * FROM unnest((SELECT $1::text[]), $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                                        $7::bigint[], $8::text[])
                        AS new (key, amount_minor, currency, state, reason, reference, updated_at, before)
               ), first AS (
                   INSERT INTO charges (key, amount_minor, currency, state, reason, reference, updated_at)
                   SELECT key, amount_minor, currency, state, reason, reference, updated_at FROM new WHERE before IS NULL
               ), moved AS (
                   UPDATE charges AS c SET state = new.state, reason = new.reason, updated_at = new.updated_at
                   FROM new WHERE c.key = new.key AND c.state = new.before RETURNING 1
               ), counted AS (
                   SELECT (SELECT count(*) FROM moved) AS moved,
                          (SELECT count(*) FROM new WHERE before IS NOT NULL) AS wanted
               )
               SELECT CASE WHEN moved <> wanted THEN refuse_moved(moved, wanted) END FROM counted";
    let changed: BTreeSet<&Key> = changes.iter().map(|change| &change.key).collect();
    let last: Vec<&Charge> = changed.into_iter().filter_map(|key| after.get(key)).collect();
    let ((minors, currencies), changes) = (amounts(&last), changes.iter().collect::<Vec<_>>());
    let (line_minors, line_currencies) = amounts(&changes);
    let text = |charges: &[&Charge], of: fn(&Charge) -> &str| -> Vec<String> {
        charges.iter().map(|charge| of(charge).to_owned()).collect()
    };
    let time = |charges: &[&Charge]| charges.iter().map(|charge| charge.updated_at.as_micros()).collect::<Vec<_>>();
    let stood = |charge: &&Charge| before.get(&charge.key).map(|before| before.state.as_str());
    sqlx::query(sql)
        .bind(text(&last, |charge| charge.key.as_str()))
        .bind(minors)
        .bind(currencies)
        .bind(text(&last, |charge| charge.state.as_str()))
        .bind(text(&last, |charge| charge.reason.as_str()))
        .bind(last.iter().map(|charge| charge.key.reference()).collect::<Vec<_>>())
        .bind(time(&last))
        .bind(last.iter().map(stood).collect::<Vec<_>>())
        .bind(text(&changes, |charge| charge.key.as_str()))
        .bind(text(&changes, |charge| charge.state.line()))
        .bind(line_minors)
        .bind(line_currencies)
        .bind(time(&changes))
}

/// Decides in order; answers and, in the same order, what changed. `standing` is as after the last one.
fn decide_all(standing: &mut Standing, postings: &[Traced<Posting>]) -> (Vec<Result<Charge, Refusal>>, Vec<Charge>) {
    let mut changes = Vec::new();
    let answers = postings.iter().map(|Traced { command: posting, .. }| {
        let current = standing.get(&posting.key);
        let Some(next) = decide(current, posting)? else {
            // Nothing changes only for a key that is known.
            return current.cloned().ok_or(Refusal::NeverCaptured);
        };
        changes.push(next.clone());
        standing.insert(next.key.clone(), next.clone());
        Ok(next)
    });
    (answers.collect(), changes)
}

#[async_trait]
impl Writer for LedgerWriter {
    type Command = Posting;
    type Answer = Result<Charge, Refusal>;
    type Key = ();

    fn name(&self) -> &'static str {
        DATABASE
    }

    fn key(&self, _: &Posting) -> Option<()> {
        None
    }

    async fn write(&self, batch: &[Traced<Posting>]) -> Result<Vec<Self::Answer>, Failed> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let name = first.command.action.name();
        let mixed = batch.iter().any(|other| other.command.action.name() != name);
        let what = if mixed { "ledger_batch" } else { name };
        let keys: BTreeSet<&str> = batch.iter().map(|traced| traced.command.key.as_str()).collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        let mut written = self.write_at_once(batch, &keys, what).await;
        for _ in 0..LOCKED_MAX {
            match written {
                // Somebody else was faster.
                Err(Failed::OneOfThem(StoreError::Conflict(_))) => {
                    written = self.write_locked(batch, &keys, what).await
                }
                _ => break,
            }
        }
        written
    }
}

impl LedgerWriter {
    /// `Conflict`, and nothing is written, when what was read was not so any more.
    async fn write_at_once(
        &self,
        batch: &[Traced<Posting>],
        keys: &[&str],
        what: &'static str,
    ) -> Result<Vec<Result<Charge, Refusal>>, Failed> {
        let rows = self.kept.read(|| load(keys)).await.map_err(Failed::All)?;
        let before = standing(&rows)?;
        let mut after = before.clone();
        let (answers, changes) = decide_all(&mut after, batch);
        if !changes.is_empty() {
            self.kept.write(what, save(&before, &after, &changes)).await.map_err(refused)?;
        }
        Ok(answers)
    }

    /// The locks are by key, so they hold for keys without a row as well.
    async fn write_locked(
        &self,
        batch: &[Traced<Posting>],
        keys: &[&str],
        what: &'static str,
    ) -> Result<Vec<Result<Charge, Refusal>>, Failed> {
        let mut tx = self.kept.begin(what).await.map_err(Failed::All)?;
        lock(&mut tx, keys).await?;
        let before = standing(&load(keys).fetch_all(&mut *tx).await.map_err(StoreError::from)?)?;
        let mut after = before.clone();
        let (answers, changes) = decide_all(&mut after, batch);
        if changes.is_empty() {
            tx.rollback().await?;
            return Ok(answers);
        }
        save(&before, &after, &changes).execute(&mut *tx).await.map_err(refused)?;
        tx.commit().await.map_err(Failed::All)?;
        Ok(answers)
    }
}

/// `Conflict` if somebody else was faster.
fn refused(error: sqlx::Error) -> Failed {
    match error.as_database_error().and_then(|refused| refused.code()).as_deref() {
        Some(MOVED) => Failed::OneOfThem(StoreError::Conflict(plain(&error))),
        _ => failed(error),
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn post(&self, postings: &[Posting]) -> Result<Vec<Result<Charge, Refusal>>, StoreError> {
        self.gather.submit_all(postings.iter().cloned()).await.into_iter().collect()
    }

    async fn find(&self, key: &Key) -> Result<Option<Charge>, StoreError> {
        let sql = "SELECT amount_minor, currency, state, reason, updated_at FROM charges WHERE key = $1";
        let row = sqlx::query(sql).bind(key.as_str()).fetch_optional(self.gather.writer().kept.db().pool()).await?;
        row.map(|row| read(&row)?.into_charge(key)).transpose()
    }
}
