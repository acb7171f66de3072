//! Rows and keys that another instance changes between reading and writing. The other one is a connection that has
//! written and not committed yet: whoever wants the same waits for it.

use inventory::application::ports::{ReserveOrder, StockStoreError};
use inventory::domain::{Refusal, ReleaseOutcome, ReserveOutcome};
use kernel::ProductId;
use servers::Meddling;
use store::StoreError;

use crate::contract::{Books, commit, outcomes, refused, release, reserve, restock};
use crate::harness::order;

/// Five units of two products.
async fn stocked() -> Books {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
    books
}

/// Does the work, which waits for the meddler, who then commits.
async fn overtaken<T>(meddling: Meddling, work: impl Future<Output = T>) -> T {
    let (done, committed) = tokio::join!(work, meddling.commit_when_somebody_waits());
    committed.unwrap();
    done
}

/// Orders, each one unit of product 1 and of product 2, while somebody changes product 2.
async fn reserved_under(change: &str, orders: &[u32]) -> (Books, Vec<ReserveOutcome>) {
    let books = stocked().await;
    let meddling = books.home.meddle(&format!("UPDATE stock SET {change} WHERE product_id = 2")).await;
    let batch: Vec<ReserveOrder> = orders.iter().map(|number| reserve(*number, &[(1, 1), (2, 1)])).collect();
    let answers = overtaken(meddling, books.store.reserve(&batch)).await;
    (books, outcomes(answers))
}

/// The kinds of events that an order has.
async fn told_of(books: &Books, number: u32) -> Vec<String> {
    let id = order(number);
    let sql = format!("SELECT kind FROM inventory_events WHERE aggregate = '{id}' ORDER BY version");
    books.home.texts(&sql).await
}

#[tokio::test]
async fn a_batch_on_a_row_that_has_moved_on_is_decided_anew_and_the_other_s_change_stays() {
    for orders in [&[1][..], &[1, 2, 3]] {
        let (books, outcomes) = reserved_under("version = version + 7, available = available + 1", orders).await;
        let many = orders.len() as i64;
        assert_eq!(outcomes, vec![ReserveOutcome::Reserved; orders.len()]);
        assert_eq!((books.counts(1).await, books.counts(2).await), ((5 - many, many, 0), (6 - many, many, 0)));
        let version = books.store.stock(ProductId(2)).await.unwrap().unwrap().version;
        assert!(version > 1 + 7, "each change raises it, and none is written over another: {version}");
        for number in orders {
            assert_eq!(told_of(&books, *number).await.len(), 1, "what was refused first has told nothing");
        }
    }
}

#[tokio::test]
async fn units_that_are_gone_without_a_word_are_not_sold() {
    let sold_out = ReserveOutcome::SoldOut(ProductId(2));
    let (books, outcomes) = reserved_under("available = 1", &[1, 2, 3]).await;
    assert_eq!(outcomes, [ReserveOutcome::Reserved, sold_out, sold_out]);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((4, 1, 0), (0, 1, 0)));
    let (books, outcomes) = reserved_under("available = 0", &[1]).await;
    assert_eq!(outcomes, [sold_out]);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((5, 0, 0), (0, 0, 0)));
}

#[tokio::test]
async fn units_that_nobody_holds_any_more_are_not_given_back() {
    let books = stocked().await;
    books.store.reserve(&[reserve(1, &[(2, 1)])]).await;
    let meddling = books.home.meddle("UPDATE stock SET reserved = 0 WHERE product_id = 2").await;
    let answer = overtaken(meddling, books.store.release(&[release(1)])).await.pop().unwrap();
    assert!(matches!(answer, Err(StockStoreError::Store(StoreError::Corrupt(_)))), "{answer:?}");
    assert_eq!(books.counts(2).await, (4, 0, 0), "nothing was written");
}

