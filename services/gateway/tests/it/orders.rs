//! Placing orders: keys, waiting, outcomes.

use chassis::auth::Role;
use serde_json::{Value, json};

use crate::fakes::{ENDED_ORDER, NOBODYS_ORDER, ORDER, STALL};
use crate::harness::{Ask, Shop, USER, eventually, shop, shop_with};

fn sneakers() -> Value {
    json!({"items": [{"product_id": 1, "quantity": 2}]})
}

fn order(shop: &Shop) -> Ask<'_> {
    shop.ask("POST", "/orders").by(Role::Customer)
}

#[tokio::test]
async fn an_order_that_ended_is_201_with_everything_about_it() {
    let shop = shop().await;
    let reply = order(&shop).json(sneakers()).send().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert_eq!(reply.header("location"), Some(format!("/api/v1/orders/{ORDER}").as_str()));
    assert_eq!(reply.header("idempotency-replayed"), None);
    let expected = json!({
        "id": ORDER,
        "status": "CONFIRMED",
        "cancel_reason": null,
        "items": [
            {"product_id": 1, "sku": "SNEAKER-42", "quantity": 2, "unit_price": {"minor": 12900, "currency": "EUR"}}
        ],
        "total": {"minor": 25800, "currency": "EUR"},
        "version": 4,
        "created_at": "1970-01-01T00:00:01.500000Z",
        "updated_at": "1970-01-01T00:00:02.000000Z",
    });
    assert_eq!(reply.json(), expected);
    let message = shop.fakes.last().message;
    assert!(message.contains(USER) && message.contains("wait_ms: 2000"), "{message}");
}

#[tokio::test]
async fn prefer_wait_0_answers_202_at_once() {
    let shop = shop().await;
    let reply = order(&shop).header("prefer", "wait=0").json(sneakers()).send().await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("location"), Some(format!("/api/v1/orders/{ORDER}").as_str()));
    assert_eq!(reply.header("preference-applied"), Some("wait=0"));
    assert_eq!(reply.json()["status"], "PENDING");
}

#[tokio::test]
async fn nobody_waits_longer_than_half_a_minute() {
    let shop = shop().await;
    let reply = order(&shop).header("prefer", "wait=3600").json(sneakers()).send().await;
    assert_eq!(reply.header("preference-applied"), Some("wait=30"));
    assert!(shop.fakes.last().message.contains("wait_ms: 30000"));
}

#[tokio::test]
async fn a_repeated_key_says_so_and_answers_the_same_order() {
    let shop = shop().await;
    let place = || order(&shop).header("idempotency-key", "my-key").json(sneakers()).send();
    let (first, second) = (place().await, place().await);
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    assert_eq!((second.status, second.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(second.header("idempotency-key"), Some("my-key"));
    assert_eq!(first.json()["id"], second.json()["id"]);
}

#[tokio::test]
async fn a_key_is_made_for_those_who_send_none_and_never_twice() {
    let shop = shop().await;
    let place = || order(&shop).json(sneakers()).send();
    let (first, second) = (place().await, place().await);
    let key = first.header("idempotency-key").unwrap();
    assert!(!key.is_empty());
    assert_ne!(Some(key), second.header("idempotency-key"));
    assert_eq!(second.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn a_key_is_returned_with_a_failure_too_so_that_it_can_be_used_again() {
    let shop = shop_with(&[("peer_timeout", "50ms"), ("order_wait", "0s")]).await;
    let reply = order(&shop).json(json!({"items": [{"sku": STALL, "quantity": 1}]})).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (504, "timeout"));
    assert!(reply.header("idempotency-key").is_some_and(|key| !key.is_empty()));
}

#[tokio::test]
async fn refuses_a_key_that_is_not_one() {
    let shop = shop().await;
    for key in ["", "two words", &"x".repeat(129)] {
        let reply = order(&shop).header("idempotency-key", key).json(sneakers()).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{key}");
        assert!(reply.detail().contains("Idempotency-Key"), "{}", reply.detail());
    }
    let twice = order(&shop).header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(twice.json(sneakers()).send().await.status, 400);
    assert_eq!(shop.fakes.count(), 0);
}

#[tokio::test]
async fn refuses_bad_orders_and_names_the_field() {
    let shop = shop().await;
    let item = |item: Value| json!({"items": [{"product_id": 1, "quantity": 1}, item]});
    let many: Vec<_> = (1..=101).map(|id| json!({"product_id": id, "quantity": 1})).collect();
    let cases = [
        (json!({}), "items"),
        (json!({"items": []}), "items"),
        (json!({"items": many}), "items"),
        (json!({"items": [], "coupon": "X"}), "coupon"),
        (item(json!({"product_id": 1, "quantity": 0})), "items[1].quantity"),
        (item(json!({"product_id": 1, "quantity": 1_000_001})), "items[1].quantity"),
        (item(json!({"product_id": 1, "quantity": -1})), "items[1].quantity"),
        (item(json!({"product_id": 0, "quantity": 1})), "items[1].product_id"),
        (item(json!({"product_id": "1", "quantity": 1})), "items[1].product_id"),
        (item(json!({"sku": "a b", "quantity": 1})), "items[1].sku"),
        (item(json!({"quantity": 1})), "items[1]"),
        (item(json!({"product_id": 1, "sku": "X", "quantity": 1})), "items[1]"),
        (item(json!({"product_id": 1, "quantity": 1, "price": 1})), "price"),
    ];
    for (body, field) in cases {
        let reply = order(&shop).json(body.clone()).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{body}");
        assert!(reply.detail().contains(field), "{field}: {}", reply.detail());
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached the order service");
}

#[tokio::test]
async fn says_which_refusal_of_the_order_service_it_was() {
    let shop = shop().await;
    let reply = order(&shop).json(json!({"items": [{"sku": "NONE", "quantity": 1}]})).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (404, "unknown-product"));
    assert!(reply.detail().contains("NONE"));
    let reply = order(&shop).header("idempotency-key", "spent").json(sneakers()).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "idempotency-key-reused"));
    let reply = shop.ask("POST", &format!("/orders/{ORDER}/cancel")).by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "not-possible-now"));
    assert_eq!(reply.detail(), "the order is confirmed");
}

