//! The PostgreSQL store against the contract, and what is its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::metrics::Metrics;
use kernel::OrderId;
use order::adapters::outbound::postgres::{DATABASE, MIGRATIONS, PostgresOrders};
use order::adapters::outbound::redis::RedisKeys;
use order::application::ports::{IdempotencyKeys, Orders, Projection};
use order::domain::Step;
use servers::Borrowed;
use sqlx::AssertSqlSafe;
use store::StoreError;
use store::postgres::Db;
use store::redis::Redis;

use crate::contract::{self, Probe};
use crate::harness::{PATIENCE, within};
use crate::keys;
use crate::rebuild::{self, Bench};

struct Books {
    servers: Borrowed,
    db: Arc<Db>,
    orders: Arc<PostgresOrders>,
}

async fn open(servers: &Borrowed) -> Arc<Db> {
    Arc::new(Db::open(&servers.connections, DATABASE, MIGRATIONS, &Metrics::new("test")).await.unwrap())
}

impl Books {
    async fn new() -> Self {
        let servers = servers::for_test().unwrap();
        let db = open(&servers).await;
        Self { orders: Arc::new(PostgresOrders::new(db.clone(), &Metrics::new("test"))), db, servers }
    }

    async fn second(&self) -> Arc<PostgresOrders> {
        Arc::new(PostgresOrders::new(open(&self.servers).await, &Metrics::new("test")))
    }

    async fn bench() -> Bench {
        let books = Self::new().await;
        let (orders, second) = (books.orders.clone(), books.second().await);
        let (projection, second_projection) = (orders.clone(), second.clone());
        Bench { orders, second, projection, second_projection, probe: Arc::new(books) }
    }
}

#[async_trait]
impl Probe for Books {
    async fn texts(&self, columns: &str, from: &str) -> Vec<String> {
        // As the other family writes them.
        let text = |column: &str| match column {
            "stock_committed" => "stock_committed::int::text".to_owned(),
            column => format!("coalesce(({column})::text, '-')"),
        };
        let columns: Vec<String> = columns.split(' ').map(text).collect();
        let sql = format!("SELECT concat_ws(' ', {}) FROM {from}", columns.join(", "));
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(self.db.pool()).await.unwrap()
    }

    async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.db.pool()).await.unwrap();
    }

    async fn shape(&self) -> Vec<String> {
        let columns = "attname format_type(atttypid,atttypmod) attnotnull attnum";
        let mut shape = self.texts(columns, "pg_attribute WHERE attrelid = 'orders'::regclass ORDER BY attnum").await;
        shape.extend(self.texts("indexdef", "pg_indexes WHERE tablename LIKE 'orders%' ORDER BY indexname").await);
        shape.extend(
            self.texts(
                "conname pg_get_constraintdef(oid)",
                "pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY conname",
            )
            .await,
        );
        shape.extend(
            self.texts("relname reloptions relacl", "pg_class WHERE relname LIKE 'orders%' ORDER BY relname").await,
        );
        shape.extend(
            self.texts(
                "adnum pg_get_expr(adbin,adrelid)",
                "pg_attrdef WHERE adrelid = 'orders'::regclass ORDER BY adnum",
            )
            .await,
        );
        shape
    }
}

async fn keys(ttl: Duration) -> Arc<dyn IdempotencyKeys> {
    let servers = servers::for_test().unwrap();
    let redis = Arc::new(Redis::connect(&servers.connections).await.unwrap());
    Arc::new(Held { keys: RedisKeys::new(redis, ttl), _servers: servers })
}

/// The keys, and the server that they stand in.
struct Held {
    keys: RedisKeys,
    _servers: Borrowed,
}

#[async_trait]
impl IdempotencyKeys for Held {
    async fn used(&self, id: OrderId) -> bool {
        self.keys.used(id).await
    }
}

contract::every_case!(Books::new().await);
rebuild::every_rebuild!(Books::bench().await);

#[tokio::test]
async fn a_second_instance_does_not_rebuild_at_the_same_time() {
    rebuild::a_second_instance_does_not_rebuild_at_the_same_time(Books::bench().await).await;
}

keys::every_key!(keys);

