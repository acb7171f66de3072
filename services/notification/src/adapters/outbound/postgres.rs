//! The simulated provider's ledger in PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use chassis::postgres::Db;
use chassis::{Servers, StoreError};
use kernel::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::courier::{DATABASE, Ledger};
use crate::application::ports::Accepted;
use crate::domain::OutgoingMessage;

pub const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_initial.sql")];

pub struct PostgresLedger {
    db: Db,
}

impl PostgresLedger {
    /// # Errors
    /// When the database cannot be opened.
    pub async fn open(servers: &Servers, metrics: &Metrics) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open(servers, DATABASE, MIGRATIONS, metrics).await? })
    }
}

/// Event and channel: what the provider knows a message by.
type Key<'a> = (&'a str, &'a str);

fn key(message: &OutgoingMessage) -> Key<'_> {
    (message.event_id.as_str(), message.channel.as_str())
}

/// Writes those messages that are new; answers how many. One that somebody else is writing is waited
/// for; all write in the order of the keys, so that nobody waits for each other.
async fn insert(
    tx: &mut PgConnection,
    messages: &BTreeMap<Key<'_>, &OutgoingMessage>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let sql = "INSERT INTO accepted (event_id, channel, recipient, subject, body, order_id, accepted_at)
               SELECT new.event_id, new.channel, new.recipient, new.subject, new.body, new.order_id, $7
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[]) WITH ORDINALITY
                    AS new (event_id, channel, recipient, subject, body, order_id, place)
               ORDER BY new.place
               ON CONFLICT (event_id, channel) DO NOTHING";
    let (events, channels): (Vec<&str>, Vec<&str>) = messages.keys().copied().unzip();
    let written = sqlx::query(sql)
        .bind(events)
        .bind(channels)
        .bind(messages.values().map(|message| message.recipient.as_str()).collect::<Vec<_>>())
        .bind(messages.values().map(|message| message.subject.as_str()).collect::<Vec<_>>())
        .bind(messages.values().map(|message| message.body.as_str()).collect::<Vec<_>>())
        .bind(messages.values().map(|message| *message.order.as_uuid()).collect::<Vec<_>>())
        .bind(now.as_micros())
        .execute(tx)
        .await?;
    Ok(usize::try_from(written.rows_affected()).unwrap_or(usize::MAX))
}

/// When each message was first accepted. It is a statement after [`insert`]'s, and so sees what that one
/// waited for.
async fn first_acceptances(
    tx: &mut PgConnection,
    messages: &BTreeMap<Key<'_>, &OutgoingMessage>,
) -> Result<BTreeMap<(String, String), Accepted>, StoreError> {
    let sql = "SELECT event_id, channel, accepted_at
               FROM accepted JOIN unnest($1::text[], $2::text[]) AS asked (event_id, channel)
                    USING (event_id, channel)";
    let (events, channels): (Vec<&str>, Vec<&str>) = messages.keys().copied().unzip();
    let rows = sqlx::query(sql).bind(events).bind(channels).fetch_all(tx).await?;
    let acceptance = |row: &PgRow| {
        let at = Timestamp::from_micros(row.try_get("accepted_at")?);
        Ok(((row.try_get("event_id")?, row.try_get("channel")?), Accepted { at }))
    };
    Ok(rows.iter().map(acceptance).collect::<Result<_, sqlx::Error>>()?)
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn accept(&self, messages: &[&OutgoingMessage], now: Timestamp) -> Result<Vec<Accepted>, StoreError> {
        let mut distinct: BTreeMap<Key<'_>, &OutgoingMessage> = BTreeMap::new();
        for message in messages {
            distinct.entry(key(message)).or_insert(message);
        }
        let mut tx = self.db.begin("accept").await?;
        let new = insert(&mut tx, &distinct, now).await?;
        if new == distinct.len() {
            tx.commit().await?;
            return Ok(vec![Accepted { at: now }; messages.len()]);
        }
        let first = first_acceptances(&mut tx, &distinct).await?;
        if new > 0 {
            tx.commit().await?;
        }
        let acceptance = |message: &&OutgoingMessage| {
            let (event, channel) = key(message);
            let accepted = first.get(&(event.to_owned(), channel.to_owned())).copied();
            accepted.ok_or_else(|| StoreError::Corrupt(format!("{event} by {channel} was accepted and is gone")))
        };
        messages.iter().map(acceptance).collect()
    }
}
