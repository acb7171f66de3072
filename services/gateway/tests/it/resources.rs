//! The resources other than orders.

use chassis::auth::{Caller, Role};
use serde_json::{Value, json};

use crate::fakes::{ENDED_ORDER, NOBODYS_ORDER, ORDER};
use crate::harness::{PAYMENT_OPS, USER, shop};

#[tokio::test]
async fn registering_and_signing_in_answer_a_session() {
    let shop = shop().await;
    let body = json!({"email": "ada@example.test", "password": "right", "name": "Ada"});
    let reply = shop.ask("POST", "/users/register").json(body).send().await;
    let user = json!({
        "id": USER, "email": "ada@example.test", "name": "Ada", "role": "customer",
        "created_at": "1970-01-01T00:00:01.500000Z",
    });
    let session = json!({"user": user, "token": "header.body.signature", "expires_at": "1970-01-01T01:00:00.000000Z"});
    assert_eq!((reply.status, reply.json()), (201, session.clone()));
    let body = json!({"email": "ada@example.test", "password": "right"});
    let reply = shop.ask("POST", "/users/login").json(body).send().await;
    assert_eq!((reply.status, reply.json()), (200, session));
}

#[tokio::test]
async fn a_taken_address_is_a_conflict_and_a_wrong_password_is_no_session() {
    let shop = shop().await;
    let taken = json!({"email": "taken@example.test", "password": "right", "name": "Eve"});
    let reply = shop.ask("POST", "/users/register").json(taken).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "already-exists"));
    let wrong = json!({"email": "ada@example.test", "password": "wrong"});
    let reply = shop.ask("POST", "/users/login").json(wrong).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (401, "unauthenticated"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn a_profile_is_the_callers_own() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/users/me").by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.json()["email"].as_str()), (200, Some("ada@example.test")));
    assert!(shop.fakes.last().message.contains(USER));
    let update = shop.ask("PUT", "/users/me").by(Role::Customer);
    let reply = update.json(json!({"email": "new@example.test"})).send().await;
    assert_eq!((reply.status, reply.json()["email"].as_str()), (200, Some("new@example.test")));
    for (body, names) in [(json!({}), "`email` or `name`"), (json!({"role": "admin"}), "role")] {
        let reply = shop.ask("PUT", "/users/me").by(Role::Customer).json(body).send().await;
        assert_eq!(reply.status, 400);
        assert!(reply.detail().contains(names), "{}", reply.detail());
    }
}

#[tokio::test]
async fn the_catalogue_is_searched_page_by_page() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/products?search=sneaker%20red&category=shoes&page=").send().await;
    let product = json!({
        "id": 1, "sku": "SKU-1", "name": "Sneaker", "category": "shoes",
        "price": {"minor": 12900, "currency": "EUR"}, "version": 1,
    });
    assert_eq!((reply.status, reply.json()), (200, json!({"items": [product], "next_page": "1"})));
    let message = shop.fakes.last().message;
    assert!(message.contains("sneaker red") && message.contains("\"shoes\""), "{message}");
    let last = shop.ask("GET", "/products?page=1").send().await.json();
    assert_eq!(last["next_page"], Value::Null);
    for query in ["page=x", "page=-1", "serach=x", &format!("search={}", "x".repeat(201))] {
        assert_eq!(shop.ask("GET", &format!("/products?{query}")).send().await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn staff_look_after_the_catalogue() {
    let shop = shop().await;
    let product =
        json!({"sku": "SKU-9", "name": "Sneaker", "category": "shoes", "price": {"minor": 1, "currency": "EUR"}});
    let reply = shop.ask("POST", "/products").by(Role::Staff).json(product).send().await;
    assert_eq!((reply.status, reply.header("location")), (201, Some("/api/v1/products/9")));
    let reply = shop.ask("PUT", "/products/9").by(Role::Staff).json(json!({"name": "Boot"})).send().await;
    assert_eq!((reply.status, reply.json()["version"].as_i64()), (200, Some(2)));
    let message = shop.fakes.last().message;
    assert!(message.contains("Boot") && message.contains("price: None"), "{message}");
    let reply = shop.ask("DELETE", "/products/9").by(Role::Staff).send().await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""));
}

