//! Histories, read from the event log.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::events::{EventLog, Stream};
use kernel::OrderId;

use crate::application::ports::{History, HistoryEntry};

pub struct LogHistory {
    pub log: Arc<dyn EventLog>,
}

#[async_trait]
impl History for LogHistory {
    async fn of(&self, id: OrderId) -> Result<Vec<HistoryEntry>, StoreError> {
        let messages = self.log.read(Stream::Orders, &id.to_string()).await?;
        let entries = messages.into_iter().map(|message| HistoryEntry {
            version: message.event.version,
            kind: message.event.kind,
            data: message.event.data,
            at: message.event.occurred_at,
        });
        Ok(entries.collect())
    }
}
