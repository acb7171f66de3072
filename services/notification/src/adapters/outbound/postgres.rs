//! The simulated provider's ledger in PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use kernel::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use store::gather::{Failed, Gather, Traced, Writer};
use store::postgres::{self, Db, Kept};
use store::{Servers, StoreError};
use tokio::time::Instant;

use super::courier::{DATABASE, Ledger};
use crate::application::ports::Accepted;
use crate::domain::OutgoingMessage;

pub const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_initial.sql")];

pub struct PostgresLedger {
    gather: Gather<LedgerWriter>,
}

/// Writes batches of messages, each in one statement.
pub struct LedgerWriter {
    kept: Kept,
}

/// A message, and when it came.
pub struct Received {
    message: OutgoingMessage,
    at: Timestamp,
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

/// Event and channel: what the provider knows a message by.
type Key<'a> = (&'a str, &'a str);

fn key(message: &OutgoingMessage) -> Key<'_> {
    (message.event_id.as_str(), message.channel.as_str())
}

/// Writes those messages that are new; answers how many. One that somebody else is writing is waited
/// for; all write in the order of the keys, so that nobody waits for each other.
async fn insert(kept: &Kept, messages: &BTreeMap<Key<'_>, &Received>) -> Result<usize, sqlx::Error> {
    let sql = "INSERT INTO accepted (event_id, channel, recipient, subject, body, order_id, accepted_at)
               SELECT new.event_id, new.channel, new.recipient, new.subject, new.body, new.order_id, new.at
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::bigint[])
                    WITH ORDINALITY AS new (event_id, channel, recipient, subject, body, order_id, at, place)
               ORDER BY new.place
               ON CONFLICT (event_id, channel) DO NOTHING RETURNING 1";
    let started = Instant::now();
    let (events, channels): (Vec<&str>, Vec<&str>) = messages.keys().copied().unzip();
    let text = |of: fn(&OutgoingMessage) -> &str| messages.values().map(|one| of(&one.message)).collect::<Vec<&str>>();
    let statement = sqlx::query(sql)
        .bind(events)
        .bind(channels)
        .bind(text(|message| &message.recipient))
        .bind(text(|message| &message.subject))
        .bind(text(|message| &message.body))
        .bind(messages.values().map(|one| *one.message.order.as_uuid()).collect::<Vec<_>>())
        .bind(messages.values().map(|one| one.at.as_micros()).collect::<Vec<_>>());
    kept.db().writes("accept");
    let new = kept.fetch_all(statement).await?.len();
    if new > 0 {
        kept.db().wrote("accept", started);
    }
    Ok(new)
}

/// When each message was first accepted. It is a statement after [`insert`]'s, and so sees what that one
/// waited for.
async fn first_acceptances(
    kept: &Kept,
    messages: &BTreeMap<Key<'_>, &Received>,
) -> Result<BTreeMap<(String, String), Accepted>, sqlx::Error> {
    let sql = "SELECT event_id, channel, accepted_at
               FROM accepted JOIN unnest($1::text[], $2::text[]) AS asked (event_id, channel)
                    USING (event_id, channel)";
    let (events, channels): (Vec<&str>, Vec<&str>) = messages.keys().copied().unzip();
    let rows = kept.fetch_all(sqlx::query(sql).bind(events).bind(channels)).await?;
    let acceptance = |row: &PgRow| {
        let at = Timestamp::from_micros(row.try_get("accepted_at")?);
        Ok(((row.try_get("event_id")?, row.try_get("channel")?), Accepted { at }))
    };
    rows.iter().map(acceptance).collect()
}

#[async_trait]
impl Writer for LedgerWriter {
    type Command = Received;
    type Answer = Accepted;
    type Key = ();

    fn name(&self) -> &'static str {
        DATABASE
    }

    fn key(&self, _: &Received) -> Option<()> {
        None
    }

    async fn write(&self, batch: &[Traced<Received>]) -> Result<Vec<Accepted>, Failed> {
        let mut distinct: BTreeMap<Key<'_>, &Received> = BTreeMap::new();
        for Traced { command, .. } in batch {
            distinct.entry(key(&command.message)).or_insert(command);
        }
        let new = insert(&self.kept, &distinct).await.map_err(postgres::failed)?;
        let first = match new == distinct.len() {
            true => distinct.iter().map(|(key, one)| (owned(*key), Accepted { at: one.at })).collect(),
            false => first_acceptances(&self.kept, &distinct).await.map_err(postgres::failed)?,
        };
        let acceptance = |Traced { command, .. }: &Traced<Received>| {
            let (event, channel) = key(&command.message);
            let gone = || StoreError::Corrupt(format!("{event} by {channel} was accepted and is gone"));
            Ok(*first.get(&owned((event, channel))).ok_or_else(gone)?)
        };
        batch.iter().map(acceptance).collect()
    }
}

fn owned((event, channel): Key<'_>) -> (String, String) {
    (event.to_owned(), channel.to_owned())
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn accept(&self, messages: &[&OutgoingMessage], now: Timestamp) -> Result<Vec<Accepted>, StoreError> {
        let received = messages.iter().map(|message| Received { message: (*message).clone(), at: now });
        self.gather.submit_all(received).await.into_iter().collect()
    }
}
