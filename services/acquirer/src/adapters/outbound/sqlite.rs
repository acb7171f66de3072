//! The ledger in SQLite.

use async_trait::async_trait;
use chassis::metrics::Metrics;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::{Db, Storage};

use super::stored::{DATABASE, Stored};
#[cfg(feature = "planted-bugs")]
use crate::application::planted::PlantedBug;
use crate::application::ports::Ledger;
use crate::domain::charge::{Charge, Key, Posting, Refusal, decide};

pub const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];

pub struct SqliteLedger {
    db: Db,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

impl SqliteLedger {
    /// # Errors
    /// When the database cannot be opened.
    pub fn open(storage: &Storage, metrics: &Metrics) -> Result<Self, StoreError> {
        Ok(Self {
            db: Db::open(storage, DATABASE, &MIGRATIONS, metrics)?,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        })
    }

    /// # Errors
    /// When the index that would keep the bug from being one cannot be dropped.
    #[cfg(feature = "planted-bugs")]
    pub fn with_planted_bug(self, planted_bug: Option<PlantedBug>) -> Result<Self, StoreError> {
        if planted_bug == Some(PlantedBug::RefundTwice) {
            self.db.read(|connection| {
                connection.execute_batch("DROP INDEX IF EXISTS ledger_once").map_err(StoreError::from)
            })?;
        }
        Ok(Self { planted_bug, ..self })
    }

    fn post_one(&self, tx: &Connection, posting: &Posting) -> Result<Result<Charge, Refusal>, StoreError> {
        let current = find(tx, &posting.key)?;
        #[cfg(feature = "planted-bugs")]
        let (current, posting) = match self.planted_bug {
            Some(bug) => (bug.remembered(current, posting), &bug.posted(posting.clone())),
            None => (current, posting),
        };
        match decide(current.as_ref(), posting) {
            Ok(Some(next)) => {
                store(tx, &next)?;
                Ok(Ok(next))
            }
            // Nothing changes only for a key that is known.
            Ok(None) => Ok(current.ok_or(Refusal::NeverCaptured)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        amount: row.get(0)?,
        currency: row.get(1)?,
        state: row.get(2)?,
        reason: row.get(3)?,
        updated_at: row.get(4)?,
    })
}

fn find(connection: &Connection, key: &Key) -> Result<Option<Charge>, StoreError> {
    let sql = "SELECT amount_minor, currency, state, reason, updated_at FROM charges WHERE key = ?1";
    let stored = connection.prepare_cached(sql)?.query_row([key.as_str()], read).optional()?;
    stored.map(|stored| stored.into_charge(key)).transpose()
}

fn store(tx: &Connection, charge: &Charge) -> Result<(), StoreError> {
    let (key, at) = (charge.key.as_str(), charge.updated_at.as_micros());
    let minor = charge.amount.map(|amount| amount.minor);
    let currency = charge.amount.map(|amount| amount.currency.to_string());
    let upsert = "INSERT INTO charges (key, amount_minor, currency, state, reason, reference, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (key) DO UPDATE SET state = ?4, reason = ?5, updated_at = ?7";
    tx.prepare_cached(upsert)?.execute(params![
        key,
        minor,
        currency,
        charge.state.as_str(),
        charge.reason,
        charge.key.reference(),
        at
    ])?;
    let line = "INSERT INTO ledger (key, kind, amount_minor, currency, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    tx.prepare_cached(line)?.execute(params![key, charge.state.line(), minor, currency, at])?;
    Ok(())
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn post(&self, postings: &[Posting]) -> Result<Vec<Result<Charge, Refusal>>, StoreError> {
        let what = postings.first().map_or("nothing", |posting| posting.action.name());
        self.db.write(what, |tx| postings.iter().map(|posting| self.post_one(tx, posting)).collect()).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Charge>, StoreError> {
        self.db.read(|connection| find(connection, key))
    }
}
