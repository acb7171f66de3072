//! The adapters keep their ports' contracts.

use std::sync::Arc;
use std::time::Duration;

use chassis::metrics::{CacheCounters, Metrics};
use kernel::{Currency, Money, ProductId};
use product::adapters::outbound::postgres::{MIGRATIONS, PostgresProducts};
use product::adapters::outbound::redis::{KEY_PREFIX, RedisProducts, SKU_PREFIX, parse};
use product::adapters::outbound::rows::DATABASE;
use product::application::ports::{ProductCache, ProductKey};
use product::domain::Product;
use store::postgres::Db;
use store::redis::Redis;
use store::redis::versioned::VersionedCache;

use crate::contract;
use crate::family::{connections, eventually};

macro_rules! keeps_the_stores_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let db = Db::open(&connections(), DATABASE, MIGRATIONS, &Metrics::new("product")).await.unwrap();
            let products = Arc::new(PostgresProducts::new(Arc::new(db)));
            contract::$case(products.clone(), &*products).await;
        }
    )*};
}
store_cases!(keeps_the_stores_contract);

async fn cache(ttl: Duration) -> (RedisProducts, Arc<Redis>) {
    let redis = Arc::new(Redis::connect(&connections()).await.unwrap());
    let metrics = CacheCounters::register(&Metrics::new("product"), "product_cache_requests", "Products");
    (RedisProducts::new(Arc::new(VersionedCache::new(redis.clone(), ttl)), metrics), redis)
}

macro_rules! keeps_the_caches_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let (cache, _) = cache(Duration::from_secs(300)).await;
            contract::$case(&cache).await;
        }
    )*};
}
cache_cases!(keeps_the_caches_contract);

fn sneaker(version: i64) -> Product {
    Product {
        id: ProductId(7),
        sku: "SNEAKER-42".parse().unwrap(),
        name: "Red \"Sneaker\"".to_owned().try_into().unwrap(),
        category: "Shoes".to_owned().try_into().unwrap(),
        price: Money::new(12_900, Currency::EUR),
        version,
    }
}

#[tokio::test]
async fn what_is_cached_expires_and_says_what_it_is() {
    let (cache, redis) = cache(Duration::from_secs(300)).await;
    cache.put(&[sneaker(3)]).await;
    cache.invalidate(&[(ProductId(8), 2)]).await;
    let key = |prefix: &str, rest: &str| redis.key(format!("{prefix}{rest}"));
    let (by_id, by_sku) = (key(KEY_PREFIX, "7"), key(SKU_PREFIX, "SNEAKER-42"));
    for key in [&by_id, &by_sku, &key(KEY_PREFIX, "8")] {
        let left: i64 = redis.ask(redis::cmd("PTTL").arg(key)).await.unwrap();
        assert!((1..=300_000).contains(&left), "{key}: {left} ms");
    }
    let held: String = redis.ask(redis::cmd("GET").arg(&by_id)).await.unwrap();
    assert_eq!(parse(&held).unwrap(), Some(sneaker(3)));
    let held: String = redis.ask(redis::cmd("GET").arg(key(KEY_PREFIX, "8"))).await.unwrap();
    assert_eq!(parse(&held).unwrap(), None);
    assert!(parse("1 {}").is_err() && parse("{}").is_err());
}

#[tokio::test]
async fn a_product_is_forgotten_when_its_time_is_up() {
    let (cache, _) = cache(Duration::from_millis(1)).await;
    cache.put(&[sneaker(1)]).await;
    let keys = [ProductKey::Id(ProductId(7)), ProductKey::Sku(sneaker(1).sku)];
    eventually("it is gone", || async { (cache.get(&keys).await == [None, None]).then_some(()) }).await;
}

#[tokio::test]
async fn what_somebody_else_wrote_is_no_product() {
    let (cache, redis) = cache(Duration::from_secs(300)).await;
    let key = redis.key(format!("{KEY_PREFIX}7"));
    for rubbish in ["", "rubbish", "1 {}", "@", "@nowhere"] {
        let _: () = redis.ask(redis::cmd("SET").arg(&key).arg(rubbish)).await.unwrap();
        assert_eq!(cache.get(&[ProductKey::Id(ProductId(7))]).await, [None], "{rubbish}");
        cache.put(&[sneaker(1)]).await;
        assert_eq!(cache.get(&[ProductKey::Id(ProductId(7))]).await, [Some(sneaker(1))], "{rubbish}");
    }
}
