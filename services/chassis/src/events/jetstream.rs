//! The event log on NATS JetStream.

use async_trait::async_trait;

use super::{Consumer, ConsumerSettings, EventLog, Lag, Message, Publish, PublishError, Stream};
use crate::env::Servers;
use crate::store::StoreError;

/// A client of the broker.
pub struct JetStreamLog {}

impl JetStreamLog {
    /// Connects; `client` names the connection.
    ///
    /// # Errors
    /// One line: the URL is wrong, nobody answers there, or the login is refused.
    pub async fn connect(_servers: &Servers, _client: &str) -> Result<Self, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
}

#[async_trait]
impl EventLog for JetStreamLog {
    async fn publish(&self, _stream: Stream, _batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        Vec::new()
    }
    async fn last(&self, _stream: Stream, _aggregate: &str) -> Result<Option<Message>, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
    async fn read(&self, _stream: Stream, _aggregate: &str) -> Result<Vec<Message>, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
    async fn at(&self, _stream: Stream, _sequence: i64) -> Result<Option<Message>, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
    async fn scan(&self, _stream: Stream, _after: i64, _most: usize) -> Result<Vec<Message>, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
    async fn lag(&self, _stream: Stream) -> Result<Vec<Lag>, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
    async fn prepare(&self, _stream: Stream) -> Result<(), StoreError> {
        Ok(())
    }
    async fn rewind(&self, _stream: Stream, _last: i64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn disturbed(&self) {
        std::future::pending().await
    }
    async fn consumer(&self, _stream: Stream, _settings: ConsumerSettings) -> Result<Box<dyn Consumer>, StoreError> {
        Err(StoreError::Unavailable("not built".into()))
    }
}
