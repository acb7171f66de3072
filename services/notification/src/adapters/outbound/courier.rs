//! The simulated mail and SMS provider: a third party that happens to run in this process. Its ledger is
//! a database of its own, and only the port's one call is known to the rest of the service.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::clock::SharedClock;
use chassis::metrics::Metrics;
use chassis::rng::{Seeds, Stream};
use chassis::settings::DurationRange;
use chassis::sqlite::{Db, Storage};
use kernel::Timestamp;
use rand::RngExt;
use rusqlite::{Transaction, params};
use tokio::time::sleep;

use crate::application::ports::{Accepted, MessageProvider, ProviderError};
use crate::domain::OutgoingMessage;

/// The name of the provider's database.
pub const DATABASE: &str = "courier_db";
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];

/// How the provider behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// How long a call takes: half of it before its messages are accepted, half after.
    pub latency: DurationRange,
    /// The share of messages that a call fails for: half of them before they are accepted, half after,
    /// so that only the answer is lost.
    pub failure_rate: f64,
}

/// What becomes of one message of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    NotReceived,
    AnswerLost,
}

struct Draws {
    latencies: Stream,
    failures: Stream,
}

pub struct SimulatedCourier {
    db: Db,
    clock: SharedClock,
    manners: Manners,
    draws: Mutex<Draws>,
}

impl SimulatedCourier {
    /// # Errors
    /// When the ledger cannot be opened.
    pub fn open(
        storage: &Storage,
        metrics: &Metrics,
        clock: SharedClock,
        seeds: &Seeds,
        manners: Manners,
    ) -> Result<Self, StoreError> {
        let draws = Draws { latencies: seeds.stream("courier-latency"), failures: seeds.stream("courier-failure") };
        Ok(Self { db: Db::open(storage, DATABASE, &MIGRATIONS, metrics)?, clock, manners, draws: Mutex::new(draws) })
    }

    /// Half of the time that the call takes, and the fate of each of its messages.
    fn draw(&self, messages: usize) -> (Duration, Vec<Fate>) {
        let Manners { latency: DurationRange { low, high }, failure_rate } = self.manners;
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        let half = draws.latencies.random_range(low..=high) / 2;
        let fates = (0..messages).map(|_| match draws.failures.random::<f64>() {
            drawn if drawn < failure_rate / 2.0 => Fate::NotReceived,
            drawn if drawn < failure_rate => Fate::AnswerLost,
            _ => Fate::Answered,
        });
        (half, fates.collect())
    }

    fn accept(&self, messages: &[&OutgoingMessage]) -> Result<Vec<Accepted>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        self.db.write("accept", |tx| messages.iter().map(|message| accept_one(tx, message, now)).collect())
    }
}

/// The first acceptance of this event on this channel, which is now if there was none before.
fn accept_one(tx: &Transaction<'_>, message: &OutgoingMessage, now: Timestamp) -> Result<Accepted, StoreError> {
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
impl MessageProvider for SimulatedCourier {
    async fn send(&self, batch: &[OutgoingMessage]) -> Vec<Result<Accepted, ProviderError>> {
        let (half, fates) = self.draw(batch.len());
        sleep(half).await;
        let received = batch.iter().zip(&fates).filter(|(_, fate)| **fate != Fate::NotReceived);
        let accepted = self.accept(&received.map(|(message, _)| message).collect::<Vec<_>>());
        sleep(half).await;
        let mut accepted = accepted.map(Vec::into_iter);
        let answer = |fate: &Fate| match (fate, &mut accepted) {
            (Fate::NotReceived, _) => Err(ProviderError("it is out of order".into())),
            (_, Err(error)) => Err(ProviderError(error.to_string())),
            (_, Ok(accepted)) => match (fate, accepted.next()) {
                (Fate::Answered, Some(accepted)) => Ok(accepted),
                _ => Err(ProviderError("its answer is lost".into())),
            },
        };
        fates.iter().map(answer).collect()
    }
}
