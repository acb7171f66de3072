//! The cache, as seen from outside.

use proto::product::v1 as wire;
use tonic::Code;

use crate::harness::{Shop, by_id, by_sku, eur, settings, sneaker, unchanged};

/// Hits and misses so far.
fn counted(shop: &Shop) -> (u64, u64) {
    let text = shop.env.metrics.render();
    let value = |result: &str| {
        let line = text.lines().find(|line| {
            line.starts_with("product_cache_requests_total{") && line.contains(&format!("result=\"{result}\""))
        });
        line.and_then(|line| line.rsplit_once(' ')).unwrap().1.parse().unwrap()
    };
    (value("hit"), value("miss"))
}

#[tokio::test]
async fn the_second_look_at_a_product_is_a_hit_by_whatever_key() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    assert_eq!(counted(&shop), (0, 0));
    shop.product(id).await.unwrap();
    assert_eq!(counted(&shop), (0, 1));
    shop.product(id).await.unwrap();
    shop.quote(vec![by_id(id), by_sku("SNEAKER-42")]).await.unwrap();
    assert_eq!(counted(&shop), (3, 1));
}

#[tokio::test]
async fn a_new_price_is_quoted_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    shop.quote(vec![by_sku("SNEAKER-42")]).await.unwrap();
    for minor in [1, 2, 3] {
        shop.update(wire::UpdateProductRequest { price: Some(eur(minor)), ..unchanged(id) }).await.unwrap();
        let quoted = shop.quote(vec![by_sku("SNEAKER-42"), by_id(id)]).await.unwrap();
        assert!(quoted.iter().all(|product| product.price == Some(eur(minor))), "{quoted:?}");
    }
}

#[tokio::test]
async fn what_is_missing_is_not_remembered_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let refused = shop.quote(vec![by_sku("SNEAKER-42")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let created = shop.create(sneaker()).await.unwrap();
    assert_eq!(shop.quote(vec![by_sku("SNEAKER-42")]).await.unwrap(), [created]);
}

#[tokio::test]
async fn without_time_to_live_everything_is_read_from_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start_with(folder.path(), settings(&[("product.cache_ttl", "0s")])).await;
    let id = shop.create(sneaker()).await.unwrap().id;
    for _ in 0..3 {
        shop.product(id).await.unwrap();
    }
    assert_eq!(counted(&shop), (0, 3));
}
