//! The family of servers, as a test needs it.

use std::sync::Arc;

use chassis::clock::SharedClock;
use chassis::events::Outbox;
use chassis::metrics::Metrics;
use chassis::postgres::options;
use chassis::postgres::outbox::PostgresOutbox;
use chassis::{Backing, Servers};
use payment::adapters::outbound::postgres::PostgresPayments;
use payment::adapters::outbound::stored::OUTBOX;
use payment::application::ports::PaymentStore;
use servers::Borrowed;
use sqlx::{Connection, PgConnection};

/// A namespace on servers that outlive the services on them.
pub struct Family(Borrowed);

impl Family {
    pub fn new() -> Self {
        Self(servers::for_test().unwrap())
    }

    pub fn backing(&self) -> Backing {
        Backing::Servers(self.0.connections.clone())
    }

    /// The store, over connections of its own, and its outbox.
    pub async fn open(&self, clock: SharedClock) -> (Arc<dyn PaymentStore>, Arc<dyn Outbox>) {
        open(&self.0.connections, clock).await
    }

    /// The kinds of the acquirer's ledger lines, oldest first.
    pub async fn acquirers_lines(&self) -> Vec<String> {
        let Servers { postgres, .. } = &self.0.connections;
        let database = self.0.connections.database("acquirer_db");
        let mut ledger = PgConnection::connect_with(&options(postgres).unwrap().database(&database)).await.unwrap();
        let lines = sqlx::query_scalar("SELECT kind FROM ledger ORDER BY sequence").fetch_all(&mut ledger).await;
        ledger.close().await.unwrap();
        lines.unwrap()
    }
}

/// The store on these servers, and its outbox.
pub async fn open(servers: &Servers, clock: SharedClock) -> (Arc<dyn PaymentStore>, Arc<dyn Outbox>) {
    let store = Arc::new(PostgresPayments::open(servers, &Metrics::new("payment")).await.unwrap());
    let outbox = Arc::new(PostgresOutbox::new(store.db(), OUTBOX, clock));
    (store, outbox)
}