#[tokio::test]
async fn refuses_bad_products_and_names_the_field() {
    let shop = shop().await;
    let product = |sku: &str, price: Value| json!({"sku": sku, "name": "Sneaker", "price": price});
    let cases = [
        (product("a b", json!({"minor": 1, "currency": "EUR"})), "sku"),
        (product("A", json!({"minor": -1, "currency": "EUR"})), "price.minor"),
        (product("A", json!({"minor": 1, "currency": "euro"})), "price.currency"),
        (product("A", json!({"minor": 1.5, "currency": "EUR"})), "price.minor"),
        (product("A", json!({"minor": 1, "currency": "EUR", "vat": 19})), "vat"),
    ];
    for (body, field) in cases {
        let reply = shop.ask("POST", "/products").by(Role::Staff).json(body.clone()).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{body}");
        assert!(reply.detail().contains(field), "{}", reply.detail());
    }
    for path in ["/products/x", "/products/0", "/products/-1", "/products/99999999999999999999"] {
        assert_eq!(shop.ask("GET", path).send().await.status, 400, "{path}");
    }
    let reply = shop.ask("GET", "/products/404").send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (404, "not-found"));
}

#[tokio::test]
async fn stock_is_seen_by_all_and_added_by_staff() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/inventory/7").send().await;
    assert_eq!(reply.json(), json!({"product_id": 7, "available": 5, "reserved": 2, "sold": 3, "version": 1}));
    let restock = |body| shop.ask("POST", "/inventory/7/restock").by(Role::Staff).json(body).send();
    let reply = restock(json!({"quantity": 10, "restock_id": "delivery-1"})).await;
    assert_eq!((reply.status, reply.json()["available"].as_i64()), (200, Some(15)));
    assert!(shop.fakes.last().message.contains("delivery-1"));
    for (body, field) in [
        (json!({"quantity": 0, "restock_id": "x"}), "quantity"),
        (json!({"quantity": 1, "restock_id": ""}), "restock_id"),
        (json!({"quantity": 1, "restock_id": "&p@V.*"}), "restock_id: 1 to 64 letters"),
        (json!({"quantity": 1}), "restock_id"),
    ] {
        let reply = restock(body).await;
        assert_eq!(reply.status, 400);
        assert!(reply.detail().contains(field), "{}", reply.detail());
    }
}

#[tokio::test]
async fn payments_are_listed_with_their_amount() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/payments").by(Role::Customer).send().await;
    let payment = json!({
        "order_id": ORDER, "amount": {"minor": 25800, "currency": "EUR"}, "state": "declined",
        "acquirer_reference": null, "refunded_by": null, "created_at": "1970-01-01T00:00:01.500000Z",
        "updated_at": "1970-01-01T00:00:02.000000Z",
    });
    assert_eq!((reply.status, reply.json()), (200, json!({"items": [payment], "next_after": null})));
}

#[tokio::test]
async fn a_payment_and_its_history_are_shown() {
    let shop = shop().await;
    let reply = shop.ask("GET", &format!("/payments/{ORDER}")).by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("captured")));
    let reply = shop.ask("GET", &format!("/payments/{ORDER}/history")).by(Role::Customer).send().await;
    let event = json!({
        "version": 1, "type": "PaymentIntended", "occurred_at": "1970-01-01T00:00:01.500000Z", "data": {"reason": ""},
    });
    assert_eq!((reply.status, reply.json()), (200, json!({"order_id": ORDER, "events": [event]})));
    let reply = shop.ask("GET", &format!("/payments/{NOBODYS_ORDER}")).by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (404, "not-found"));
    let reply = shop.ask("GET", "/payments/7").by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"));
}

#[tokio::test]
async fn staff_have_money_given_back_in_their_own_name() {
    let shop = shop().await;
    let refund = |order: &str| shop.ask("POST", &format!("/payments/{order}/refund")).by(Role::Staff).send();
    let reply = refund(ORDER).await;
    assert_eq!((reply.status, reply.json()["state"].as_str()), (200, Some("refunded")));
    assert_eq!(reply.json()["refunded_by"], USER);
    let caller = shop.fakes.last().caller;
    assert_eq!(caller, Caller::User { id: USER.parse().unwrap(), role: Role::Staff });
    let reply = refund(ENDED_ORDER).await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "not-possible-now"));
}