/// What another instance writes when it ends order 1, which holds one unit of product 2, first read at version 2.
fn ended(operation: &str, outcome: &str, kind: &str, state: &str) -> String {
    let id = order(1);
    let counts = if state == "sold" { "sold = sold + 1" } else { "available = available + 1" };
    format!(
        "INSERT INTO operations VALUES ('{id}', '{operation}', '{outcome}', 0);
         INSERT INTO inventory_events VALUES ('{id}', 2, '{kind}', '{{}}', 0);
         UPDATE reservations SET state = '{state}' WHERE order_id = '{id}';
         UPDATE stock SET reserved = reserved - 1, {counts}, version = version + 1 WHERE product_id = 2"
    )
}

#[tokio::test]
async fn an_order_that_another_instance_ends_meanwhile_is_answered_as_it_ended() {
    let sold = ended("commit", "committed", "StockCommitted", "sold");
    let given_back = ended("release", "released", "StockReleased", "released");
    let held = async || {
        let books = stocked().await;
        books.store.reserve(&[reserve(1, &[(2, 1)])]).await;
        books
    };
    // With a restock in the same batch, which takes the locks at once and waits for the row with them, and without.
    for more in [0, 1] {
        let restocks = vec![restock("c", 2, 1); more];
        let released = async |books: &Books, meanwhile: &str| {
            let meddling = books.home.meddle(meanwhile).await;
            let releases = [release(1)];
            let both = async { tokio::join!(books.store.release(&releases), books.store.restock(&restocks)).0 };
            overtaken(meddling, both).await
        };
        let books = held().await;
        let answers = released(&books, &given_back).await;
        assert_eq!(outcomes(answers), [ReleaseOutcome::Released], "a repetition hears the first answer");
        assert_eq!(books.counts(2).await, (5 + more as i64, 0, 0));

        let books = held().await;
        assert_eq!(refused(released(&books, &sold).await), Refusal::Committed(order(1)));
        assert_eq!(books.counts(2).await, (4 + more as i64, 0, 1));
    }
}

#[tokio::test]
async fn an_order_that_another_instance_blocks_meanwhile_reserves_nothing() {
    let (books, id) = (stocked().await, order(1));
    let blocked = format!(
        "INSERT INTO operations VALUES ('{id}', 'reserve', 'blocked', 0), ('{id}', 'release', 'nothing', 0);
         INSERT INTO inventory_events VALUES ('{id}', 1, 'StockBlocked', '{{}}', 0)"
    );
    let meddling = books.home.meddle(&blocked).await;
    let answers = overtaken(meddling, books.store.reserve(&[reserve(1, &[(1, 1)])])).await;
    assert_eq!(outcomes(answers), [ReserveOutcome::Blocked]);
    assert_eq!(books.counts(1).await, (5, 0, 0));
    assert_eq!(told_of(&books, 1).await, ["StockBlocked"]);
}

#[tokio::test]
async fn batches_of_two_instances_that_cross_do_not_wait_for_each_other() {
    let books = stocked().await;
    let (other, _) = books.home.store().await;
    let (forwards, backwards): (Vec<_>, Vec<_>) =
        ((1..=100).map(release).collect(), (1..=100).rev().map(release).collect());
    let (one, two) = tokio::join!(books.store.release(&forwards), other.release(&backwards));
    assert_eq!(outcomes(one), vec![ReleaseOutcome::Nothing; 100]);
    assert_eq!(outcomes(two), vec![ReleaseOutcome::Nothing; 100]);
    let sql = "SELECT deadlocks::text FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(books.home.texts(sql).await, ["0"]);
}

#[tokio::test]
async fn an_order_that_two_instances_release_and_commit_at_once_has_one_end() {
    for round in 0..8 {
        let books = stocked().await;
        let (other, _) = books.home.store().await;
        books.store.reserve(&[reserve(1, &[(1, 2)])]).await;
        let (to_release, to_commit) = ([release(1)], [commit(1)]);
        let (released, committed) = tokio::join!(books.store.release(&to_release), other.commit(&to_commit));
        let counts = match released[0].is_ok() {
            true => {
                assert!(refused(committed) == Refusal::NothingHeld(order(1)), "round {round}");
                (5, 0, 0)
            }
            false => {
                assert!(refused(released) == Refusal::Committed(order(1)), "round {round}");
                (3, 0, 2)
            }
        };
        assert_eq!(books.counts(1).await, counts);
        assert_eq!(told_of(&books, 1).await.len(), 2);
    }
}
