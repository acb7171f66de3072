//! Hits and misses of the stock cache, whichever it is.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::{CacheCounters, Metrics};
use kernel::ProductId;

use crate::application::ports::StockCache;
use crate::domain::Stock;

pub struct CountedStockCache {
    cache: Arc<dyn StockCache>,
    counters: CacheCounters,
}

impl CountedStockCache {
    pub fn over(cache: Arc<dyn StockCache>, metrics: &Metrics) -> Self {
        Self { cache, counters: CacheCounters::register(metrics, "stock_cache_requests", "Stock figures") }
    }
}

#[async_trait]
impl StockCache for CountedStockCache {
    async fn get(&self, product_id: ProductId) -> Option<Stock> {
        let found = self.cache.get(product_id).await;
        self.counters.count(found.is_some());
        found
    }

    async fn put(&self, stocks: &[Stock]) {
        self.cache.put(stocks).await;
    }
}
