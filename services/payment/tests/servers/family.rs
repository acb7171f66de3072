//! The family of servers, as a test needs it.

use std::sync::Arc;

use chassis::clock::SharedClock;
use chassis::metrics::Metrics;
use eventlog::outbox::postgres::PostgresOutbox;
use eventlog::{Backing, Outbox};
use payment::adapters::outbound::postgres::PostgresPayments;
use payment::adapters::outbound::stored::{DATABASE, OUTBOX};
use payment::application::ports::PaymentStore;
use servers::{Borrowed, LocalServers, Meddling};
use sqlx::{Connection, PgConnection};
use store::Servers;
use store::postgres::options;

/// A namespace on servers that outlive the services on them.
pub struct Family {
    connections: Servers,
    _shared: Option<Arc<LocalServers>>,
}

impl Family {
    pub fn new() -> Self {
        let Borrowed { servers, connections } = servers::for_test().unwrap();
        Self { connections, _shared: Some(servers) }
    }

    /// On servers that somebody else keeps.
    pub fn of(connections: Servers) -> Self {
        Self { connections, _shared: None }
    }

    pub fn backing(&self) -> Backing {
        Backing::Servers(self.connections.clone())
    }

    /// The store, over connections of its own, and its outbox.
    pub async fn open(&self, clock: SharedClock) -> (Arc<dyn PaymentStore>, Arc<dyn Outbox>) {
        let store = Arc::new(PostgresPayments::open(&self.connections, &Metrics::new("payment")).await.unwrap());
        let outbox = Arc::new(PostgresOutbox::new(store.db(), OUTBOX, clock));
        (store, outbox)
    }

    /// What somebody else has written of payments and not committed yet.
    pub async fn meddle(&self, statements: &str) -> Meddling {
        Meddling::begin(&self.connections, DATABASE, statements).await.unwrap()
    }

    /// The kinds of the acquirer's ledger lines, oldest first.
    pub async fn acquirers_lines(&self) -> Vec<String> {
        let database = self.connections.database("acquirer_db");
        let options = options(&self.connections.postgres).unwrap().database(&database);
        let mut ledger = PgConnection::connect_with(&options).await.unwrap();
        let lines = sqlx::query_scalar("SELECT kind FROM ledger ORDER BY sequence").fetch_all(&mut ledger).await;
        ledger.close().await.unwrap();
        lines.unwrap()
    }
}