/// What the other one waits for is a lock on the table: so many do, as the database sees it.
async fn waiting(db: &Db, count: i64) {
    within(PATIENCE, async || {
        let sql = "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
                   WHERE NOT granted AND d.datname = current_database()";
        let waiting: i64 = sqlx::query_scalar(sql).fetch_one(db.pool()).await.unwrap();
        (waiting == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_written_while_the_table_is_swapped_waits_and_finds_the_new_one() {
    let books = Books::new().await;
    let second = books.second().await;
    let [moved, stale] = [contract::created(&*books.orders, "moved").await, contract::created(&*second, "stale").await];
    contract::commit_one(&*second, contract::reserve(&stale)).await.unwrap();
    books.execute("UPDATE order_events SET published_at = 1, published_seq = 1").await;
    let mut shadow = books.orders.begin().await.unwrap();
    shadow.write(&[], contract::at(20)).await.unwrap();

    // Somebody reads, so that the swap waits, and everybody else for it.
    let mut reading = books.db.pool().begin().await.unwrap();
    sqlx::raw_sql("SELECT count(*) FROM orders").execute(&mut *reading).await.unwrap();
    // Nothing is in the shadow: whatever comes after the sequence 0 is caught up.
    let swapping = tokio::spawn(shadow.swap(0, contract::at(20)));
    waiting(&books.db, 1).await;
    let (going, late, new) = (second.clone(), contract::reserve(&moved), contract::new_order(1, "new", 10));
    let commits = tokio::spawn(async move { going.commit(&[late, contract::reserve(&stale)]).await });
    let going = books.orders.clone();
    let creation = tokio::spawn(async move { going.create(&[new]).await });
    waiting(&books.db, 3).await;
    reading.rollback().await.unwrap();

    let rebuilt = swapping.await.unwrap().unwrap();
    assert_eq!((rebuilt.orders, rebuilt.missing, rebuilt.differing), (2, 0, 0));
    let answers = commits.await.unwrap();
    assert!(answers[0].is_ok() && matches!(answers[1], Err(StoreError::Conflict(_))), "{answers:?}");
    assert!(creation.await.unwrap()[0].is_ok());
    let rows = books.texts("status version epoch", "orders ORDER BY created_at, status").await;
    assert_eq!(rows, ["PENDING 1 1", "RESERVED 2 1", "RESERVED 2 1"]);
}

#[tokio::test]
async fn a_swap_that_gets_no_lock_in_time_changes_nothing_and_says_so() {
    let books = Books::new().await;
    contract::created(&*books.orders, "k").await;
    let shadow = books.orders.begin().await.unwrap();
    let mut reading = books.db.pool().begin().await.unwrap();
    sqlx::raw_sql("SELECT count(*) FROM orders").execute(&mut *reading).await.unwrap();
    let refused = shadow.swap(0, contract::at(20)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    reading.rollback().await.unwrap();
    assert_eq!(books.texts("status", "orders").await, ["PENDING"]);
    let shadow = within(PATIENCE, async || books.orders.begin().await.ok()).await;
    assert_eq!(shadow.swap(0, contract::at(20)).await.unwrap().orders, 1);
}

/// Plans that are made while there is nothing in the tables are kept while they grow.
#[tokio::test]
async fn hot_statements_look_orders_up_by_their_keys_however_few_there_are() {
    let books = Books::new().await;
    let mut connection = books.db.pool().acquire().await.unwrap();
    let arguments = |count: usize| vec!["NULL"; count].join(", ");
    for (name, sql, count) in order::adapters::outbound::postgres::HOT {
        let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE \"{name}\" AS {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let explain = format!("EXPLAIN EXECUTE \"{name}\" ({})", arguments(*count));
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        let whole = plan.iter().filter(|line| line.contains("Seq Scan"));
        assert_eq!(whole.count(), 0, "{name}: {plan:#?}");
        assert!(plan.iter().any(|line| line.contains("Index")) || *name == "create", "{name}: {plan:#?}");
        let unkeyed = plan.windows(2).find(|two| two[0].contains("Index Scan") && !two[1].contains("Index Cond"));
        assert!(unkeyed.is_none(), "{name}: {unkeyed:?}");
    }
}

#[tokio::test]
async fn a_statement_of_every_order_is_planned_for_any_number_and_not_each_time() {
    let books = Books::new().await;
    for number in 0..100 {
        let stored = contract::created(&*books.orders, &format!("k{number}")).await;
        let later = contract::postpone(&stored, Step::ReserveStock, contract::at(9));
        contract::postpone_one(&*books.orders, later).await.unwrap();
        contract::commit_one(&*books.orders, contract::reserve(&stored)).await.unwrap();
        contract::get(&*books.orders, stored.order.id).await;
    }
    // On one of the connections that were used: after five plans for what came, one for whatever comes.
    let ours = "FROM pg_prepared_statements WHERE statement LIKE '%(SELECT $%'";
    let again = format!("SELECT statement {ours} AND custom_plans > 5");
    let again: Vec<String> = sqlx::query_scalar(AssertSqlSafe(again)).fetch_all(books.db.pool()).await.unwrap();
    assert_eq!(again, Vec::<String>::new());
    let kept = format!("SELECT count(*) {ours} AND generic_plans > 0");
    let kept: i64 = sqlx::query_scalar(AssertSqlSafe(kept)).fetch_one(books.db.pool()).await.unwrap();
    assert!(kept >= 1, "{kept}");
}
