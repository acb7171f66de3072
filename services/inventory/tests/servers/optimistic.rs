//! The strategy to measure against is slower, not wrong.

use std::sync::Arc;

use chassis::metrics::Metrics;
use inventory::Strategy;
use inventory::adapters::outbound::postgres::PostgresStock;
use inventory::application::ports::{Answers, StockStore, StockStoreError};
use inventory::domain::{Refusal, ReserveOutcome};
use kernel::ProductId;
use servers::Borrowed;
use tokio::task::JoinSet;

use crate::contract::{commit, outcomes, release, reserve, restock};

async fn store(borrowed: &Borrowed) -> Arc<dyn StockStore> {
    let store = PostgresStock::open(&borrowed.connections, &Metrics::new("test")).await.unwrap();
    Arc::new(store.with_strategy(Strategy::Optimistic))
}

async fn counts(store: &Arc<dyn StockStore>) -> (i64, i64, i64) {
    let stock = store.stock(ProductId(1)).await.unwrap().unwrap();
    (stock.available, stock.reserved, stock.sold)
}

/// Whether it was, or was refused for good.
fn is_done<T: std::fmt::Debug>(answers: Answers<T>) -> bool {
    match answers.as_slice() {
        [Ok(_)] => true,
        [Err(StockStoreError::Refused(Refusal::Committed(_) | Refusal::NothingHeld(_)))] => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn buyers_who_want_one_product_at_once_get_what_there_is_and_each_key_counts_once() {
    let borrowed = servers::for_test().unwrap();
    let store = store(&borrowed).await;
    store.restock(&[restock("a", 1, 20)]).await;
    // Each order comes twice, at the same time.
    let mut calls = JoinSet::new();
    for number in (0..30).chain(0..30) {
        let store = store.clone();
        calls.spawn(async move { (number, outcomes(store.reserve(&[reserve(number, &[(1, 1)])]).await).remove(0)) });
    }
    let mut answers: Vec<_> = calls.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    assert!(answers.chunks(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let reserved: Vec<u32> =
        answers.iter().filter(|(_, outcome)| *outcome == ReserveOutcome::Reserved).map(|(number, _)| *number).collect();
    assert_eq!((reserved.len(), counts(&store).await), (40, (0, 20, 0)));

    let mut ends = JoinSet::new();
    for number in reserved.iter().step_by(2).copied() {
        for released in [true, false] {
            let store = store.clone();
            ends.spawn(async move {
                match released {
                    true => is_done(store.release(&[release(number)]).await),
                    false => is_done(store.commit(&[commit(number)]).await),
                }
            });
        }
    }
    let ended = ends.join_all().await.into_iter().filter(|done| *done).count();
    assert_eq!(ended, 20, "an order is released or sold, never both");
    let (available, held, sold) = counts(&store).await;
    assert_eq!((available + sold, held), (20, 0));
}
