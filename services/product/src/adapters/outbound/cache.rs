//! The product cache in this process's memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::expiring::{ExpiringMap, VersionedMap};
use chassis::metrics::Metrics;
use kernel::{ProductId, Sku, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::application::ports::{ProductCache, ProductKey};
use crate::domain::Product;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Hits and misses, whichever cache it is.
#[derive(Clone)]
pub struct CacheMetrics {
    hit: Counter,
    miss: Counter,
}

impl CacheMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let family = Family::<ResultLabel, Counter>::default();
        let counter = |result| family.get_or_create(&ResultLabel { result }).clone();
        let counters = Self { hit: counter("hit"), miss: counter("miss") };
        metrics.register(|registry| {
            registry.register("product_cache_requests", "Products looked up in the cache, by result", family);
        });
        counters
    }

    /// Counts what was looked up.
    pub fn count(&self, found: &[Option<Product>]) {
        for product in found {
            match product {
                Some(_) => self.hit.inc(),
                None => self.miss.inc(),
            };
        }
    }
}

struct Entries {
    products: VersionedMap<ProductId, Product>,
    /// Where a SKU's product stands above. An entry may outlive its product; it leads nowhere then.
    ids: ExpiringMap<Sku, ProductId>,
}

impl Entries {
    fn get(&mut self, key: &ProductKey, now: Timestamp) -> Option<Product> {
        match key {
            ProductKey::Id(id) => self.products.get(id, now).cloned(),
            ProductKey::Sku(sku) => {
                let id = *self.ids.get(sku, now)?;
                self.products.get(&id, now).cloned()
            }
        }
    }
}

pub struct InProcessProducts {
    entries: Mutex<Entries>,
    ttl: Duration,
    clock: SharedClock,
    metrics: CacheMetrics,
}

impl InProcessProducts {
    pub fn new(capacity: usize, ttl: Duration, clock: SharedClock, metrics: CacheMetrics) -> Self {
        let entries = Entries { products: VersionedMap::new(capacity), ids: ExpiringMap::new(capacity) };
        Self { entries: Mutex::new(entries), ttl, clock, metrics }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProductCache for InProcessProducts {
    async fn get(&self, keys: &[ProductKey]) -> Vec<Option<Product>> {
        let now = self.clock.now();
        let mut entries = self.entries();
        let found: Vec<Option<Product>> = keys.iter().map(|key| entries.get(key, now)).collect();
        self.metrics.count(&found);
        found
    }

    async fn put(&self, products: &[Product]) {
        let now = self.clock.now();
        let mut entries = self.entries();
        for product in products {
            if entries.products.put(product.id, product.version, product.clone(), self.ttl, now) {
                entries.ids.insert(product.sku.clone(), product.id, self.ttl, now);
            }
        }
    }

    async fn invalidate(&self, versions: &[(ProductId, i64)]) {
        let now = self.clock.now();
        let mut entries = self.entries();
        for (id, version) in versions {
            if let Some(product) = entries.products.outdate(*id, *version, self.ttl, now) {
                entries.ids.remove(&product.sku);
            }
        }
    }
}
