//! Buyers, read from the event log: an order's first event names its own.

use std::sync::Arc;

use async_trait::async_trait;
use eventlog::EventLog;
use kernel::{OrderId, UserId};
use serde::Deserialize;
use store::StoreError;

use crate::adapters::streams::ORDERS;
use crate::application::ports::Buyers;

pub struct LogBuyers {
    pub log: Arc<dyn EventLog>,
}

/// What is read of `OrderCreated`.
#[derive(Deserialize)]
struct Created {
    user: UserId,
}

#[async_trait]
impl Buyers for LogBuyers {
    async fn of(&self, order: OrderId) -> Result<Option<UserId>, StoreError> {
        let messages = self.log.read(ORDERS, &order.to_string()).await?;
        let created = messages.iter().find(|message| message.event.kind == "OrderCreated");
        let created = created.map(|message| serde_json::from_str::<Created>(&message.event.data)).transpose()?;
        Ok(created.map(|created| created.user))
    }
}
