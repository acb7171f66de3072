//! What every [`StockCache`] owes its callers.

use std::time::Duration;

use inventory::domain::Stock;
use kernel::ProductId;

use crate::family::Home;
use crate::harness::eventually;

const HOUR: Duration = Duration::from_secs(3600);

fn stock(product: i64, version: i64) -> Stock {
    Stock { available: version * 10, reserved: 2, sold: 3, version, product_id: ProductId(product) }
}

#[tokio::test]
async fn a_figure_is_what_was_put_for_that_product() {
    let home = Home::new().await;
    let cache = home.cache(HOUR).await;
    cache.put(&[stock(1, 4), stock(12, 5)]).await;
    cache.put(&[]).await;
    assert_eq!(cache.get(ProductId(1)).await, Some(stock(1, 4)));
    assert_eq!(cache.get(ProductId(12)).await, Some(stock(12, 5)));
    assert_eq!(cache.get(ProductId(2)).await, None);
}

#[tokio::test]
async fn a_figure_is_forgotten_when_its_time_is_up() {
    let home = Home::new().await;
    let cache = home.cache(Duration::from_millis(20)).await;
    cache.put(&[stock(1, 1)]).await;
    eventually(async || cache.get(ProductId(1)).await.is_none().then_some(())).await;
}

#[tokio::test]
async fn without_a_time_to_live_nothing_is_kept() {
    let home = Home::new().await;
    for ttl in [Duration::ZERO, Duration::from_nanos(1)] {
        let cache = home.cache(ttl).await;
        cache.put(&[stock(1, 1)]).await;
        assert_eq!(cache.get(ProductId(1)).await, None);
    }
}

#[tokio::test]
async fn an_older_figure_never_replaces_a_newer_one() {
    let home = Home::new().await;
    let cache = home.cache(HOUR).await;
    cache.put(&[stock(1, 2), stock(2, 10)]).await;
    cache.put(&[stock(1, 1), stock(2, 9), stock(3, 1)]).await;
    let held = [1, 2, 3].map(|product| cache.get(ProductId(product)));
    let [one, two, three] = held;
    assert_eq!((one.await, two.await), (Some(stock(1, 2)), Some(stock(2, 10))));
    assert_eq!(three.await, Some(stock(3, 1)), "each figure for itself");
    cache.put(&[stock(1, 10), stock(2, 11), stock(2, 10)]).await;
    assert_eq!(cache.get(ProductId(1)).await, Some(stock(1, 10)));
    assert_eq!(cache.get(ProductId(2)).await, Some(stock(2, 11)), "also within one put");
}
