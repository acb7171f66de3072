//! The product cache in this process's memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::expiring::ExpiringMap;
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
}

struct Entries {
    products: ExpiringMap<ProductId, Product>,
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
        let entries = Entries { products: ExpiringMap::new(capacity), ids: ExpiringMap::new(capacity) };
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
        for product in &found {
            match product {
                Some(_) => self.metrics.hit.inc(),
                None => self.metrics.miss.inc(),
            };
        }
        found
    }

    async fn put(&self, products: &[Product]) {
        let now = self.clock.now();
        let mut entries = self.entries();
        for product in products {
            entries.products.insert(product.id, product.clone(), self.ttl, now);
            entries.ids.insert(product.sku.clone(), product.id, self.ttl, now);
        }
    }

    async fn invalidate(&self, ids: &[ProductId]) {
        let mut entries = self.entries();
        for id in ids {
            if let Some(product) = entries.products.remove(id) {
                entries.ids.remove(&product.sku);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use chassis::Clock;
    use kernel::{Currency, Money};

    use super::*;

    /// A clock in seconds that stands until it is moved.
    #[derive(Default)]
    struct HandClock(AtomicI64);

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed) * 1_000_000)
        }
    }

    fn cache(capacity: usize) -> (InProcessProducts, Arc<HandClock>) {
        let clock = Arc::new(HandClock::default());
        let metrics = CacheMetrics::register(&Metrics::new("product"));
        (InProcessProducts::new(capacity, Duration::from_secs(300), clock.clone(), metrics), clock)
    }

    fn product(id: i64, sku: &str) -> Product {
        Product {
            id: ProductId(id),
            sku: sku.parse().unwrap(),
            name: sku.to_owned().try_into().unwrap(),
            category: String::new().try_into().unwrap(),
            price: Money::new(100, Currency::EUR),
            version: 1,
        }
    }

    fn keys(product: &Product) -> [ProductKey; 2] {
        [ProductKey::Id(product.id), ProductKey::Sku(product.sku.clone())]
    }

    #[tokio::test]
    async fn a_product_is_known_by_id_and_by_sku_until_its_time_is_up() {
        let (cache, clock) = cache(10);
        let a = product(1, "A");
        cache.put(std::slice::from_ref(&a)).await;
        clock.0.store(299, Ordering::Relaxed);
        assert_eq!(cache.get(&keys(&a)).await, [Some(a.clone()), Some(a.clone())]);
        clock.0.store(300, Ordering::Relaxed);
        assert_eq!(cache.get(&keys(&a)).await, [None, None]);
    }

    #[tokio::test]
    async fn an_invalidated_product_is_unknown_by_either_key_and_others_stay() {
        let (cache, _) = cache(10);
        let (a, b) = (product(1, "A"), product(2, "B"));
        cache.put(&[a.clone(), b.clone()]).await;
        cache.invalidate(&[a.id]).await;
        assert_eq!(cache.get(&keys(&a)).await, [None, None]);
        assert_eq!(cache.get(&keys(&b)).await, [Some(b.clone()), Some(b)]);
    }

    #[tokio::test]
    async fn a_sku_that_was_given_again_leads_to_its_new_product() {
        let (cache, _) = cache(10);
        let (old, new) = (product(1, "A"), product(2, "A"));
        cache.put(std::slice::from_ref(&old)).await;
        cache.invalidate(&[old.id]).await;
        cache.put(std::slice::from_ref(&new)).await;
        cache.invalidate(&[old.id]).await;
        assert_eq!(cache.get(&keys(&new)).await, [Some(new.clone()), Some(new)]);
    }

    #[tokio::test]
    async fn never_holds_more_than_its_capacity() {
        let (cache, _) = cache(2);
        let all = [product(1, "A"), product(2, "B"), product(3, "C")];
        cache.put(&all).await;
        let found = cache.get(&all.each_ref().map(|product| ProductKey::Id(product.id))).await;
        assert_eq!(found.iter().flatten().count(), 2);
    }
}