#[tokio::test]
async fn who_asks_for_a_part_of_the_money_does_not_give_all_of_it_back() {
    let shop = shop().await;
    let refund =
        |body: &'static str| shop.ask("POST", &format!("/payments/{ORDER}/refund")).by(Role::Staff).text(body).send();
    for body in [r#"{"amount":{"minor":1,"currency":"EUR"}}"#, r#"{"minor":1}"#, "[1]", "100"] {
        let reply = refund(body).await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{body}");
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached the payment service");
    for body in ["", "{}"] {
        assert_eq!(refund(body).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn an_admin_looks_at_an_account_and_gives_it_a_role() {
    let shop = shop().await;
    let other = "00000000-0000-0000-0000-000000000002";
    let reply = shop.ask("GET", &format!("/admin/users/{other}")).by(Role::Staff).send().await;
    assert_eq!(reply.status, 200);
    let assign = |user: &str, body: Value| {
        shop.ask("PUT", &format!("/admin/users/{user}/role")).by(Role::Admin).json(body).send()
    };
    let reply = assign(other, json!({"role": "staff"})).await;
    assert_eq!((reply.status, reply.json()["role"].as_str()), (200, Some("staff")));
    let reply = assign(USER, json!({"role": "customer"})).await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "not-possible-now"));
    for body in [json!({"role": "service"}), json!({"role": "root"}), json!({}), json!({"role": "staff", "id": 1})] {
        assert_eq!(assign(other, body.clone()).await.status, 400, "{body}");
    }
    assert_eq!(assign("ada", json!({"role": "staff"})).await.status, 400);
}

#[tokio::test]
async fn categories_are_listed_page_by_page() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/categories?limit=1").send().await;
    let first = json!({"items": [{"name": "Shoes", "products": 3}], "next": "shoes"});
    assert_eq!((reply.status, reply.json()), (200, first));
    let reply = shop.ask("GET", "/categories?after=shoes").send().await;
    assert_eq!(reply.json()["next"], Value::Null);
    assert!(shop.fakes.last().message.contains("\"shoes\""));
    for query in ["limit=0", "limit=101", "limit=x", "before=x"] {
        assert_eq!(shop.ask("GET", &format!("/categories?{query}")).send().await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn an_admin_makes_many_users_at_once() {
    let shop = shop().await;
    let bulk = |count| {
        let body = json!({"prefix": "buyer", "first": 5, "count": count});
        shop.ask("POST", "/admin/users").by(Role::Admin).json(body).send()
    };
    let reply = bulk(2).await;
    let session = |email: &str| json!({"user_id": USER, "email": email, "token": "header.body.signature"});
    let expected = json!({"sessions": [session("buyer-5@example.test"), session("buyer-6@example.test")]});
    assert_eq!((reply.status, reply.json()), (200, expected));
    for count in [0, 1001] {
        let reply = bulk(count).await;
        assert_eq!(reply.status, 400);
        assert!(reply.detail().contains("count"));
    }
    let body = json!({"prefix": "buyer", "first": 4_294_966_296_u32, "count": 1});
    let reply = shop.ask("POST", "/admin/users").by(Role::Admin).json(body).send().await;
    assert_eq!(reply.status, 400, "what the description says is the largest is the largest");
    assert!(reply.detail().starts_with("first: "), "{}", reply.detail());
}

#[tokio::test]
async fn an_admin_finds_the_ports_of_every_role() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/admin/roles").by(Role::Admin).send().await;
    let roles = reply.json();
    let named: Vec<&str> = roles.as_array().unwrap().iter().map(|role| role["role"].as_str().unwrap()).collect();
    assert_eq!((reply.status, named), (200, vec!["inventory", "order", "payment", "product", "user"]));
    let address = &roles[2]["address"];
    assert!(address.as_str().unwrap().starts_with("127.0.0.1:"), "{address}");
    assert_eq!(roles[2], json!({"role": "payment", "address": address, "ops": PAYMENT_OPS}));
    assert_eq!(roles[0]["ops"], Value::Null, "nobody said");
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}
