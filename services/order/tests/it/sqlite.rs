//! The SQLite store against the contract, and what is its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SystemClock;
use order::adapters::outbound::memory::InProcessKeys;
use order::adapters::outbound::sqlite::{DATABASE, MIGRATIONS, SqliteOrders};
use order::application::ports::{IdempotencyKeys, Orders};
use order::domain::{Step, Tries};
use tempfile::TempDir;

use crate::contract::{self, Probe};
use crate::harness::{sqlite_orders, storage};
use crate::keys;
use crate::rebuild::{self, Bench};

struct Books {
    folder: Arc<TempDir>,
    orders: Arc<SqliteOrders>,
}

impl Books {
    fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self { orders: Arc::new(sqlite_orders(&folder)), folder }
    }

    fn reopened(self) -> Self {
        let Self { folder, orders } = self;
        drop(orders);
        Self { orders: Arc::new(sqlite_orders(&folder)), folder }
    }

    async fn second(&self) -> Arc<SqliteOrders> {
        Arc::new(sqlite_orders(&self.folder))
    }

    async fn bench() -> Bench {
        let books = Self::new();
        let (orders, second) = (books.orders.clone(), books.second().await);
        let (projection, second_projection) = (orders.clone(), second.clone());
        Bench { orders, second, projection, second_projection, probe: Arc::new(books) }
    }
}

#[async_trait]
impl Probe for Books {
    async fn texts(&self, columns: &str, from: &str) -> Vec<String> {
        let joined: Vec<String> = columns.split(' ').map(|column| format!("coalesce({column}, '-')")).collect();
        let connection = storage(&self.folder).open(DATABASE).unwrap();
        let mut statement = connection.prepare(&format!("SELECT {} FROM {from}", joined.join("||' '||"))).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    async fn execute(&self, sql: &str) {
        storage(&self.folder).open(DATABASE).unwrap().execute_batch(sql).unwrap();
    }

    async fn shape(&self) -> Vec<String> {
        let shape =
            self.texts("name sql", "sqlite_master WHERE tbl_name LIKE 'orders%' ORDER BY type DESC, name").await;
        // A rename quotes the name.
        shape.into_iter().map(|line| line.replace("TABLE \"orders\"", "TABLE orders")).collect()
    }
}

async fn keys(ttl: Duration) -> Arc<dyn IdempotencyKeys> {
    Arc::new(InProcessKeys::new(ttl, Arc::new(SystemClock)))
}

contract::every_case!(Books::new());
rebuild::every_rebuild!(Books::bench().await);
keys::every_key!(keys);

#[tokio::test]
async fn a_reopened_database_continues_where_it_stood() {
    let books = Books::new();
    let first = contract::created(&*books.orders, "a").await;
    let second = contract::created(&*books.orders, "b").await;
    let committed = contract::reserve(&first);
    contract::commit_one(&*books.orders, committed.clone()).await.unwrap();
    let later = contract::postpone(&second, Step::ReserveStock, contract::at(13));
    contract::postpone_one(&*books.orders, later).await.unwrap();

    let books = books.reopened();
    assert_eq!(contract::get(&*books.orders, committed.id).await.order, committed.order);
    assert_eq!(books.orders.next_due().await.unwrap(), Some(contract::at(13)));
    let claimed = books.orders.claim_due(contract::at(13), Duration::from_secs(5), 9).await.unwrap();
    assert_eq!((claimed[0].order.id, claimed[0].tries.attempts, claimed[0].epoch), (second.order.id, 1, 2));
    contract::commit_one(&*books.orders, contract::reserve(&claimed[0])).await.unwrap();
}

/// Two orders that a program of the first schema left behind, both asked for the fourth time: one
/// answered ongoing three times.
#[tokio::test]
async fn a_database_of_the_former_schema_is_opened_and_its_attempts_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = chassis::metrics::Metrics::new("test");
    drop(store::sqlite::Db::open(&storage(&folder), DATABASE, &MIGRATIONS[..1], &metrics).unwrap());
    let (polled, lost) = (contract::new_order(1, "polled", 10), contract::new_order(1, "lost", 10));
    let connection = storage(&folder).open(DATABASE).unwrap();
    for (new, first) in [(&polled, "ongoing"), (&lost, "unknown")] {
        let (id, user) = (new.id, crate::harness::user(1));
        let created = serde_json::to_value(&new.created).unwrap();
        let (data, lines) = (&created["data"], &created["data"]["lines"]);
        let rows = format!(
            "INSERT INTO orders (id, user_id, status, total_minor, currency, lines, fingerprint, version, attempt,
                                 due_at, created_at, updated_at)
             VALUES ('{id}', '{user}', 'PENDING', 2000, 'EUR', '{lines}', '1x2', 1, 4, 1, 1, 1);
             INSERT INTO order_events VALUES ('{id}', 1, 'OrderCreated', '{data}', 1, NULL, NULL, NULL);
             INSERT INTO saga_attempts VALUES ('{id}', 1, 'create', 1, 'done', 1, 1, NULL, NULL);"
        );
        connection.execute_batch(&rows).unwrap();
        for (number, outcome) in [(1, first), (2, first), (3, first), (4, "unknown")] {
            let row = format!(
                "INSERT INTO saga_attempts
                 VALUES ('{id}', {number} + 1, 'reserve_stock', {number}, '{outcome}', 1, 1, 9, NULL)"
            );
            connection.execute_batch(&row).unwrap();
        }
    }
    drop(connection);

    let orders = sqlite_orders(&folder);
    let tries = |unknown| Tries { attempts: 4, unknown, broken: 0 };
    assert_eq!(contract::get(&orders, polled.id).await.tries, tries(1));
    assert_eq!(contract::get(&orders, lost.id).await.tries, tries(4));
    let claimed = orders.claim_due(contract::at(1), Duration::from_secs(5), 9).await.unwrap();
    for stored in &claimed {
        contract::commit_one(&orders, contract::reserve(stored)).await.unwrap();
    }
    assert_eq!(claimed.len(), 2);
}
