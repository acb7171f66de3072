//! The product cache in this process's memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::metrics::CacheCounters;
use kernel::{ProductId, Sku, Timestamp};
use store::expiring::{ExpiringMap, VersionedMap};

use crate::application::ports::{ProductCache, ProductKey};
use crate::domain::Product;

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
    counters: CacheCounters,
}

impl InProcessProducts {
    pub fn new(capacity: usize, ttl: Duration, clock: SharedClock, counters: CacheCounters) -> Self {
        let entries = Entries { products: VersionedMap::new(capacity), ids: ExpiringMap::new(capacity) };
        Self { entries: Mutex::new(entries), ttl, clock, counters }
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
        found.iter().for_each(|product| self.counters.count(product.is_some()));
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
