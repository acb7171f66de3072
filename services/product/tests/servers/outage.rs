//! Redis stops and comes back: slower, not wrong.

use eventlog::Backing;
use product::adapters::outbound::redis::{KEY_PREFIX, parse};
use proto::product::v1 as wire;
use servers::LocalServers;
use store::redis::Redis;

use crate::family::eventually;
use crate::harness::{Shop, by_id, by_sku, eur, settings, sneaker, unchanged};

#[tokio::test]
async fn without_redis_products_are_shown_and_changed_and_with_it_they_are_cached_again() {
    let mut servers = LocalServers::throwaway().unwrap();
    let connections = servers.connections("");
    let shop = Shop::start_on(Backing::Servers(connections.clone()), settings(&[])).await;
    let created = shop.create(sneaker()).await.unwrap();
    let id = created.id;
    assert_eq!(shop.product(id).await.unwrap(), created);
    let cached = async |redis: &Redis| {
        let key = redis.key(format!("{KEY_PREFIX}{id}"));
        let held: Option<String> = redis.ask(redis::cmd("GET").arg(key)).await.unwrap();
        held.and_then(|held| parse(&held).unwrap())
    };
    assert_eq!(cached(&Redis::connect(&connections).await.unwrap()).await.map(|product| product.version), Some(1));

    servers.redis.kill();
    assert_eq!(shop.quote(vec![by_id(id), by_sku("SNEAKER-42")]).await.unwrap(), [created.clone(), created.clone()]);
    let dearer = shop.update(wire::UpdateProductRequest { price: Some(eur(1)), ..unchanged(id) }).await.unwrap();
    assert_eq!(shop.product(id).await.unwrap(), dearer);
    assert_eq!(shop.search("sneaker", "", None).await.unwrap().skus, ["SNEAKER-42"]);

    servers.redis.start().unwrap();
    let redis = Redis::connect(&connections).await.unwrap();
    eventually("the product is cached again", || async {
        assert_eq!(shop.quote(vec![by_sku("SNEAKER-42")]).await.unwrap().remove(0), dearer);
        cached(&redis).await.map(|product| assert_eq!(product.version, 2))
    })
    .await;
}
