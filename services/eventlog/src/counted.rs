//! The event log as a role uses it, with a count of what goes in and what is done with.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use store::StoreError;

use crate::event::Message;
use crate::log::{Consumer, ConsumerSettings, EventLog, Lag, Publish, PublishError};
use crate::stream::Stream;

/// Counts what the log acknowledged to its publishers, and what its consumers acknowledged.
pub struct CountedLog {
    log: Arc<dyn EventLog>,
    metrics: Metrics,
}

impl CountedLog {
    pub fn over(log: Arc<dyn EventLog>, metrics: &Metrics) -> Arc<dyn EventLog> {
        Arc::new(Self { log, metrics: metrics.clone() })
    }
}

#[async_trait]
impl EventLog for CountedLog {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let answers = self.log.publish(stream, batch).await;
        let taken = answers.iter().filter(|answer| answer.is_ok()).count();
        self.metrics.published(stream.name(), taken as u64);
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
        let name = settings.name;
        let consumer = self.log.consumer(stream, settings).await?;
        self.metrics.consumed(stream.name(), name, 0);
        Ok(Box::new(CountedConsumer { consumer, stream, name, metrics: self.metrics.clone() }))
    }
}

struct CountedConsumer {
    consumer: Box<dyn Consumer>,
    stream: Stream,
    name: &'static str,
    metrics: Metrics,
}

#[async_trait]
impl Consumer for CountedConsumer {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        self.consumer.next(most).await
    }

    async fn acknowledge(&mut self, sequences: &[i64]) -> Result<(), StoreError> {
        self.consumer.acknowledge(sequences).await?;
        self.metrics.consumed(self.stream.name(), self.name, sequences.len() as u64);
        Ok(())
    }

    async fn retry_later(&mut self, sequence: i64, delay: Duration) -> Result<(), StoreError> {
        self.consumer.retry_later(sequence, delay).await
    }

    async fn park(&mut self, sequence: i64) -> Result<(), StoreError> {
        self.consumer.park(sequence).await
    }
}
