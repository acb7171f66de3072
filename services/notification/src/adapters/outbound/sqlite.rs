//! The simulated provider's ledger in SQLite.

use async_trait::async_trait;
use chassis::metrics::Metrics;
use kernel::Timestamp;
use rusqlite::{Connection, params};
use store::StoreError;
use store::sqlite::{Db, Storage};

use super::courier::{DATABASE, Ledger};
use crate::application::ports::Accepted;
use crate::domain::OutgoingMessage;

pub const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];

pub struct SqliteLedger {
    db: Db,
}

impl SqliteLedger {
    /// # Errors
    /// When the database cannot be opened.
    pub fn open(storage: &Storage, metrics: &Metrics) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open(storage, DATABASE, &MIGRATIONS, metrics)? })
    }
}

/// The first acceptance of this event on this channel, which is now if there was none before.
fn accept_one(tx: &Connection, message: &OutgoingMessage, now: Timestamp) -> Result<Accepted, StoreError> {
    let insert = "INSERT INTO accepted (event_id, channel, recipient, subject, body, order_id, accepted_at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (event_id, channel) DO NOTHING";
    let OutgoingMessage { event_id, channel, recipient, subject, body, order } = message;
    let (event_id, channel) = (event_id.as_str(), channel.as_str());
    let order = order.to_string();
    tx.prepare_cached(insert)?.execute(params![event_id, channel, recipient, subject, body, order, now.as_micros()])?;
    let first = "SELECT accepted_at FROM accepted WHERE event_id = ?1 AND channel = ?2";
    let at = tx.prepare_cached(first)?.query_row([event_id, channel], |row| row.get(0))?;
    Ok(Accepted { at: Timestamp::from_micros(at) })
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn accept(&self, messages: &[&OutgoingMessage], now: Timestamp) -> Result<Vec<Accepted>, StoreError> {
        self.db.write("accept", |tx| messages.iter().map(|message| accept_one(tx, message, now)).collect()).await
    }
}
