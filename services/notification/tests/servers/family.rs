//! The family of servers, as a test needs it.

use std::sync::Arc;

use chassis::clock::SystemClock;
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use eventlog::Backing;
use notification::adapters::outbound::courier::{Manners, SimulatedCourier};
use notification::adapters::outbound::postgres::PostgresLedger;
use servers::Borrowed;
use sqlx::{Connection, PgConnection};
use store::Servers;
use store::postgres::options;

/// A namespace on servers that outlive the services on them.
pub struct Family(Borrowed);

impl Family {
    pub fn new() -> Self {
        Self(servers::for_test().unwrap())
    }

    pub fn backing(&self) -> Backing {
        Backing::Servers(self.connections().clone())
    }

    fn connections(&self) -> &Servers {
        &self.0.connections
    }

    /// The provider, over connections of its own, which answers at once and always.
    pub async fn courier(&self) -> Arc<SimulatedCourier> {
        let ledger = PostgresLedger::open(self.connections(), &Metrics::new("notification")).await.unwrap();
        let manners = Manners { latency: "0ms".parse().unwrap(), failure_rate: 0.0 };
        Arc::new(SimulatedCourier::new(Arc::new(ledger), Arc::new(SystemClock), &Seeds::from_number(1), manners))
    }

    /// Event, channel and recipient of the provider's ledger lines, by event and channel.
    pub async fn sent(&self) -> Vec<(String, String, String)> {
        let database = self.connections().database(notification::DATABASE);
        let options = options(&self.connections().postgres).unwrap().database(&database);
        let mut ledger = PgConnection::connect_with(&options).await.unwrap();
        let sql = "SELECT event_id, channel, recipient FROM accepted ORDER BY 1, 2";
        let lines = sqlx::query_as(sql).fetch_all(&mut ledger).await;
        ledger.close().await.unwrap();
        lines.unwrap()
    }
}
