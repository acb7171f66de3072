//! The SQLite store against the contract, and what is its own.

use async_trait::async_trait;
use chassis::StoreError;
use chassis::context::Context;
use kernel::OrderId;
use order::adapters::outbound::sqlite::{DATABASE, MIGRATIONS, SqliteOrders};
use order::application::ports::{Orders, Postpone};
use order::domain::{OrderEvent, Step, Tries};
use tempfile::TempDir;

use crate::contract::{self, Probe, Rows};
use crate::harness::{sqlite_orders, storage};

struct Books {
    folder: TempDir,
    orders: SqliteOrders,
}

impl Books {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { orders: sqlite_orders(&folder), folder }
    }

    fn reopened(self) -> Self {
        let Self { folder, orders } = self;
        drop(orders);
        Self { orders: sqlite_orders(&folder), folder }
    }

    /// The columns of every row, with a space between and `-` for what is not there.
    fn texts(&self, columns: &str, from: &str) -> Vec<String> {
        let joined: Vec<String> = columns.split(' ').map(|column| format!("coalesce({column}, '-')")).collect();
        let connection = storage(&self.folder).open(DATABASE).unwrap();
        let mut statement = connection.prepare(&format!("SELECT {} FROM {from}", joined.join("||' '||"))).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn execute(&self, sql: &str) {
        storage(&self.folder).open(DATABASE).unwrap().execute_batch(sql).unwrap();
    }
}

#[async_trait]
impl Probe for Books {
    async fn rows(&self, id: OrderId) -> Rows {
        let columns = "status cancel_reason version stock_committed epoch attempt unknown_step due_at";
        let events = format!("order_events WHERE aggregate = '{id}' ORDER BY version");
        let attempts = format!("saga_attempts WHERE order_id = '{id}' ORDER BY sequence");
        Rows {
            order: self.texts(columns, &format!("orders WHERE id = '{id}'")).pop().unwrap(),
            tries: self.texts("attempt unknown broken", &format!("orders WHERE id = '{id}'")).pop().unwrap(),
            events: self.texts("version kind", &events),
            attempts: self.texts("sequence step number outcome epoch took_us detail", &attempts),
        }
    }
}

macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            contract::$case(&Books::new().orders).await;
        })*
    };
}

macro_rules! probed_contract {
    ($($case:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let books = Books::new();
            contract::$case(&books.orders, &books).await;
        })*
    };
}

contract!(
    of_two_take_overs_one_wins,
    only_what_is_due_is_claimed_and_only_once,
    nothing_is_due_when_nothing_is_left_to_do,
    only_an_unknown_step_is_woken,
    orders_are_listed_oldest_first_by_user_or_all,
    a_listing_page_by_page_leaves_nothing_out_where_many_came_at_once,
    stuck_are_those_that_wait_for_an_operator_and_those_that_fail_too_often,
    of_those_that_fail_too_often_only_what_must_be_done_is_stuck,
    attempts_are_read_in_the_order_they_were_made,
    an_empty_batch_has_no_answers,
    an_order_that_does_not_exist_is_not_found_nor_written,
);

probed_contract!(
    an_order_is_created_once_and_the_second_time_nothing_changes,
    a_commit_is_there_in_full,
    a_commit_under_an_old_version_is_refused_and_leaves_nothing,
    a_commit_ahead_of_the_version_is_refused_and_leaves_no_gap,
    a_commit_under_an_old_epoch_is_refused_and_leaves_nothing,
    a_take_over_locks_the_former_owner_out,
    a_postponed_step_keeps_its_count_until_the_next_commit,
    a_retry_makes_an_order_due_with_all_its_tries_and_locks_its_owner_out,
    one_bad_commit_spoils_no_other_of_its_batch,
);

