//! Payments in numbers: what became of them, counted where it is committed.

use std::sync::Arc;

use async_trait::async_trait;
use eventlog::Event;
use kernel::OrderId;
use store::StoreError;

use crate::adapters::counters::PaymentCounters;
use crate::application::ports::{Decided, Listing, PaymentStore};
use crate::domain::payment::{Command, Payment, Refusal};

/// A store, and the counters of what it commits.
pub struct CountedPayments {
    store: Arc<dyn PaymentStore>,
    counters: PaymentCounters,
}

impl CountedPayments {
    pub fn over(store: Arc<dyn PaymentStore>, counters: PaymentCounters) -> Self {
        Self { store, counters }
    }
}

#[async_trait]
impl PaymentStore for CountedPayments {
    async fn execute(&self, commands: &[Command]) -> Result<Vec<Result<Decided, Refusal>>, StoreError> {
        let answers = self.store.execute(commands).await?;
        for decided in answers.iter().flatten().filter(|decided| decided.changed) {
            self.counters.reached(decided.payment.state);
        }
        Ok(answers)
    }

    async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError> {
        self.store.find(order).await
    }

    async fn history(&self, order: OrderId) -> Result<Vec<Event>, StoreError> {
        self.store.history(order).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError> {
        self.store.list(listing).await
    }
}
