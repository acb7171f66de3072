//! The planted bug does what it says: without that, a test that hunts it proves nothing.

use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{Reserved, SoldOut};

use crate::harness::{Shop, order};

#[tokio::test]
async fn a_shop_that_skips_the_predicate_sells_what_it_does_not_have() {
    let shop = Shop::with(&[("planted_bug", "skip-stock-predicate")]).await;
    let saga = shop.service();
    saga.restock("a", 1, 1).await.unwrap();
    for number in 0..3 {
        assert_eq!(saga.reserve(order(number), &[(1, 1)]).await.unwrap(), Outcome::Reserved(Reserved {}));
    }
    assert_eq!(saga.counts(1).await, (-2, 3, 0));
    saga.commit(order(0)).await.unwrap();
    saga.release(order(1)).await.unwrap();
    assert_eq!(saga.counts(1).await, (-1, 1, 1));
}

#[tokio::test]
async fn the_bug_sleeps_unless_it_is_asked_for() {
    let shop = Shop::open().await;
    let saga = shop.service();
    saga.restock("a", 1, 1).await.unwrap();
    assert_eq!(saga.reserve(order(1), &[(1, 2)]).await.unwrap(), Outcome::SoldOut(SoldOut { product_id: 1 }));
}
