//! Runs a handler over a durable consumer.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Consumer, Message};
use crate::context::Context;

/// How many messages are taken at once.
const BATCH: usize = 64;

/// Reacts to one message. Deliveries repeat and come out of order: handlers are idempotent.
#[async_trait]
pub trait Handler: Send + Sync {
    /// # Errors
    /// A reason to deliver the message again later.
    async fn handle(&self, message: &Message) -> Result<(), String>;
}

/// Feeds `handler` until shutdown; acknowledges what it took, asks again for what it did not.
pub async fn run(mut consumer: Box<dyn Consumer>, handler: &dyn Handler, shutdown: CancellationToken) {
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            batch = consumer.next(BATCH) => batch,
        };
        let outcome = match batch {
            Ok(batch) => handle(&mut *consumer, handler, batch).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "a consumer waits");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn handle(
    consumer: &mut dyn Consumer,
    handler: &dyn Handler,
    batch: Vec<Message>,
) -> Result<(), crate::StoreError> {
    let mut done = Vec::with_capacity(batch.len());
    for message in batch {
        let trace = message.event.traceparent.as_ref().and_then(|text| text.parse().ok());
        let context = Context { trace, token: None };
        match context.scope(handler.handle(&message)).await {
            Ok(()) => done.push(message.sequence),
            Err(reason) => {
                let id = message.event.id();
                tracing::warn!(stream = %message.stream, event = id, deliveries = message.deliveries, reason);
                let delay = Duration::from_millis(100) * 2u32.saturating_pow(message.deliveries.min(8));
                consumer.retry_later(message.sequence, delay).await?;
            }
        }
    }
    consumer.acknowledge(&done).await
}
