//! The embedded adapters keep their ports' contracts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chassis::Clock;
use chassis::metrics::{CacheCounters, Metrics};
use kernel::{Currency, Money, ProductId, Timestamp};
use product::adapters::outbound::cache::InProcessProducts;
use product::adapters::outbound::rows::DATABASE;
use product::adapters::outbound::sqlite::{MIGRATIONS, SqliteProducts};
use product::application::ports::{ProductCache, ProductKey};
use product::domain::Product;
use store::sqlite::{Db, Storage};

use crate::contract;

macro_rules! keeps_the_stores_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let folder = tempfile::tempdir().unwrap();
            let storage = Storage::Folder(folder.path().to_owned());
            let db = Db::open(&storage, DATABASE, &MIGRATIONS, &Metrics::new("product")).unwrap();
            let products = Arc::new(SqliteProducts::new(Arc::new(db)));
            contract::$case(products.clone(), &*products).await;
        }
    )*};
}
store_cases!(keeps_the_stores_contract);

macro_rules! keeps_the_caches_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            contract::$case(&cache(10).0).await;
        }
    )*};
}
cache_cases!(keeps_the_caches_contract);

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
    let metrics = CacheCounters::register(&Metrics::new("product"), "product_cache_requests", "Products");
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

#[tokio::test]
async fn a_product_is_known_by_id_and_by_sku_until_its_time_is_up() {
    let (cache, clock) = cache(10);
    let a = product(1, "A");
    let keys = [ProductKey::Id(a.id), ProductKey::Sku(a.sku.clone())];
    cache.put(std::slice::from_ref(&a)).await;
    clock.0.store(299, Ordering::Relaxed);
    assert_eq!(cache.get(&keys).await, [Some(a.clone()), Some(a.clone())]);
    clock.0.store(300, Ordering::Relaxed);
    assert_eq!(cache.get(&keys).await, [None, None]);
}

#[tokio::test]
async fn never_holds_more_than_its_capacity() {
    let (cache, _) = cache(2);
    let all = [product(1, "A"), product(2, "B"), product(3, "C")];
    cache.put(&all).await;
    let found = cache.get(&all.each_ref().map(|product| ProductKey::Id(product.id))).await;
    assert_eq!(found.iter().flatten().count(), 2);
}
