//! What every [`RestockLock`] owes its callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chassis::clock::SystemClock;
use inventory::application::StockKeeping;
use inventory::application::ports::{RestockLock, RestockTurn};
use kernel::ProductId;
use store::StoreError;
use tokio::task::JoinSet;

use crate::contract::{Books, restock};
use crate::family::Home;
use crate::harness::eventually;

const PRODUCT: ProductId = ProductId(1);

#[tokio::test]
async fn a_turn_is_waited_for_so_long_and_no_longer() {
    let home = Home::new().await;
    let lock = home.lock().await;
    let turn = lock.turn(PRODUCT).await.unwrap();
    assert!(lock.turn(ProductId(2)).await.is_ok(), "another product is free");
    assert!(matches!(lock.turn(PRODUCT).await, Err(StoreError::Unavailable(_))));
    drop(turn);
    assert!(lock.turn(PRODUCT).await.is_ok());
}

/// On a busy machine twenty turns may take longer than one who waits has patience: then they ask once more.
async fn asks_until_it_gets_a_turn(lock: &dyn RestockLock) -> RestockTurn {
    eventually(async || match lock.turn(PRODUCT).await {
        Ok(turn) => Some(turn),
        Err(StoreError::Unavailable(_)) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

#[tokio::test]
async fn turns_are_taken_one_by_one_and_everybody_gets_one() {
    let home = Home::new().await;
    let (lock, inside) = (home.lock().await, Arc::new(AtomicU32::new(0)));
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (lock, inside) = (lock.clone(), inside.clone());
        calls.spawn(async move {
            let _turn = asks_until_it_gets_a_turn(&*lock).await;
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn who_stops_waiting_holds_nobody_up() {
    let home = Home::new().await;
    let lock = home.lock().await;
    let turn = lock.turn(PRODUCT).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), lock.turn(PRODUCT)).await.is_err());
    drop(turn);
    assert!(lock.turn(PRODUCT).await.is_ok());
}

/// A lock whose turns are over before they began.
struct Expired;

#[async_trait::async_trait]
impl RestockLock for Expired {
    async fn turn(&self, _: ProductId) -> Result<RestockTurn, StoreError> {
        Ok(RestockTurn::new(()))
    }
}

#[tokio::test]
async fn a_turn_that_ends_while_it_is_held_harms_nothing() {
    let books = Books::open().await;
    let (store, cache) = (books.patient(), books.home.cache(Duration::ZERO).await);
    let keeping = Arc::new(StockKeeping { store, cache, lock: Arc::new(Expired), clock: Arc::new(SystemClock) });
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let (keeping, restock) = (keeping.clone(), restock(&format!("r{}", number % 15), 1, 2).restock);
        calls.spawn(async move { keeping.restock(restock).await.map(drop) });
    }
    for answer in calls.join_all().await {
        answer.unwrap();
    }
    assert_eq!(books.counts(1).await, (30, 0, 0));
    assert_eq!(books.home.texts("SELECT restock_id FROM restocks").await.len(), 15);
}
