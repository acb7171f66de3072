//! Who may call what, with which input; restocking and the query.

use std::time::Duration;

use chassis::auth::{Keys, Role};
use chassis::clock::{Clock, SystemClock};
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{Reserved, SoldOut};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{Shop, order, refusal};

#[tokio::test]
async fn saga_operations_are_for_services_only() {
    let shop = Shop::open().await;
    for (client, code) in [
        (shop.anonymous(), Code::Unauthenticated),
        (shop.bearer("rubbish"), Code::Unauthenticated),
        (shop.user(Role::Customer), Code::PermissionDenied),
        (shop.user(Role::Admin), Code::PermissionDenied),
    ] {
        assert_eq!(refusal(client.reserve(order(1), &[(1, 1)]).await).0, code);
        assert_eq!(refusal(client.release(order(1)).await).0, code);
        assert_eq!(refusal(client.commit(order(1)).await).0, code);
    }
    let foreign = Keys::new(&[8; 32]).unwrap();
    let token = foreign.issue("order", Role::Service, Duration::from_secs(60), SystemClock.now());
    assert_eq!(refusal(shop.bearer(&token).release(order(1)).await).0, Code::Unauthenticated);
}

#[tokio::test]
async fn only_staff_restocks_and_anybody_may_look() {
    let shop = Shop::open().await;
    assert_eq!(refusal(shop.anonymous().restock("a", 1, 5).await).0, Code::Unauthenticated);
    assert_eq!(refusal(shop.user(Role::Customer).restock("a", 1, 5).await).0, Code::PermissionDenied);
    shop.user(Role::Staff).restock("a", 1, 5).await.unwrap();
    for client in [shop.anonymous(), shop.user(Role::Customer), shop.service()] {
        assert_eq!(client.counts(1).await, (5, 0, 0));
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_the_name_of_the_field() {
    let shop = Shop::open().await;
    let (saga, too_many) = (shop.service(), [(1, 1); 101]);
    for (answer, field) in [
        (saga.reserve("42", &[(1, 1)]).await.map(drop), "order_id"),
        (saga.reserve(order(1), &[]).await.map(drop), "lines"),
        (saga.reserve(order(1), &too_many).await.map(drop), "lines"),
        (saga.reserve(order(1), &[(1, 1), (1, 0)]).await.map(drop), "lines[1].quantity"),
        (saga.reserve(order(1), &[(1, 1_000_001)]).await.map(drop), "lines[0].quantity"),
        (saga.reserve(order(1), &[(1, 1_000_000), (1, 1)]).await.map(drop), "lines"),
        (saga.reserve(order(1), &[(-1, 1)]).await.map(drop), "lines[0].product_id"),
        (saga.release("").await.map(drop), "order_id"),
        (saga.commit("x").await, "order_id"),
        (saga.stock(0).await.map(drop), "product_id"),
        (saga.restock("a", 0, 1).await.map(drop), "product_id"),
        (saga.restock("a", 1, 0).await.map(drop), "quantity"),
        (saga.restock("", 1, 1).await.map(drop), "restock_id"),
        (saga.restock("a.b", 1, 1).await.map(drop), "restock_id"),
    ] {
        let (code, message) = refusal(answer);
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    assert!(!saga.release(order(1)).await.unwrap(), "none of it left a trace");
}

#[tokio::test]
async fn a_product_nobody_stocked_is_not_found() {
    assert_eq!(refusal(Shop::open().await.anonymous().stock(9).await).0, Code::NotFound);
}

#[tokio::test]
async fn a_restock_counts_once_and_its_id_is_not_reused() {
    let shop = Shop::open().await;
    let staff = shop.user(Role::Staff);
    assert_eq!(staff.restock("monday", 1, 5).await.unwrap().version, 1);
    assert_eq!(staff.restock("monday", 1, 5).await.unwrap().available, 5);
    assert_eq!(staff.restock("tuesday", 1, 2).await.unwrap().available, 7);
    assert_eq!(refusal(staff.restock("monday", 1, 6).await).0, Code::FailedPrecondition);
    assert_eq!(refusal(staff.restock("monday", 2, 5).await).0, Code::FailedPrecondition);
    assert_eq!(staff.counts(1).await, (7, 0, 0));
    let events = shop.events("restock:monday", 1).await;
    assert_eq!((events.len(), events[0].kind.as_str()), (1, "StockRestocked"));
    assert_eq!(events[0].data, r#"{"restock_id":"monday","product_id":1,"quantity":5}"#);
}

#[tokio::test]
async fn concurrent_restocks_all_count_and_wait_for_each_other() {
    let shop = Shop::open().await;
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let staff = shop.user(Role::Staff).patient();
        calls.spawn(async move { staff.restock(&format!("r{}", number % 15), 1, 2).await.unwrap() });
    }
    calls.join_all().await;
    assert_eq!(shop.anonymous().counts(1).await, (30, 0, 0));
}

#[tokio::test]
async fn a_cached_figure_is_shown_but_never_decided_on() {
    let shop = Shop::with(&[("cache_ttl", "1h")]).await;
    let saga = shop.service();
    saga.restock("a", 1, 5).await.unwrap();
    assert_eq!(saga.counts(1).await, (5, 0, 0));
    shop.home().execute("UPDATE stock SET available = 1, sold = 4, version = version + 1").await;
    assert_eq!(saga.counts(1).await, (5, 0, 0), "stale, as its time to live allows");
    assert_eq!(saga.reserve(order(1), &[(1, 2)]).await.unwrap(), Outcome::SoldOut(SoldOut { product_id: 1 }));
    assert_eq!(saga.reserve(order(2), &[(1, 1)]).await.unwrap(), Outcome::Reserved(Reserved {}));
    assert_eq!(saga.counts(1).await, (0, 1, 4), "a commit brings the cache up to date");
}

#[tokio::test]
async fn without_a_time_to_live_the_query_is_always_fresh() {
    let shop = Shop::with(&[("cache_ttl", "0s")]).await;
    let saga = shop.service();
    saga.restock("a", 1, 5).await.unwrap();
    assert_eq!(saga.counts(1).await, (5, 0, 0));
    shop.home().execute("UPDATE stock SET available = 1").await;
    assert_eq!(saga.counts(1).await, (1, 0, 0));
}
