//! The simulated mail and SMS provider: a third party that happens to run in this process. Its ledger is
//! a database of its own, and only the port's one call is known to the rest of the service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::rng::{Seeds, Stream};
use chassis::settings::DurationRange;
use kernel::Timestamp;
use rand::RngExt;
use store::StoreError;
use tokio::time::sleep;

use crate::application::ports::{Accepted, MessageProvider, ProviderError};
use crate::domain::OutgoingMessage;

/// The name of the provider's database.
pub const DATABASE: &str = "courier_db";

/// The provider's durable memory.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Accepts messages now, all of them or none, one answer each, in order. A message whose (event id,
    /// channel) was ever accepted before, by whatever connection, MUST be answered with that first
    /// acceptance and change nothing.
    ///
    /// # Errors
    /// When it is not known whether they were accepted.
    async fn accept(&self, messages: &[&OutgoingMessage], now: Timestamp) -> Result<Vec<Accepted>, StoreError>;
}

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
    ledger: Arc<dyn Ledger>,
    clock: SharedClock,
    manners: Manners,
    draws: Mutex<Draws>,
}

impl SimulatedCourier {
    pub fn new(ledger: Arc<dyn Ledger>, clock: SharedClock, seeds: &Seeds, manners: Manners) -> Self {
        let draws = Draws { latencies: seeds.stream("courier-latency"), failures: seeds.stream("courier-failure") };
        Self { ledger, clock, manners, draws: Mutex::new(draws) }
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

    async fn accept(&self, messages: &[&OutgoingMessage]) -> Result<Vec<Accepted>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.ledger.accept(messages, self.clock.now()).await
    }
}

#[async_trait]
impl MessageProvider for SimulatedCourier {
    async fn send(&self, batch: &[OutgoingMessage]) -> Vec<Result<Accepted, ProviderError>> {
        let (half, fates) = self.draw(batch.len());
        sleep(half).await;
        let received = batch.iter().zip(&fates).filter(|(_, fate)| **fate != Fate::NotReceived);
        let accepted = self.accept(&received.map(|(message, _)| message).collect::<Vec<_>>()).await;
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
