//! The event log of a role that something may befall on its way there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::hazard::Hazards;
use store::StoreError;

use crate::event::Message;
use crate::log::{Consumer, ConsumerSettings, EventLog, Lag, Publish, PublishError};
use crate::stream::Stream;

/// Passes the crash points `<role>.log.publish` and `<role>.log.acknowledge`, `.before` and `.after`.
pub struct ExposedLog {
    way: Way,
    log: Arc<dyn EventLog>,
}

#[derive(Clone)]
struct Way {
    role: &'static str,
    hazards: Hazards,
}

impl Way {
    async fn pass(&self, deed: &str, edge: &str) {
        self.hazards.pass(|| format!("{}.log.{deed}.{edge}", self.role)).await;
    }
}

impl ExposedLog {
    /// `log` as `role` reaches it: itself where nothing can befall.
    pub fn over(log: Arc<dyn EventLog>, role: &'static str, hazards: &Hazards) -> Arc<dyn EventLog> {
        match hazards.is_none() {
            true => log,
            false => Arc::new(Self { way: Way { role, hazards: hazards.clone() }, log }),
        }
    }
}

#[async_trait]
impl EventLog for ExposedLog {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        self.way.pass("publish", "before").await;
        let answers = self.log.publish(stream, batch).await;
        self.way.pass("publish", "after").await;
        answers
    }

    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        self.log.last(stream, aggregate).await
    }

    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError> {
        self.log.read(stream, aggregate).await
    }

    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        self.log.at(stream, sequence).await
    }

    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError> {
        self.log.scan(stream, after, most).await
    }

    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError> {
        self.log.lag(stream).await
    }

    async fn prepare(&self, stream: Stream) -> Result<(), StoreError> {
        self.log.prepare(stream).await
    }

    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError> {
        self.log.rewind(stream, last).await
    }

    async fn disturbed(&self) {
        self.log.disturbed().await;
    }

    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        let consumer = self.log.consumer(stream, settings).await?;
        Ok(Box::new(ExposedConsumer { way: self.way.clone(), consumer }))
    }
}

struct ExposedConsumer {
    way: Way,
    consumer: Box<dyn Consumer>,
}

#[async_trait]
impl Consumer for ExposedConsumer {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        self.consumer.next(most).await
    }

    async fn acknowledge(&mut self, sequences: &[i64]) -> Result<(), StoreError> {
        if sequences.is_empty() {
            return Ok(());
        }
        self.way.pass("acknowledge", "before").await;
        self.consumer.acknowledge(sequences).await?;
        self.way.pass("acknowledge", "after").await;
        Ok(())
    }

    async fn retry_later(&mut self, sequence: i64, delay: Duration) -> Result<(), StoreError> {
        self.consumer.retry_later(sequence, delay).await
    }

    async fn park(&mut self, sequence: i64) -> Result<(), StoreError> {
        self.consumer.park(sequence).await
    }
}
