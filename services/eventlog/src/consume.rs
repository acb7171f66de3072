//! Runs a handler over a durable consumer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::context::Context;
use futures_util::future::BoxFuture;
use store::StoreError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::event::Message;
use crate::log::{Consumer, ConsumerSettings, EventLog};
use crate::stream::Stream;

/// How many messages are taken at once.
const BATCH: usize = 64;
/// So often a consumer finds nothing to consume before that is worth a warning.
const STARTING_TRIES: u32 = 10;
/// How long to wait for a log that failed.
const RETRY: Duration = Duration::from_millis(200);

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// Deliver it again later.
    Again(String),
    /// However often it came, nothing would change: park it now.
    Never(String),
}

/// Reacts to one message. Deliveries repeat and come out of order: handlers are idempotent.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// # Errors
    /// When the message was not taken: what is to become of it, and why.
    async fn handle(&self, message: &Message) -> Result<(), Rejection>;
}

/// A message that has been handled, and why it was not taken, if it was not.
type Handled = (Message, Result<(), Rejection>);

/// Becomes the durable consumer and feeds `handler`, up to `most` messages at once, until shutdown.
/// A log that cannot be consumed is tried again: it may be on its way.
pub fn listen(
    log: Arc<dyn EventLog>,
    stream: Stream,
    settings: ConsumerSettings,
    handler: Arc<dyn Handler>,
    most: usize,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut tries = 0_u32;
        let consumer = loop {
            match log.consumer(stream, settings.clone()).await {
                Ok(consumer) => break consumer,
                // The publisher of the stream creates it, and may only just be starting.
                Err(error) if tries < STARTING_TRIES => tracing::debug!(%stream, %error, "cannot consume yet"),
                Err(error) => tracing::warn!(%stream, %error, "cannot consume; trying again"),
            }
            tries = tries.saturating_add(1);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        };
        match most {
            0 | 1 => run(consumer, &*handler, shutdown).await,
            most => run_concurrently(consumer, handler, most, shutdown).await,
        }
    })
}

/// Feeds `handler` one message after the other until shutdown; acknowledges what it took, asks again
/// for what it did not.
pub async fn run(mut consumer: Box<dyn Consumer>, handler: &dyn Handler, shutdown: CancellationToken) {
    while let Some(batch) = next(&mut *consumer, BATCH, &shutdown).await {
        let mut handled = Vec::with_capacity(batch.len());
        for message in batch {
            handled.push(handle(handler, message).await);
        }
        settle(&mut *consumer, handled).await;
    }
}

/// Feeds `handler` like [`run`], with up to `most` messages under way at once: for handlers that wait
/// for somebody else most of the time. A batch is acknowledged as a whole, when its last message is
/// handled, so a handler must end within a bounded time, and within the consumer's `ack_wait`.
pub async fn run_concurrently(
    mut consumer: Box<dyn Consumer>,
    handler: Arc<dyn Handler>,
    most: usize,
    shutdown: CancellationToken,
) {
    while let Some(batch) = next(&mut *consumer, BATCH.max(most), &shutdown).await {
        let handled = handle_all(&handler, most.max(1), batch).await;
        settle(&mut *consumer, handled).await;
    }
}

/// The next batch; `None` at shutdown.
async fn next(consumer: &mut dyn Consumer, most: usize, shutdown: &CancellationToken) -> Option<Vec<Message>> {
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            batch = consumer.next(most) => batch,
        };
        match batch {
            Ok(batch) => return Some(batch),
            Err(error) => wait(&error).await,
        }
    }
}

async fn handle(handler: &dyn Handler, message: Message) -> Handled {
    let trace = message.event.traceparent.as_ref().and_then(|text| text.parse().ok());
    let outcome = Context { trace, token: None }.scope(handler.handle(&message)).await;
    (message, outcome)
}

async fn handle_all(handler: &Arc<dyn Handler>, most: usize, batch: Vec<Message>) -> Vec<Handled> {
    let (mut waiting, mut under_way, mut handled) = (batch.into_iter(), JoinSet::new(), Vec::new());
    loop {
        for message in waiting.by_ref().take(most - under_way.len()) {
            let handler = handler.clone();
            under_way.spawn(async move { handle(&*handler, message).await });
        }
        match under_way.join_next().await {
            None => return handled,
            Some(Ok(one)) => handled.push(one),
            // Neither acknowledged nor put off: it comes again after the consumer's `ack_wait`.
            Some(Err(error)) => tracing::error!(%error, "a handler broke down"),
        }
    }
}

/// Acknowledges what was taken, in one go; parks what nobody will ever take, and puts off the rest, each
/// longer at every delivery.
async fn settle(consumer: &mut dyn Consumer, handled: Vec<Handled>) {
    let done: Vec<i64> =
        handled.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(message, _)| message.sequence).collect();
    let mut settled = consumer.acknowledge(&done).await;
    for (message, outcome) in handled {
        let Err(rejection) = outcome else { continue };
        let (Rejection::Again(reason) | Rejection::Never(reason)) = &rejection;
        let id = message.event.id();
        tracing::warn!(stream = %message.stream, event = id, deliveries = message.deliveries, reason);
        let delay = Duration::from_millis(100) * 2u32.saturating_pow(message.deliveries.min(8));
        if settled.is_ok() {
            settled = match rejection {
                Rejection::Again(_) => consumer.retry_later(message.sequence, delay).await,
                Rejection::Never(_) => consumer.park(message.sequence).await,
            };
        }
    }
    if let Err(error) = settled {
        wait(&error).await;
    }
}

async fn wait(error: &StoreError) {
    tracing::warn!(%error, "a consumer waits");
    tokio::time::sleep(RETRY).await;
}
