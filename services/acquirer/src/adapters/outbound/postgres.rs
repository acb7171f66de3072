//! The ledger in PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chassis::gather::{Failed, Gather, Traced, Writer};
use chassis::metrics::Metrics;
use chassis::postgres::{Db, Kept, is_taken};
use chassis::{Servers, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::stored::{DATABASE, Stored};
use crate::application::ports::Ledger;
use crate::domain::charge::{Charge, Key, Posting, Refusal, decide};

pub const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_initial.sql")];

pub struct PostgresLedger {
    gather: Gather<LedgerWriter>,
}

/// Writes batches of postings, each in one transaction and decided in its order.
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

/// Where the keys that were ever seen stand. It is a statement after [`lock`]'s, and so sees what was
/// committed while that one waited.
async fn load(tx: &mut PgConnection, keys: &[&str]) -> Result<BTreeMap<Key, Charge>, StoreError> {
    let sql = "SELECT key, amount_minor, currency, state, reason, updated_at FROM charges WHERE key = ANY($1)";
    let rows = sqlx::query(sql).bind(keys).fetch_all(tx).await?;
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

/// Where keys stand from now on: each once.
async fn save(tx: &mut PgConnection, charges: &[&Charge]) -> Result<(), StoreError> {
    let sql = "INSERT INTO charges (key, amount_minor, currency, state, reason, reference, updated_at)
               SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                                    $7::bigint[])
               ON CONFLICT (key) DO UPDATE
               SET state = excluded.state, reason = excluded.reason, updated_at = excluded.updated_at";
    let (minors, currencies) = amounts(charges);
    sqlx::query(sql)
        .bind(charges.iter().map(|charge| charge.key.as_str()).collect::<Vec<_>>())
        .bind(minors)
        .bind(currencies)
        .bind(charges.iter().map(|charge| charge.state.as_str()).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| charge.reason.as_str()).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| charge.key.reference()).collect::<Vec<_>>())
        .bind(charges.iter().map(|charge| charge.updated_at.as_micros()).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

/// One line for each change, in their order.
async fn append(tx: &mut PgConnection, changes: &[Charge]) -> Result<(), StoreError> {
    let sql = "INSERT INTO ledger (key, kind, amount_minor, currency, at)
               SELECT line.key, line.kind, line.minor, line.currency, line.at
               FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[]) WITH ORDINALITY
                    AS line (key, kind, minor, currency, at, place)
               ORDER BY line.place";
    let (minors, currencies) = amounts(&changes.iter().collect::<Vec<_>>());
    let written = sqlx::query(sql)
        .bind(changes.iter().map(|charge| charge.key.as_str()).collect::<Vec<_>>())
        .bind(changes.iter().map(|charge| charge.state.line()).collect::<Vec<_>>())
        .bind(minors)
        .bind(currencies)
        .bind(changes.iter().map(|charge| charge.updated_at.as_micros()).collect::<Vec<_>>())
        .execute(tx)
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(error) if is_taken(&error) => Err(StoreError::Conflict("one of the ledger's lines exists".into())),
        Err(error) => Err(error.into()),
    }
}

/// Decides in order; answers and, in the same order, what changed. `standing` is as after the last one.
fn decide_all(
    standing: &mut BTreeMap<Key, Charge>,
    postings: &[Traced<Posting>],
) -> (Vec<Result<Charge, Refusal>>, Vec<Charge>) {
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

    /// The locks are by key, so they hold for keys without a row as well; the rest of the batch is
    /// decided in memory.
    async fn write(&self, batch: &[Traced<Posting>]) -> Result<Vec<Self::Answer>, Failed> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let what = first.command.action.name();
        let mixed = batch.iter().any(|other| other.command.action.name() != what);
        let keys: BTreeSet<&str> = batch.iter().map(|traced| traced.command.key.as_str()).collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        let mut tx = self.kept.begin(if mixed { "ledger_batch" } else { what }).await.map_err(Failed::All)?;
        lock(&mut tx, &keys).await?;
        let mut standing = load(&mut tx, &keys).await?;
        let (answers, changes) = decide_all(&mut standing, batch);
        if !changes.is_empty() {
            let changed: BTreeSet<&Key> = changes.iter().map(|change| &change.key).collect();
            let last: Vec<&Charge> = changed.iter().filter_map(|key| standing.get(key)).collect();
            save(&mut tx, &last).await?;
            append(&mut tx, &changes).await?;
            tx.commit().await.map_err(Failed::All)?;
        } else {
            tx.rollback().await?;
        }
        Ok(answers)
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