#[tokio::test]
async fn a_reopened_database_continues_where_it_stood() {
    let books = Books::new();
    let first = contract::created(&books.orders, "a").await;
    let second = contract::created(&books.orders, "b").await;
    let committed = contract::reserve(&first);
    contract::commit_one(&books.orders, committed.clone()).await.unwrap();
    let later = contract::postpone(&second, Step::ReserveStock, contract::at(13));
    contract::postpone_one(&books.orders, later).await.unwrap();

    let books = books.reopened();
    assert_eq!(contract::get(&books.orders, committed.id).await.order, committed.order);
    assert_eq!(books.orders.next_due().await.unwrap(), Some(contract::at(13)));
    let claimed = books.orders.claim_due(contract::at(13), std::time::Duration::from_secs(5), 9).await.unwrap();
    assert_eq!((claimed[0].order.id, claimed[0].tries.attempts, claimed[0].epoch), (second.order.id, 1, 2));
    contract::commit_one(&books.orders, contract::reserve(&claimed[0])).await.unwrap();
}

/// Two orders that a program of the first schema left behind, both asked for the fourth time: one
/// answered ongoing three times.
#[tokio::test]
async fn a_database_of_the_former_schema_is_opened_and_its_attempts_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = chassis::metrics::Metrics::new("test");
    drop(chassis::sqlite::Db::open(&storage(&folder), DATABASE, &MIGRATIONS[..1], &metrics).unwrap());
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
    let claimed = orders.claim_due(contract::at(1), std::time::Duration::from_secs(5), 9).await.unwrap();
    for stored in &claimed {
        contract::commit_one(&orders, contract::reserve(stored)).await.unwrap();
    }
    assert_eq!(claimed.len(), 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_takes_its_commit_with_it() {
    let books = Books::new();
    let stored = contract::created(&books.orders, "k").await;
    // The next version is taken already, as if somebody had written past the row's fence.
    let id = stored.order.id;
    books
        .execute(&format!("INSERT INTO order_events VALUES ('{id}', 2, 'StockReserved', '{{}}', 0, NULL, NULL, NULL)"));
    let before = books.rows(id).await;
    let answer = contract::commit_one(&books.orders, contract::reserve(&stored)).await;
    assert!(matches!(answer, Err(StoreError::Conflict(_))), "{answer:?}");
    assert_eq!(books.rows(id).await, before);
}

#[tokio::test]
async fn an_attempt_that_cannot_be_stored_takes_its_commit_with_it() {
    let books = Books::new();
    let stored = contract::created(&books.orders, "k").await;
    books.execute("CREATE TRIGGER full BEFORE INSERT ON saga_attempts BEGIN SELECT raise(ABORT, 'disk full'); END");
    let before = books.rows(stored.order.id).await;
    assert!(contract::commit_one(&books.orders, contract::reserve(&stored)).await.is_err());
    let later: Postpone = contract::postpone(&stored, Step::ReserveStock, contract::at(99));
    assert!(contract::postpone_one(&books.orders, later).await.is_err());
    assert!(books.orders.create(&[contract::new_order(1, "other", 10)]).await[0].is_err());
    assert_eq!(books.rows(stored.order.id).await, before);
    assert_eq!(books.texts("id", "orders").len(), 1);
}

#[tokio::test]
async fn a_log_that_breaks_the_rules_is_corrupt_not_repaired() {
    let books = Books::new();
    let id = contract::created(&books.orders, "k").await.order.id;
    for (kind, data) in [("OrderConfirmed", "{}"), ("Rubbish", "{}"), ("StockReserved", "[")] {
        books.execute(&format!("INSERT INTO order_events VALUES ('{id}', 2, '{kind}', '{data}', 0, NULL, NULL, NULL)"));
        assert!(matches!(books.orders.get(id).await, Err(StoreError::Corrupt(_))), "{kind}");
        books.execute("DELETE FROM order_events WHERE version = 2");
    }
}

#[tokio::test]
async fn events_carry_the_trace_they_were_made_in_and_the_order_the_one_it_began_in() {
    let books = Books::new();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = Context { trace: trace.parse().ok(), token: None };
    let stored = context.scope(contract::created(&books.orders, "k")).await;
    assert_eq!(stored.traceparent.as_deref(), Some(trace));
    let reserved = contract::commit(&stored, Step::ReserveStock, OrderEvent::StockReserved {});
    contract::commit_one(&books.orders, reserved).await.unwrap();
    assert_eq!(books.texts("traceparent", "order_events ORDER BY version"), [trace, "-"]);
    assert_eq!(contract::get(&books.orders, stored.order.id).await.traceparent.as_deref(), Some(trace));
}
