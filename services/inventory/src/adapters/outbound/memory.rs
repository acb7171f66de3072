//! The cache and the lock of a service that lives in one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use kernel::{ProductId, Timestamp};
use store::StoreError;
use store::expiring::ExpiringMap;
use tokio::time::Instant;

use crate::application::ports::{RestockLock, RestockTurn, StockCache};
use crate::domain::Stock;

/// The cache: a bounded map whose entries expire.
pub struct MemoryStockCache {
    entries: Mutex<ExpiringMap<ProductId, Stock>>,
    ttl: Duration,
    started: Instant,
}

impl MemoryStockCache {
    pub fn new(capacity: u32, ttl: Duration) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self { entries: Mutex::new(ExpiringMap::new(capacity)), ttl, started: Instant::now() }
    }

    /// Time since the start: unlike the wall clock it never jumps, so no entry outlives its time.
    fn now(&self) -> Timestamp {
        Timestamp::default().plus(self.started.elapsed())
    }
}

#[async_trait]
impl StockCache for MemoryStockCache {
    async fn get(&self, product_id: ProductId) -> Option<Stock> {
        let now = self.now();
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&product_id, now).copied()
    }

    async fn put(&self, stocks: &[Stock]) {
        let now = self.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for stock in stocks {
            let newer = entries.get(&stock.product_id, now).is_some_and(|held| held.version > stock.version);
            if !newer {
                entries.insert(stock.product_id, *stock, self.ttl, now);
            }
        }
    }
}

/// Nobody waits longer for a turn.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(2);

/// The lock: a mutex for each product that somebody restocks at the moment.
#[derive(Debug, Default)]
pub struct MemoryLocks {
    locks: Mutex<BTreeMap<ProductId, Weak<tokio::sync::Mutex<()>>>>,
}

impl MemoryLocks {
    fn lock_of(&self, product_id: ProductId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&product_id).and_then(Weak::upgrade) {
            return lock;
        }
        // Locks nobody holds or waits for are forgotten, so that the map stays as small as the
        // number of restocks under way.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(product_id, Arc::downgrade(&lock));
        lock
    }
}

/// What is said to who has waited long enough.
pub fn too_long(product_id: ProductId) -> StoreError {
    StoreError::Unavailable(format!("product {product_id} is being restocked"))
}

#[async_trait]
impl RestockLock for MemoryLocks {
    async fn turn(&self, product_id: ProductId) -> Result<RestockTurn, StoreError> {
        let lock = self.lock_of(product_id);
        match tokio::time::timeout(TURN_WAIT_MAX, lock.lock_owned()).await {
            Ok(guard) => Ok(RestockTurn::new(guard)),
            Err(_) => Err(too_long(product_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finished_turns_leave_nothing_behind() {
        let locks = MemoryLocks::default();
        for product in 0..100 {
            drop(locks.turn(ProductId(product)).await.unwrap());
        }
        assert_eq!(locks.locks.lock().unwrap().len(), 1);
    }
}
