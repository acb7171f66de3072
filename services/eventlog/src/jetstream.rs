//! The event log on NATS JetStream (server 2.9 or later): one stream of the server for each of ours, one
//! subject for each aggregate, one durable pull consumer for each of ours.
//!
//! - [`broker`] is the connection, and what is asked of the server over it;
//! - [`consumer`] takes deliveries and settles them;
//! - [`scanner`] reads a stream from end to end;
//! - [`wire`] is how an event stands in a message.

mod broker;
mod consumer;
mod scanner;
mod wire;

use async_trait::async_trait;
use store::{Servers, StoreError};
use tokio::sync::Mutex;

pub use self::broker::plain;

use self::broker::Broker;
use self::consumer::JetStreamConsumer;
use self::scanner::Scanner;
use crate::event::Message;
use crate::log::{Consumer, ConsumerSettings, EventLog, Lag, Publish, PublishError};
use crate::stream::Stream;

/// How many publications are on their way at once.
const PUBLISHING: usize = 1_000;

/// A client of the broker.
pub struct JetStreamLog {
    broker: Broker,
    /// Of whoever read the last page.
    scanner: Mutex<Option<Scanner>>,
}

impl JetStreamLog {
    /// Connects; `client` names the connection. It comes back by itself when it is lost.
    ///
    /// # Errors
    /// One line: the URL is wrong, nobody answers there, the login is refused, or JetStream is off.
    pub async fn connect(servers: &Servers, client: &str) -> Result<Self, StoreError> {
        Ok(Self { broker: Broker::connect(servers, client).await?, scanner: Mutex::new(None) })
    }
}

#[async_trait]
impl EventLog for JetStreamLog {
    async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let mut answers = Vec::with_capacity(batch.len());
        for part in batch.chunks(PUBLISHING) {
            answers.extend(self.broker.publish(stream, part).await);
        }
        answers
    }

    async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        self.broker.last(stream, aggregate).await
    }

    async fn read(&self, stream: Stream, aggregate: &str) -> Result<Vec<Message>, StoreError> {
        let subject = self.broker.subject(stream, aggregate);
        wire::check_subject(&subject)?;
        let (mut messages, mut from) = (Vec::new(), 1);
        while let Some(message) = self.broker.quick_next(stream, &subject, from).await? {
            from = message.sequence + 1;
            messages.push(message);
        }
        Ok(messages)
    }

    async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        self.broker.at(stream, sequence).await
    }

    async fn scan(&self, stream: Stream, after: i64, most: usize) -> Result<Vec<Message>, StoreError> {
        // One after the other: whoever reads a whole stream is alone with it.
        let mut kept = self.scanner.lock().await;
        if most == 0 || after >= self.broker.last_sequence(stream).await? {
            return Ok(Vec::new());
        }
        let mut scanner = match kept.take() {
            Some(scanner) if scanner.continues(&self.broker, stream, after) => scanner,
            _ => Scanner::start(&self.broker, stream, after).await?,
        };
        let page = scanner.page(&self.broker, most).await?;
        *kept = Some(scanner);
        Ok(page)
    }

    async fn lag(&self, stream: Stream) -> Result<Vec<Lag>, StoreError> {
        let consumers = self.broker.consumers(stream).await?;
        let lag = consumers
            .into_iter()
            .map(|info| Lag { unacknowledged: info.num_pending + info.num_ack_pending as u64, consumer: info.name });
        Ok(lag.collect())
    }

    async fn prepare(&self, stream: Stream) -> Result<(), StoreError> {
        self.broker.prepare(stream).await
    }

    async fn rewind(&self, stream: Stream, last: i64) -> Result<(), StoreError> {
        let last = u64::try_from(last).unwrap_or_default();
        for info in self.broker.consumers(stream).await? {
            if info.delivered.stream_sequence > last {
                self.broker.restart_consumer(stream, info, last).await?;
            }
        }
        Ok(())
    }

    async fn disturbed(&self) {
        self.broker.after_era(self.broker.connections()).await;
    }

    async fn consumer(&self, stream: Stream, settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        Ok(Box::new(JetStreamConsumer::open(self.broker.clone(), stream, settings).await?))
    }
}