#[tokio::test]
async fn an_order_and_its_history_are_read_by_id() {
    let shop = shop().await;
    let reply = shop.ask("GET", &format!("/orders/{ORDER}")).by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.json()["cancel_reason"].as_str()), (200, Some("sold_out")));
    let reply = shop.ask("GET", &format!("/orders/{ORDER}/history")).by(Role::Customer).send().await;
    let event = json!({
        "version": 1, "type": "OrderCreated", "occurred_at": "1970-01-01T00:00:01.500000Z", "data": {"lines": 2}
    });
    assert_eq!(reply.json(), json!({"order_id": ORDER, "events": [event]}));
    let reply = shop.ask("GET", "/orders/17").by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"));
}

#[tokio::test]
async fn a_listing_is_ones_own_and_staffs_is_everybodys() {
    let shop = shop().await;
    let other = "00000000-0000-0000-0000-000000000002";
    for path in ["/orders", "/payments"] {
        shop.ask("GET", path).by(Role::Customer).send().await;
        assert!(shop.fakes.last().message.contains(&format!("user_id: \"{USER}\"")), "{path}");
        shop.ask("GET", path).by(Role::Staff).send().await;
        assert!(shop.fakes.last().message.contains("user_id: \"\""), "{path}");
        shop.ask("GET", &format!("{path}?user_id={other}")).by(Role::Staff).send().await;
        assert!(shop.fakes.last().message.contains(other), "{path}");
        let reply = shop.ask("GET", &format!("{path}?user_id={other}")).by(Role::Customer).send().await;
        assert_eq!(reply.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_full_page_tells_where_the_next_one_starts() {
    let shop = shop().await;
    let full = shop.ask("GET", "/orders?limit=2&after=7").by(Role::Customer).send().await.json();
    assert_eq!((full["items"].as_array().unwrap().len(), full["next_after"].as_i64()), (2, Some(1_500_000)));
    assert!(shop.fakes.last().message.contains("after_created_us: 7"));
    let next = full["next"].as_str().unwrap();
    assert_eq!(next, format!("1500000.{ORDER}"));
    shop.ask("GET", &format!("/orders?after={next}")).by(Role::Customer).send().await;
    let message = shop.fakes.last().message;
    assert!(message.contains("after_created_us: 1500000") && message.contains(&format!("after_id: \"{ORDER}\"")));
    let last = shop.ask("GET", "/orders?limit=3").by(Role::Customer).send().await.json();
    assert_eq!((last["items"].as_array().unwrap().len(), &last["next_after"]), (2, &Value::Null));
    assert_eq!(last["next"], Value::Null);
    for query in
        ["limit=0", "limit=101", "limit=x", "after=-1", "after=x", "before=1", "after=7.x", "after=.", "after=7."]
    {
        let reply = shop.ask("GET", &format!("/orders?{query}")).by(Role::Customer).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{query}");
    }
}

#[tokio::test]
async fn the_attempts_of_an_order_are_read_page_by_page() {
    let shop = shop().await;
    let path = format!("/orders/{ORDER}/attempts");
    let reply = shop.ask("GET", &format!("{path}?after=3&limit=2")).by(Role::Customer).send().await;
    let attempt = |sequence: i64, took_us: Option<u64>, detail: Option<&str>| {
        json!({
            "sequence": sequence, "step": "process_payment", "number": 1, "outcome": "unknown", "epoch": 2,
            "started_at": "1970-01-01T00:00:01.500000Z", "took_us": took_us, "detail": detail,
        })
    };
    let items = [attempt(4, Some(250), Some("timeout")), attempt(5, None, None)];
    assert_eq!((reply.status, reply.json()), (200, json!({"items": items, "next_after": 5})));
    assert!(shop.fakes.last().message.contains("after_sequence: 3"));
    let all = shop.ask("GET", &path).by(Role::Customer).send().await;
    assert_eq!(all.json()["next_after"], Value::Null);
    assert!(shop.fakes.last().message.contains("limit: 100"), "all of them, if they are not too many");
    let nobodys = shop.ask("GET", &format!("/orders/{NOBODYS_ORDER}/attempts")).by(Role::Customer).send().await;
    assert_eq!((nobodys.status, nobodys.problem().as_str()), (404, "not-found"));
    for query in ["after=x", "limit=0", "user_id=1"] {
        assert_eq!(shop.ask("GET", &format!("{path}?{query}")).by(Role::Customer).send().await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn staff_see_which_orders_are_stuck_page_by_page() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/admin/orders/stuck").by(Role::Staff).send().await;
    let stuck = |status: &str, due_at: Option<&str>| {
        json!({
            "order_id": ORDER, "user_id": USER, "status": status, "step": "refund_payment", "attempts": 5,
            "detail": "Internal: a bug", "since": "1970-01-01T00:00:01.500000Z", "due_at": due_at,
        })
    };
    let items = [stuck("NEEDS_OPERATOR", None), stuck("CANCELLING", Some("1970-01-01T00:00:02.000000Z"))];
    assert_eq!((reply.status, reply.json()), (200, json!({"items": items, "next": null})));
    let first = shop.ask("GET", "/admin/orders/stuck?limit=1").by(Role::Admin).send().await.json();
    let next = first["next"].as_str().unwrap();
    shop.ask("GET", &format!("/admin/orders/stuck?after={next}")).by(Role::Admin).send().await;
    let message = shop.fakes.last().message;
    assert!(message.contains("after_since_us: 1500000") && message.contains(ORDER), "{message}");
    for query in ["after=x", "after=1.2", "limit=101", "user_id=1"] {
        let reply = shop.ask("GET", &format!("/admin/orders/stuck?{query}")).by(Role::Staff).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{query}");
    }
}

#[tokio::test]
async fn staff_let_a_stuck_order_go_on() {
    let shop = shop().await;
    let retry = |id: &str| shop.ask("POST", &format!("/admin/orders/{id}/retry")).by(Role::Staff).send();
    let reply = retry(ORDER).await;
    assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("CANCELLING")));
    let missing = retry(NOBODYS_ORDER).await;
    assert_eq!((missing.status, missing.problem().as_str()), (404, "not-found"));
    let ended = retry(ENDED_ORDER).await;
    assert_eq!((ended.status, ended.problem().as_str()), (409, "not-possible-now"));
    assert_eq!(ended.detail(), "nothing is left to do about it");
    assert_eq!(retry("17").await.status, 400);
}

#[tokio::test]
async fn an_admin_rebuilds_the_projection_and_is_told_what_was_found() {
    let shop = shop().await;
    let reply = shop.ask("POST", "/admin/orders/rebuild").by(Role::Admin).send().await;
    let found = json!({"orders": 7, "missing": 3, "differing": 2, "stray": 1});
    assert_eq!((reply.status, reply.json()), (200, found));
}

#[tokio::test]
async fn a_client_that_hangs_up_is_recorded() {
    let shop = shop().await;
    let stalled = order(&shop).json(json!({"items": [{"sku": STALL, "quantity": 1}]})).send();
    // The request is dropped with this statement, and closes its connection.
    tokio::select! {
        biased;
        _ = stalled => panic!("the order service does not answer"),
        () = eventually("the order service is asked", async || shop.fakes.count() == 1) => {}
    }
    eventually("the request is measured as 499", async || {
        shop.metrics().await.contains(r#"route="/api/v1/orders",status="499""#)
    })
    .await;
}
