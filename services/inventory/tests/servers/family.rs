//! The adapters for PostgreSQL and Redis, as the tests of both families see them.

use std::sync::Arc;
use std::time::Duration;

use chassis::Backing;
use chassis::clock::SystemClock;
use chassis::events::Outbox;
use chassis::metrics::Metrics;
use chassis::redis::Redis;
use chassis::rng::Seeds;
use inventory::adapters::outbound::postgres::PostgresStock;
use inventory::adapters::outbound::redis::{RedisLocks, RedisStockCache};
use inventory::adapters::outbound::rows::DATABASE;
use inventory::application::ports::{RestockLock, StockCache, StockStore};
use servers::Borrowed;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

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
        let options = chassis::postgres::options(&connections.postgres).unwrap();
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

    /// Somebody else's change of product 2, which is not committed yet: whoever wants to write that row waits.
    pub async fn meddle(&self, change: &str) -> Meddling {
        let mut connection = self.connection().await;
        let sql = format!("BEGIN; UPDATE stock SET {change} WHERE product_id = 2");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        Meddling(connection)
    }

    /// Waits until somebody waits for a row.
    pub async fn somebody_waits(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let sql = "SELECT pid::text FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event <> 'advisory'";
        while self.texts(sql).await.is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "nobody waits");
            tokio::task::yield_now().await;
        }
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

/// A change under way; it is undone when this is dropped.
pub struct Meddling(PgConnection);

impl Meddling {
    pub async fn commit(mut self) {
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.unwrap();
    }
}
