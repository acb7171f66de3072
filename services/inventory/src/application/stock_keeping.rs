//! Keeping the stock: the saga operations, restocking, and the query.

use std::sync::Arc;

use chassis::clock::SharedClock;
use kernel::{OrderId, ProductId};
use store::StoreError;

use super::ports::{
    Answer, Answers, CommitOrder, ReleaseOrder, ReserveOrder, RestockLock, RestockProduct, StockCache, StockStore,
    StockStoreError,
};
use crate::domain::{OrderLines, ReleaseOutcome, ReserveOutcome, Restock, Stock};

/// The service's use cases. A caller that goes away in the middle loses nothing: the store does a
/// command wholly or not at all, and a cache that misses an update catches up when its entry expires.
pub struct StockKeeping {
    pub store: Arc<dyn StockStore>,
    pub cache: Arc<dyn StockCache>,
    pub lock: Arc<dyn RestockLock>,
    pub clock: SharedClock,
}

/// Why a stock query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StockQueryError {
    #[error("there is no stock of product {0}")]
    Unknown(ProductId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StockKeeping {
    /// Holds all lines for the order, or none.
    ///
    /// # Errors
    /// `OtherLines`, or a failing store.
    pub async fn reserve(&self, order_id: OrderId, lines: OrderLines) -> Result<ReserveOutcome, StockStoreError> {
        let command = ReserveOrder { order_id, lines, at: self.clock.now() };
        let answer = only(self.store.reserve(&[command]).await)?;
        Ok(self.remember(answer).await)
    }

    /// Gives back what the order holds, or blocks what it may still reserve.
    ///
    /// # Errors
    /// `Committed`, or a failing store.
    pub async fn release(&self, order_id: OrderId) -> Result<ReleaseOutcome, StockStoreError> {
        let command = ReleaseOrder { order_id, at: self.clock.now() };
        let answer = only(self.store.release(&[command]).await)?;
        Ok(self.remember(answer).await)
    }

    /// Sells what the order holds.
    ///
    /// # Errors
    /// `NothingHeld`, or a failing store.
    pub async fn commit(&self, order_id: OrderId) -> Result<(), StockStoreError> {
        let command = CommitOrder { order_id, at: self.clock.now() };
        let answer = only(self.store.commit(&[command]).await)?;
        self.remember(answer).await;
        Ok(())
    }

    /// Adds units, once for each restock id; answers the stock after it.
    ///
    /// # Errors
    /// `OtherRestock`, `Full`, or a failing store or lock.
    pub async fn restock(&self, restock: Restock) -> Result<Stock, StockStoreError> {
        let _turn = self.lock.turn(restock.product_id).await?;
        let command = RestockProduct { restock, at: self.clock.now() };
        let answer = only(self.store.restock(&[command]).await)?;
        Ok(self.remember(answer).await)
    }

    /// The stock of a product, up to the cache's time to live ago.
    ///
    /// # Errors
    /// `Unknown`, or a failing store.
    pub async fn stock(&self, product_id: ProductId) -> Result<Stock, StockQueryError> {
        if let Some(stock) = self.cache.get(product_id).await {
            return Ok(stock);
        }
        let stock = self.store.stock(product_id).await?.ok_or(StockQueryError::Unknown(product_id))?;
        self.cache.put(&[stock]).await;
        Ok(stock)
    }

    async fn remember<T>(&self, answer: Answer<T>) -> T {
        if !answer.changed.is_empty() {
            self.cache.put(&answer.changed).await;
        }
        answer.outcome
    }
}

/// The answer to a batch of one.
fn only<T>(mut answers: Answers<T>) -> Result<Answer<T>, StockStoreError> {
    answers.pop().unwrap_or_else(|| Err(StoreError::Corrupt("the store gave no answer".into()).into()))
}
