//! What the use cases need of the outside world.

use std::fmt;

use async_trait::async_trait;
use kernel::{ProductId, Sku, Timestamp};
use store::StoreError;

use crate::domain::{Draft, Product, Search, Shelf};

/// By what a product is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProductKey {
    Id(ProductId),
    Sku(Sku),
}

impl fmt::Display for ProductKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Sku(sku) => sku.fmt(f),
        }
    }
}

/// The SKU is another product's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SKU is taken: existing id {existing}")]
pub struct SkuTaken {
    pub existing: ProductId,
}

/// The product is not at the version before this change, or it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the product has changed meanwhile")]
pub struct Stale;

/// The products, and the list view that is written with them.
///
/// A deleted product MUST be as if it had never been, save that its id is not given again; its SKU
/// is free for a new product.
#[async_trait]
pub trait ProductStore: Send + Sync + 'static {
    /// Adds products at version 1, each with a new id; answers one result each, in order. MUST
    /// write product and view in one transaction, and a refused product MUST NOT stop the others.
    async fn add(&self, batch: &[Draft], now: Timestamp) -> Result<Vec<Result<Product, SkuTaken>>, StoreError>;

    /// Stores products at their new version; answers one result each, in order. MUST change only
    /// what stands at the version before; view and refusals as with [`ProductStore::add`].
    async fn update(&self, batch: &[Product], now: Timestamp) -> Result<Vec<Result<(), Stale>>, StoreError>;

    /// Deletes products; answers for each whether it was there. View as with [`ProductStore::add`].
    async fn delete(&self, batch: &[ProductId], now: Timestamp) -> Result<Vec<bool>, StoreError>;

    /// The products behind the keys, in order, all as of one moment.
    async fn find(&self, keys: &[ProductKey]) -> Result<Vec<Option<Product>>, StoreError>;
}

/// The read side: lists, and nothing but lists.
#[async_trait]
pub trait ProductList: Send + Sync + 'static {
    /// Up to `limit` products that match, by ascending id from the one after `after`, and whether
    /// there are more. MUST take every character of a word literally.
    async fn search(&self, search: &Search) -> Result<(Vec<Product>, bool), StoreError>;

    /// Up to `limit` categories that products are in, from the one behind `after` (folded; empty for the first page),
    /// and whether there are more. MUST count spellings that differ in case as one category; MUST order folded names
    /// by their bytes; MUST leave out products without a category.
    async fn categories(&self, after: &str, limit: u32) -> Result<(Vec<Shelf>, bool), StoreError>;
}

/// Single products for a bounded time. A cache cannot fail: one that cannot be reached is empty.
#[async_trait]
pub trait ProductCache: Send + Sync + 'static {
    /// What is known of each key, in order. MUST NOT answer a product after its time to live, nor
    /// one that was invalidated, by whatever key.
    async fn get(&self, keys: &[ProductKey]) -> Vec<Option<Product>>;
    /// Remembers products by id and by SKU, unless a later version was remembered or demanded: a
    /// reader that is late MUST NOT bring an old one back. MUST be bounded: older entries make room.
    async fn put(&self, products: &[Product]);
    /// From now on nothing of these products that is older than the version is good. MUST hold also
    /// where the cache could not be reached: what it could not be told is told later, and until then
    /// it counts as empty.
    async fn invalidate(&self, versions: &[(ProductId, i64)]);
}
