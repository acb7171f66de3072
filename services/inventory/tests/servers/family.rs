//! The adapters for PostgreSQL and Redis, as the tests of both families see them.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::SystemClock;
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use eventlog::{Backing, Outbox};
use inventory::adapters::outbound::postgres::PostgresStock;
use inventory::adapters::outbound::redis::{RedisLocks, RedisStockCache};
use inventory::adapters::outbound::rows::DATABASE;
use inventory::application::ports::{RestockLock, StockCache, StockStore};
use servers::{Borrowed, Meddling};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::redis::Redis;

/// Where one shop keeps everything. It outlives the service.
pub struct Home {
    borrowed: Borrowed,
}

impl Home {
    pub async fn new() -> Self {
        Self { borrowed: servers::for_test().unwrap() }
    }

    pub fn backing(&self) -> Backing {
        Backing::Servers(self.borrowed.connections.clone())
    }

    pub async fn store(&self) -> (Arc<dyn StockStore>, Arc<dyn Outbox>) {
        let store = PostgresStock::open(&self.borrowed.connections, &Metrics::new("test")).await.unwrap();
        let outbox = store.outbox(Arc::new(SystemClock));
        (Arc::new(store), Arc::new(outbox))
    }

    pub async fn redis(&self) -> Arc<Redis> {
        Arc::new(Redis::connect(&self.borrowed.connections).await.unwrap())
    }

    pub async fn cache(&self, ttl: Duration) -> Arc<dyn StockCache> {
        Arc::new(RedisStockCache::new(self.redis().await, ttl))
    }

    pub async fn lock(&self) -> Arc<dyn RestockLock> {
        Arc::new(RedisLocks::new(self.redis().await, &Seeds::from_entropy().unwrap()))
    }

    async fn connection(&self) -> PgConnection {
        let connections = &self.borrowed.connections;
        let options = store::postgres::options(&connections.postgres).unwrap();
        PgConnection::connect_with(&options.database(&connections.database(DATABASE))).await.unwrap()
    }

    /// Runs statements on a connection of its own.
    pub async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection().await).await.unwrap();
    }

    /// The first column, a text, of every row.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.connection().await).await.unwrap()
    }

    /// What somebody else has written and not committed yet.
    pub async fn meddle(&self, statements: &str) -> Meddling {
        Meddling::begin(&self.borrowed.connections, DATABASE, statements).await.unwrap()
    }

    /// From now on this product's row cannot be written.
    pub async fn break_product(&self, product: i64) {
        self.execute(&format!(
            "CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'disk full'; END $$;
             CREATE TRIGGER broken BEFORE UPDATE ON stock FOR EACH ROW WHEN (NEW.product_id = {product})
             EXECUTE FUNCTION break()"
        ))
        .await;
    }

    pub async fn mend(&self) {
        self.execute("DROP TRIGGER broken ON stock").await;
    }
}
