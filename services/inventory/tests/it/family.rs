//! The embedded adapters, as the tests of both families see them.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::SystemClock;
use chassis::metrics::Metrics;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded, Outbox};
use inventory::adapters::outbound::memory::{MemoryLocks, MemoryStockCache};
use inventory::adapters::outbound::rows::DATABASE;
use inventory::adapters::outbound::sqlite::SqliteStock;
use inventory::application::ports::{RestockLock, StockCache, StockStore};
use kernel::OrderId;
use store::sqlite::Storage;
use tempfile::TempDir;

/// Where one shop keeps everything. It outlives the service.
pub struct Home {
    folder: TempDir,
    log: Arc<SqliteEventLog>,
}

impl Home {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteEventLog::open(&Storage::Folder(folder.path().to_owned()), Arc::new(SystemClock)).unwrap();
        Self { folder, log: Arc::new(log) }
    }

    fn storage(&self) -> Storage {
        Storage::Folder(self.folder.path().to_owned())
    }

    pub fn backing(&self) -> Backing {
        Backing::Embedded(Embedded { storage: self.storage(), log: self.log.clone() })
    }

    pub async fn store(&self) -> (Arc<dyn StockStore>, Arc<dyn Outbox>) {
        let store = SqliteStock::open(&self.storage(), &Metrics::new("test")).unwrap();
        let outbox = store.outbox(Arc::new(SystemClock));
        (Arc::new(store), Arc::new(outbox))
    }

    pub async fn cache(&self, ttl: Duration) -> Arc<dyn StockCache> {
        Arc::new(MemoryStockCache::new(100, ttl))
    }

    pub async fn lock(&self) -> Arc<dyn RestockLock> {
        Arc::new(MemoryLocks::default())
    }

    /// Runs statements on a connection of its own.
    pub async fn execute(&self, sql: &str) {
        self.storage().open(DATABASE).unwrap().execute_batch(sql).unwrap();
    }

    /// The first column, a text, of every row.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.storage().open(DATABASE).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// From now on somebody writes to product 2 (`change`) whenever this order's answer is written: as if
    /// between the reading and the writing of the product's row.
    pub async fn meddle(&self, order: OrderId, change: &str) {
        self.execute(&format!(
            "CREATE TRIGGER meddler AFTER INSERT ON operations WHEN NEW.order_id = '{order}'
             BEGIN UPDATE stock SET {change} WHERE product_id = 2; END"
        ))
        .await;
    }

    pub async fn stop_meddling(&self) {
        self.execute("DROP TRIGGER meddler").await;
    }

    /// From now on this product's row cannot be written.
    pub async fn break_product(&self, product: i64) {
        self.execute(&format!(
            "CREATE TRIGGER broken BEFORE UPDATE ON stock WHEN NEW.product_id = {product}
             BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        ))
        .await;
    }

    pub async fn mend(&self) {
        self.execute("DROP TRIGGER broken").await;
    }
}
