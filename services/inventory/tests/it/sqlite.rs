//! The SQLite store against the contract, and what is its own.

use std::sync::Arc;

use chassis::StoreError;
use chassis::clock::SystemClock;
use chassis::events::Outbox;
use chassis::metrics::Metrics;
use chassis::sqlite::Storage;
use inventory::adapters::outbound::sqlite::{DATABASE, SqliteStock};
use inventory::application::ports::{StockStore, StockStoreError};
use inventory::domain::{Refusal, ReserveOutcome, Stock};
use tempfile::TempDir;

use crate::contract::{self, counts, outcomes, reserve, restock};
use crate::harness::order;

struct Books {
    folder: TempDir,
    store: SqliteStock,
    outbox: Arc<dyn Outbox>,
}

impl Books {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let store = SqliteStock::open(&storage, &Metrics::new("test")).unwrap();
        let outbox = Arc::new(store.outbox(Arc::new(SystemClock)));
        Self { folder, store, outbox }
    }

    fn connection(&self) -> rusqlite::Connection {
        Storage::Folder(self.folder.path().to_owned()).open(DATABASE).unwrap()
    }

    fn execute(&self, sql: &str) {
        self.connection().execute_batch(sql).unwrap();
    }

    /// The first column of every row.
    fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            contract::$case(&Books::new().store).await;
        })*
    };
}

contract!(
    a_batch_is_decided_in_arrival_order_against_its_running_balance,
    a_refused_command_does_not_stop_the_others,
    an_empty_batch_has_no_answers,
    a_release_before_its_reservation_blocks_it_also_within_a_batch,
    a_release_of_a_refused_order_gives_nothing_back,
    an_answer_tells_the_changed_rows_once,
    a_restock_counts_once_under_its_id,
);

#[tokio::test]
async fn every_change_of_the_barrier_leaves_one_event() {
    let books = Books::new();
    contract::every_change_of_the_barrier_leaves_one_event(&books.store, &*books.outbox).await;
}

#[tokio::test]
async fn one_damaged_order_fails_alone_in_its_batch() {
    let books = Books::new();
    books.store.restock(&[restock("a", 1, 5)]).await;
    let id = order(2);
    books.execute(&format!("INSERT INTO operations VALUES ('{id}', 'reserve', 'rubbish', 0)"));
    let mut answers = books.store.reserve(&[reserve(1, &[(1, 1)]), reserve(2, &[(1, 1)]), reserve(3, &[(1, 1)])]).await;
    assert!(matches!(answers.remove(1), Err(StockStoreError::Store(StoreError::Corrupt(_)))));
    assert_eq!(outcomes(answers), [ReserveOutcome::Reserved; 2]);
    assert_eq!(counts(&books.store, 1).await, (3, 2, 0));
}

#[tokio::test]
async fn a_row_that_changes_under_the_decision_is_a_conflict_and_nothing_is_written() {
    // Each part of the predicate on its own: a write to product 1 spoils product 2, as if somebody
    // else had written between the reading and the writing of it.
    for meddling in ["version = version + 1", "available = 0"] {
        let books = Books::new();
        books.store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
        books.execute(&format!(
            "CREATE TRIGGER meddler AFTER UPDATE ON stock WHEN NEW.product_id = 1
             BEGIN UPDATE stock SET {meddling} WHERE product_id = 2; END"
        ));
        let answer = books.store.reserve(&[reserve(1, &[(1, 1), (2, 1)])]).await.pop().unwrap();
        assert!(matches!(answer, Err(StockStoreError::Store(StoreError::Conflict(_)))), "{meddling}: {answer:?}");
        assert_eq!((counts(&books.store, 1).await, counts(&books.store, 2).await), ((5, 0, 0), (5, 0, 0)));
        books.execute("DROP TRIGGER meddler");
        let again = books.store.reserve(&[reserve(1, &[(1, 1), (2, 1)])]).await;
        assert_eq!(outcomes(again), [ReserveOutcome::Reserved]);
    }
}

#[tokio::test]
async fn the_rows_that_an_audit_reads_say_what_became_of_each_order() {
    let books = Books::new();
    books.store.restock(&[restock("a", 1, 5)]).await;
    let one = |number| reserve(number, &[(1, 1)]);
    books.store.release(&[contract::release(5)]).await;
    books.store.reserve(&[one(1), one(2), one(3), reserve(4, &[(1, 9)]), one(5)]).await;
    books.store.release(&[contract::release(2)]).await;
    books.store.commit(&[contract::commit(3)]).await;

    let states = books.texts("SELECT state FROM reservations ORDER BY order_id");
    assert_eq!(states, ["held", "released", "sold"]);
    let outcomes = books.texts("SELECT operation || ' ' || outcome FROM operations ORDER BY order_id, operation");
    assert_eq!(
        outcomes,
        [
            "reserve reserved",
            "release released",
            "reserve reserved",
            "commit committed",
            "reserve reserved",
            "reserve sold_out:1",
            "release nothing",
            "reserve blocked",
        ]
    );
    assert_eq!(books.texts("SELECT restock_id || ' ' || quantity FROM restocks"), ["a 5"]);
}

#[tokio::test]
async fn a_reservation_that_the_stock_does_not_back_is_not_given_back() {
    let books = Books::new();
    books.store.restock(&[restock("a", 1, 5)]).await;
    books.store.reserve(&[reserve(1, &[(1, 3)])]).await;
    books.execute("UPDATE stock SET reserved = 2");
    let answer = books.store.release(&[contract::release(1)]).await.pop().unwrap();
    assert!(matches!(answer, Err(StockStoreError::Store(StoreError::Corrupt(_)))), "{answer:?}");
}

#[tokio::test]
async fn a_full_product_takes_no_more() {
    let books = Books::new();
    books.execute(&format!("INSERT INTO stock VALUES (1, 0, 0, {}, 1)", Stock::UNITS_MAX));
    let answer = books.store.restock(&[restock("a", 1, 1)]).await.pop().unwrap();
    assert!(matches!(answer, Err(StockStoreError::Refused(Refusal::Full(_)))), "{answer:?}");
}
