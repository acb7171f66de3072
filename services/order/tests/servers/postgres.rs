//! The PostgreSQL store against the contract, and what is its own.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use chassis::postgres::Db;
use order::adapters::outbound::postgres::{DATABASE, MIGRATIONS, PostgresOrders};
use servers::Borrowed;
use sqlx::AssertSqlSafe;

use crate::contract::{self, Probe};

struct Books {
    servers: Borrowed,
    db: Arc<Db>,
    orders: PostgresOrders,
}

async fn open(servers: &Borrowed) -> Arc<Db> {
    Arc::new(Db::open(&servers.connections, DATABASE, MIGRATIONS, &Metrics::new("test")).await.unwrap())
}

impl Books {
    async fn new() -> Self {
        let servers = servers::for_test().unwrap();
        let db = open(&servers).await;
        Self { orders: PostgresOrders::new(db.clone()), db, servers }
    }

    async fn second(&self) -> PostgresOrders {
        PostgresOrders::new(open(&self.servers).await)
    }
}

#[async_trait]
impl Probe for Books {
    async fn texts(&self, columns: &str, from: &str) -> Vec<String> {
        // As the other family writes them.
        let text = |column: &str| match column {
            "stock_committed" => "stock_committed::int::text".to_owned(),
            column => format!("coalesce({column}::text, '-')"),
        };
        let columns: Vec<String> = columns.split(' ').map(text).collect();
        let sql = format!("SELECT concat_ws(' ', {}) FROM {from}", columns.join(", "));
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(self.db.pool()).await.unwrap()
    }

    async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.db.pool()).await.unwrap();
    }
}

contract::every_case!(Books::new().await);
