//! The event log as one role reaches it: over a link that fails.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use chassis::hazard::Hazards;
use eventlog::{Consumer, ConsumerSettings, EventLog, Lag, Message, Publish, PublishError, Stream};
use store::StoreError;
use tokio::time::{Duration, sleep};

use super::Perils;
use shop::fault::vocabulary::Place;

/// Most deliveries that are kept to be made a second time.
const AGAIN_MAX: usize = 1024;

pub(super) struct PerilousLog {
    pub perils: Perils,
    pub hazards: Hazards,
    pub role: &'static str,
    pub log: Arc<dyn EventLog>,
}

/// The way to the log.
#[derive(Clone)]
struct Way {
    perils: Perils,
    hazards: Hazards,
    role: &'static str,
}

fn unreachable() -> StoreError {
    StoreError::Unavailable("the event log does not answer".to_owned())
}

impl Way {
    /// # Errors
    /// When the log does not answer.
    async fn to_ask(&self) -> Result<(), StoreError> {
        self.perils.awake(self.role).await;
        match self.perils.lock().strike(Place::Log(self.role), "down") {
            true => Err(unreachable()),
            false => Ok(()),
        }
    }

    /// # Errors
    /// When the log does not take it.
    async fn to_change(&self, deed: &str) -> Result<(), StoreError> {
        self.to_ask().await?;
        self.hazards.pass(|| format!("{}.log.{deed}.before", self.role)).await;
        let place = Place::Log(self.role);
        if self.perils.lock().strike(place, "error_rate") {
            return Err(unreachable());
        }
        let delay = self.perils.lock().delay(place);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // It may have died, or stand still, since.
        self.perils.awake(self.role).await;
        Ok(())
    }

    /// # Errors
    /// When what has happened is not heard of.
    async fn changed(&self, deed: &str) -> Result<(), StoreError> {
        self.hazards.pass(|| format!("{}.log.{deed}.after", self.role)).await;
        match self.perils.lock().strike(Place::Log(self.role), "lost_answer") {
            true => Err(unreachable()),
            false => Ok(()),
        }
    }
}

impl PerilousLog {
    fn way(&self) -> Way {
        Way { perils: self.perils.clone(), hazards: self.hazards.clone(), role: self.role }
    }
}

#[async_trait]
impl EventLog for PerilousLog {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let all = |error: StoreError| batch.iter().map(|_| Err(error.clone().into())).collect();
        let way = self.way();
        if let Err(error) = way.to_change("publish").await {
            return all(error);
        }
        let answers = self.log.publish(stream, batch).await;
        match way.changed("publish").await {
            Ok(()) => answers,
            Err(error) => all(error),
        }
    }

    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        self.way().to_ask().await?;
        self.log.last(stream, aggregate).await
    }

    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError> {
        self.way().to_ask().await?;
        self.log.read(stream, aggregate).await
    }

    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        self.way().to_ask().await?;
        self.log.at(stream, sequence).await
    }

    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError> {
        self.way().to_ask().await?;
        self.log.scan(stream, after, most).await
    }

    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError> {
        self.way().to_ask().await?;
        self.log.lag(stream).await
    }

    async fn prepare(&self, stream: Stream) -> Result<(), StoreError> {
        self.way().to_ask().await?;
        self.log.prepare(stream).await
    }

    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError> {
        self.way().to_ask().await?;
        self.log.rewind(stream, last).await
    }

    async fn disturbed(&self) {
        self.log.disturbed().await;
    }

    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        let way = self.way();
        way.to_ask().await?;
        let consumer = self.log.consumer(stream, settings).await?;
        Ok(Box::new(PerilousConsumer { way, consumer, again: VecDeque::new() }))
    }
}

struct PerilousConsumer {
    way: Way,
    consumer: Box<dyn Consumer>,
    /// Deliveries to be made a second time.
    again: VecDeque<Message>,
}

#[async_trait]
impl Consumer for PerilousConsumer {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        self.way.to_ask().await?;
        if !self.again.is_empty() {
            let taken = self.again.len().min(most.max(1));
            return Ok(self.again.drain(..taken).collect());
        }
        let messages = self.consumer.next(most).await?;
        self.way.perils.awake(self.way.role).await;
        let room = AGAIN_MAX.saturating_sub(self.again.len());
        for message in messages.iter().take(room) {
            if self.way.perils.lock().strike(Place::Log(self.way.role), "duplicate") {
                self.again.push_back(message.clone());
            }
        }
        Ok(messages)
    }

    async fn acknowledge(&mut self, sequences: &[i64]) -> Result<(), StoreError> {
        if sequences.is_empty() {
            return Ok(());
        }
        self.way.to_change("acknowledge").await?;
        self.consumer.acknowledge(sequences).await?;
        self.way.changed("acknowledge").await
    }

    async fn retry_later(&mut self, sequence: i64, delay: Duration) -> Result<(), StoreError> {
        self.way.to_ask().await?;
        self.consumer.retry_later(sequence, delay).await
    }

    async fn park(&mut self, sequence: i64) -> Result<(), StoreError> {
        self.way.to_ask().await?;
        self.consumer.park(sequence).await
    }
}
