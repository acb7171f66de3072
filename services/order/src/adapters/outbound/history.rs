//! Histories, read from the event log.

use std::sync::Arc;

use async_trait::async_trait;
use eventlog::{EventLog, Message};
use kernel::OrderId;
use store::StoreError;

use super::rows::{decode, parsed};
use crate::adapters::streams::ORDERS;
use crate::application::ports::{History, HistoryEntry, Logged};

pub struct LogHistory {
    pub log: Arc<dyn EventLog>,
}

#[async_trait]
impl History for LogHistory {
    async fn of(&self, id: OrderId) -> Result<Vec<HistoryEntry>, StoreError> {
        let messages = self.log.read(ORDERS, &id.to_string()).await?;
        let entries = messages.into_iter().map(|message| HistoryEntry {
            version: message.event.version,
            kind: message.event.kind,
            data: message.event.data,
            at: message.event.occurred_at,
        });
        Ok(entries.collect())
    }

    async fn page(&self, after: i64, most: usize) -> Result<Vec<Logged>, StoreError> {
        self.log.scan(ORDERS, after, most).await?.into_iter().map(logged).collect()
    }

    async fn events(&self, id: OrderId) -> Result<Vec<Logged>, StoreError> {
        self.log.read(ORDERS, &id.to_string()).await?.into_iter().map(logged).collect()
    }
}

fn logged(message: Message) -> Result<Logged, StoreError> {
    let Message { sequence, event, .. } = message;
    Ok(Logged {
        sequence,
        id: parsed(&event.aggregate)?,
        version: event.version,
        event: decode(&event)?,
        at: event.occurred_at,
        traceparent: event.traceparent,
    })
}
