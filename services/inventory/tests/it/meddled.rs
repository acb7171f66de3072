//! Rows that change between reading and writing. In a store with one writer only that writer's own transaction can
//! do it.

use inventory::application::ports::StockStoreError;
use inventory::domain::ReserveOutcome;
use store::StoreError;

use crate::contract::{Books, outcomes, reserve, restock};
use crate::harness::order;

#[tokio::test]
async fn a_row_that_changes_under_the_decision_is_a_conflict_and_nothing_is_written() {
    // Each part of the predicate on its own.
    for meddling in ["version = version + 1", "available = 0"] {
        let books = Books::open().await;
        books.store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
        books.home.meddle(order(1), meddling).await;
        let command = [reserve(1, &[(1, 1), (2, 1)])];
        let answer = books.store.reserve(&command).await.pop().unwrap();
        assert!(matches!(answer, Err(StockStoreError::Store(StoreError::Conflict(_)))), "{meddling}: {answer:?}");
        assert_eq!((books.counts(1).await, books.counts(2).await), ((5, 0, 0), (5, 0, 0)));
        books.home.stop_meddling().await;
        assert_eq!(outcomes(books.store.reserve(&command).await), [ReserveOutcome::Reserved]);
    }
}

#[tokio::test]
async fn a_conflict_of_one_order_is_no_conflict_of_its_batch() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
    books.home.meddle(order(2), "version = version + 1").await;
    let batch = [1, 2, 3].map(|number| reserve(number, &[(1, 1), (2, 1)]));
    let mut answers = books.store.reserve(&batch).await;
    let conflict = answers.remove(1);
    assert!(matches!(conflict, Err(StockStoreError::Store(StoreError::Conflict(_)))), "{conflict:?}");
    assert_eq!(outcomes(answers), [ReserveOutcome::Reserved; 2]);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((3, 2, 0), (3, 2, 0)));
}
