//! The family of servers, as a test needs it.

use std::sync::Arc;

use acquirer::adapters::outbound::postgres::PostgresLedger;
use acquirer::application::ports::Ledger;
use chassis::metrics::Metrics;
use eventlog::Backing;
use servers::{Borrowed, Meddling};
use sqlx::{Connection, PgConnection};
use store::postgres::options;

/// A namespace on servers that outlive the services on them.
pub struct Family(Borrowed);

impl Family {
    pub fn new() -> Self {
        Self(servers::for_test().unwrap())
    }

    pub fn backing(&self) -> Backing {
        Backing::Servers(self.0.connections.clone())
    }

    /// The ledger, over connections of its own.
    pub async fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(PostgresLedger::open(&self.0.connections, &Metrics::new("acquirer")).await.unwrap())
    }

    /// What somebody else has written and not committed yet.
    pub async fn meddle(&self, statements: &str) -> Meddling {
        Meddling::begin(&self.0.connections, "acquirer_db", statements).await.unwrap()
    }

    async fn connect(&self) -> PgConnection {
        let database = self.0.connections.database("acquirer_db");
        let options = options(&self.0.connections.postgres).unwrap().database(&database);
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// The kinds of the key's ledger lines, oldest first.
    pub async fn lines_of(&self, key: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        let sql = "SELECT kind FROM ledger WHERE key = $1 ORDER BY sequence";
        let lines = sqlx::query_scalar(sql).bind(key).fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        lines.unwrap()
    }

    /// Tries to change the database by hand; answers whether it let that happen.
    pub async fn takes(&self, sql: &'static str) -> bool {
        let mut connection = self.connect().await;
        let taken = sqlx::query(sql).execute(&mut connection).await.is_ok();
        connection.close().await.unwrap();
        taken
    }
}
