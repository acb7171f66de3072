//! The product cache in Redis: a product under `product:<id>`, and `product-sku:<SKU>` leads to it.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::CacheCounters;
use kernel::{Money, ProductId, Sku};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::redis::versioned::{self, Entry, VersionedCache};

use super::rows::corrupt;
use crate::application::ports::{ProductCache, ProductKey};
use crate::domain::{Category, Name, Product};

/// What a product's key begins with; its id follows.
pub const KEY_PREFIX: &str = "product:";
/// What a key begins with that leads to a product; the SKU follows.
pub const SKU_PREFIX: &str = "product-sku:";

/// A product as it is cached, without its version, which stands before it.
#[derive(Serialize, Deserialize)]
struct Cached {
    id: ProductId,
    sku: Sku,
    name: Name,
    category: Category,
    price: Money,
}

fn written(product: &Product) -> Result<String, serde_json::Error> {
    let Product { id, sku, name, category, price, version: _ } = product.clone();
    serde_json::to_string(&Cached { id, sku, name, category, price })
}

fn read(version: i64, value: &str) -> Result<Product, StoreError> {
    let Cached { id, sku, name, category, price } = serde_json::from_str(value)?;
    Ok(Product { id, sku, name, category, price, version })
}

/// What a cached value says, for audits: the product, or nothing where only outdated ones are
/// refused.
///
/// # Errors
/// `Corrupt` for what this program did not write.
pub fn parse(held: &str) -> Result<Option<Product>, StoreError> {
    let (version, value) = versioned::parse(held).ok_or_else(|| corrupt("a cached product is unreadable"))?;
    value.map(|value| read(version, value)).transpose()
}

pub struct RedisProducts {
    cache: Arc<VersionedCache>,
    counters: CacheCounters,
}

impl RedisProducts {
    pub fn new(cache: Arc<VersionedCache>, counters: CacheCounters) -> Self {
        Self { cache, counters }
    }

    fn of_id(&self, id: ProductId) -> String {
        self.cache.redis().key(format_args!("{KEY_PREFIX}{id}"))
    }

    fn of_sku(&self, sku: &Sku) -> String {
        self.cache.redis().key(format_args!("{SKU_PREFIX}{sku}"))
    }
}

fn is_of(product: &Product, key: &ProductKey) -> bool {
    match key {
        ProductKey::Id(id) => product.id == *id,
        ProductKey::Sku(sku) => product.sku == *sku,
    }
}

#[async_trait]
impl ProductCache for RedisProducts {
    async fn get(&self, keys: &[ProductKey]) -> Vec<Option<Product>> {
        let named = keys.iter().map(|key| match key {
            ProductKey::Id(id) => self.of_id(*id),
            ProductKey::Sku(sku) => self.of_sku(sku),
        });
        let held = self.cache.get(&named.collect::<Vec<_>>()).await;
        let product = |(held, key): (Option<(i64, String)>, &ProductKey)| {
            let (version, value) = held?;
            read(version, &value).ok().filter(|product| is_of(product, key))
        };
        let found: Vec<Option<Product>> = held.into_iter().zip(keys).map(product).collect();
        found.iter().for_each(|product| self.counters.count(product.is_some()));
        found
    }

    async fn put(&self, products: &[Product]) {
        let entry = |product: &Product| {
            let (key, alias) = (self.of_id(product.id), Some(self.of_sku(&product.sku)));
            Some(Entry { key, alias, version: product.version, value: written(product).ok()? })
        };
        self.cache.put(&products.iter().filter_map(entry).collect::<Vec<_>>()).await;
    }

    async fn invalidate(&self, versions: &[(ProductId, i64)]) {
        let named: Vec<(String, i64)> = versions.iter().map(|(id, version)| (self.of_id(*id), *version)).collect();
        self.cache.outdate(&named).await;
    }
}
