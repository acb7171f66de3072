//! PLANTED BUGS of the notification service, for tests that they are found.

use std::sync::Arc;

use async_trait::async_trait;
use clap::ValueEnum;
use eventlog::Message;
use eventlog::consume::{Handler, Rejection};

/// What `planted_bug` can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlantedBug {
    /// A message is handled by a task of its own, so that the consumer is not kept waiting: it is acknowledged
    /// before anybody has been told.
    AcknowledgeFirst,
}

/// The handler, as the consumer sees it.
pub fn handler(handler: Arc<dyn Handler>, bug: Option<PlantedBug>) -> Arc<dyn Handler> {
    match bug {
        Some(PlantedBug::AcknowledgeFirst) => Arc::new(InPassing(handler)),
        None => handler,
    }
}

struct InPassing(Arc<dyn Handler>);

#[async_trait]
impl Handler for InPassing {
    async fn handle(&self, message: &Message) -> Result<(), Rejection> {
        let (handler, message) = (self.0.clone(), message.clone());
        tokio::spawn(async move { handler.handle(&message).await });
        Ok(())
    }
}
