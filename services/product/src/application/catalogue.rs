//! The use cases.

use std::sync::Arc;

use chassis::clock::SharedClock;
use kernel::ProductId;
use store::StoreError;

use super::ports::{ProductCache, ProductKey, ProductList, ProductStore, SkuTaken};
use crate::domain::{Draft, Product, ProductChange, ProductError, Search, Shelf};

/// How often a change is tried again when somebody else changed the product first.
const CHANGE_TRIES: usize = 3;
/// Later than every version: a deleted product's id is never given again.
const GONE: i64 = i64::MAX;

/// Why a use case did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogueError {
    #[error("product {0} does not exist")]
    NoSuchProduct(ProductKey),
    #[error("sku: {0}")]
    SkuTaken(#[from] SkuTaken),
    #[error("price: {0}")]
    Price(#[from] ProductError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The catalogue: a write side behind a cache of single products, and a read side for lists.
///
/// The cache is filled by reads, and told by writes after their commit which version it may hold:
/// a reader that comes between cannot put back what it read before. A process that dies between the
/// commit and that leaves a product stale for at most the time to live.
pub struct Catalogue {
    store: Arc<dyn ProductStore>,
    list: Arc<dyn ProductList>,
    cache: Arc<dyn ProductCache>,
    clock: SharedClock,
}

impl Catalogue {
    pub fn new(
        store: Arc<dyn ProductStore>,
        list: Arc<dyn ProductList>,
        cache: Arc<dyn ProductCache>,
        clock: SharedClock,
    ) -> Self {
        Self { store, list, cache, clock }
    }

    /// # Errors
    /// `NoSuchProduct`, or that storage failed.
    pub async fn product(&self, id: ProductId) -> Result<Product, CatalogueError> {
        let key = ProductKey::Id(id);
        let found = self.quote(std::slice::from_ref(&key)).await?.pop();
        found.ok_or(CatalogueError::NoSuchProduct(key))
    }

    /// The products behind the keys, in order: from the cache, the rest from the store in one go.
    ///
    /// # Errors
    /// `NoSuchProduct` of the first that is missing, or that storage failed.
    pub async fn quote(&self, keys: &[ProductKey]) -> Result<Vec<Product>, CatalogueError> {
        let mut found = self.cache.get(keys).await;
        let missing: Vec<ProductKey> =
            keys.iter().zip(&found).filter(|(_, hit)| hit.is_none()).map(|(key, _)| key.clone()).collect();
        if !missing.is_empty() {
            let read = self.store.find(&missing).await?;
            let fresh: Vec<Product> = read.iter().flatten().cloned().collect();
            self.cache.put(&fresh).await;
            let empty = found.iter_mut().filter(|hit| hit.is_none());
            empty.zip(read).for_each(|(place, product)| *place = product);
        }
        let of = |(product, key): (Option<Product>, &ProductKey)| {
            product.ok_or_else(|| CatalogueError::NoSuchProduct(key.clone()))
        };
        found.into_iter().zip(keys).map(of).collect()
    }

    /// One page, and whether there are more.
    ///
    /// # Errors
    /// When storage failed.
    pub async fn search(&self, search: &Search) -> Result<(Vec<Product>, bool), CatalogueError> {
        Ok(self.list.search(search).await?)
    }

    /// One page of categories behind `after`, whatever its case, and whether there are more.
    ///
    /// # Errors
    /// When storage failed.
    pub async fn categories(&self, after: &str, limit: u32) -> Result<(Vec<Shelf>, bool), CatalogueError> {
        Ok(self.list.categories(&after.to_lowercase(), limit).await?)
    }

    /// # Errors
    /// `SkuTaken`, or that storage failed.
    pub async fn create(&self, draft: Draft) -> Result<Product, CatalogueError> {
        let answers = self.store.add(&[draft], self.clock.now()).await?;
        Ok(answers.into_iter().next().ok_or_else(unanswered)??)
    }

    /// Must run to its end once begun: the cache is invalidated after the commit.
    ///
    /// # Errors
    /// `NoSuchProduct`, `Price`, or that storage failed; `Conflict` after several tries.
    pub async fn change(&self, id: ProductId, wish: ProductChange) -> Result<Product, CatalogueError> {
        let key = [ProductKey::Id(id)];
        for _ in 0..CHANGE_TRIES {
            // Not from the cache: a change starts from what is stored.
            let stored = self.store.find(&key).await?.pop().flatten();
            let product = stored.ok_or_else(|| no_such(id))?;
            let Some(changed) = product.change(wish.clone())? else { return Ok(product) };
            let answers = self.store.update(std::slice::from_ref(&changed), self.clock.now()).await;
            if !matches!(answers.as_deref(), Ok([Err(_), ..])) {
                // Also after a failure: whether it was committed is not known then.
                self.cache.invalidate(&[(id, changed.version)]).await;
            }
            if answers?.into_iter().next().ok_or_else(unanswered)?.is_ok() {
                return Ok(changed);
            }
        }
        Err(StoreError::Conflict(format!("product {id}")).into())
    }

    /// Must run to its end once begun: the cache is invalidated after the commit.
    ///
    /// # Errors
    /// `NoSuchProduct`, or that storage failed.
    pub async fn delete(&self, id: ProductId) -> Result<(), CatalogueError> {
        let answers = self.store.delete(&[id], self.clock.now()).await;
        // Also after a failure: whether it was committed is not known then.
        self.cache.invalidate(&[(id, GONE)]).await;
        match answers?.first() {
            Some(true) => Ok(()),
            _ => Err(no_such(id)),
        }
    }
}

fn no_such(id: ProductId) -> CatalogueError {
    CatalogueError::NoSuchProduct(ProductKey::Id(id))
}

fn unanswered() -> StoreError {
    StoreError::Corrupt("the store did not answer".into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use chassis::clock::SystemClock;
    use kernel::{Currency, Money, Timestamp};

    use super::super::ports::Stale;
    use super::*;

    fn sneaker() -> Product {
        Product {
            id: ProductId(1),
            sku: "SNEAKER-42".parse().unwrap(),
            name: "Sneaker".to_owned().try_into().unwrap(),
            category: "Shoes".to_owned().try_into().unwrap(),
            price: Money::new(12_900, Currency::EUR),
            version: 1,
        }
    }

    /// One product whose changes lose the race as often as it is told to, and no cache.
    #[derive(Default)]
    struct Racing {
        races_to_lose: AtomicUsize,
    }

    #[async_trait]
    impl ProductStore for Racing {
        async fn add(&self, _: &[Draft], _: Timestamp) -> Result<Vec<Result<Product, SkuTaken>>, StoreError> {
            Ok(Vec::new())
        }
        async fn update(&self, batch: &[Product], _: Timestamp) -> Result<Vec<Result<(), Stale>>, StoreError> {
            let lost =
                self.races_to_lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            Ok(batch.iter().map(|_| if lost.is_ok() { Err(Stale) } else { Ok(()) }).collect())
        }
        async fn delete(&self, batch: &[ProductId], _: Timestamp) -> Result<Vec<bool>, StoreError> {
            Ok(batch.iter().map(|_| false).collect())
        }
        async fn find(&self, keys: &[ProductKey]) -> Result<Vec<Option<Product>>, StoreError> {
            Ok(keys.iter().map(|_| Some(sneaker())).collect())
        }
    }

    #[async_trait]
    impl ProductList for Racing {
        async fn search(&self, _: &Search) -> Result<(Vec<Product>, bool), StoreError> {
            Ok((Vec::new(), false))
        }
        async fn categories(&self, _: &str, _: u32) -> Result<(Vec<Shelf>, bool), StoreError> {
            Ok((Vec::new(), false))
        }
    }

    #[async_trait]
    impl ProductCache for Racing {
        async fn get(&self, keys: &[ProductKey]) -> Vec<Option<Product>> {
            keys.iter().map(|_| None).collect()
        }
        async fn put(&self, _: &[Product]) {}
        async fn invalidate(&self, _: &[(ProductId, i64)]) {}
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_and_given_up_in_the_end() {
        let racing = Arc::new(Racing::default());
        let catalogue = Catalogue::new(racing.clone(), racing.clone(), racing.clone(), Arc::new(SystemClock));
        let dearer = ProductChange { price: Some(Money::new(1, Currency::EUR)), ..ProductChange::default() };
        racing.races_to_lose.store(CHANGE_TRIES - 1, Ordering::Relaxed);
        assert_eq!(catalogue.change(ProductId(1), dearer.clone()).await.unwrap().version, 2);
        racing.races_to_lose.store(CHANGE_TRIES, Ordering::Relaxed);
        let given_up = catalogue.change(ProductId(1), dearer).await;
        assert!(matches!(given_up, Err(CatalogueError::Store(StoreError::Conflict(_)))), "{given_up:?}");
    }
}
