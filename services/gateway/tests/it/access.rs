//! Who may do what, and how often.

use std::time::Duration;

use chassis::auth::{Caller, Role};
use serde_json::json;

use crate::harness::{USER, shop, shop_with};

const PRIVATE: [(&str, &str); 23] = [
    ("GET", "/users/me"),
    ("PUT", "/users/me"),
    ("POST", "/products"),
    ("PUT", "/products/1"),
    ("DELETE", "/products/1"),
    ("POST", "/inventory/1/restock"),
    ("POST", "/orders"),
    ("GET", "/orders"),
    ("GET", "/orders/6f726465-0000-5000-8000-000000000001"),
    ("GET", "/orders/6f726465-0000-5000-8000-000000000001/history"),
    ("POST", "/orders/6f726465-0000-5000-8000-000000000001/cancel"),
    ("GET", "/payments"),
    ("GET", "/payments/6f726465-0000-5000-8000-000000000001"),
    ("GET", "/payments/6f726465-0000-5000-8000-000000000001/history"),
    ("POST", "/payments/6f726465-0000-5000-8000-000000000001/refund"),
    ("GET", "/admin/users/00000000-0000-0000-0000-000000000002"),
    ("PUT", "/admin/users/00000000-0000-0000-0000-000000000002/role"),
    ("POST", "/admin/users"),
    ("GET", "/admin/roles"),
    ("GET", "/orders/6f726465-0000-5000-8000-000000000001/attempts"),
    ("GET", "/admin/orders/stuck"),
    ("POST", "/admin/orders/6f726465-0000-5000-8000-000000000001/retry"),
    ("POST", "/admin/orders/rebuild"),
];

#[tokio::test]
async fn everything_but_looking_and_signing_in_needs_a_token() {
    let shop = shop().await;
    for (method, path) in PRIVATE {
        let reply = shop.ask(method, path).send().await;
        assert_eq!(reply.status, 401, "{method} {path}");
        assert_eq!(reply.problem(), "unauthenticated");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
    for path in ["/products", "/products/1", "/categories", "/inventory/1", "/openapi.json"] {
        assert_eq!(shop.ask("GET", path).send().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_even_where_none_is_needed() {
    let shop = shop().await;
    let expired = shop.token_for(USER, Role::Customer, Duration::ZERO);
    let service = shop.token_for("order", Role::Service, Duration::from_secs(60));
    let mut forged = shop.token(Role::Admin);
    forged.pop();
    for token in [expired.as_str(), &service, &forged, "nonsense"] {
        for path in ["/products", "/users/me"] {
            let reply = shop.ask("GET", path).bearer(token).send().await;
            assert_eq!((reply.status, reply.problem().as_str()), (401, "invalid-token"), "{token}");
            assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
        }
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}

#[tokio::test]
async fn a_stale_token_does_not_keep_anybody_from_signing_in_again() {
    let shop = shop().await;
    let expired = shop.token_for(USER, Role::Customer, Duration::ZERO);
    let login = shop.ask("POST", "/users/login").bearer(&expired);
    let reply = login.json(json!({"email": "ada@example.test", "password": "right"})).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(shop.fakes.last().caller, Caller::Anonymous, "the token stayed here");
}

#[tokio::test]
async fn what_is_staffs_or_admins_is_refused_to_others() {
    let shop = shop().await;
    let staff = [
        ("POST", "/products"),
        ("PUT", "/products/1"),
        ("DELETE", "/products/1"),
        ("POST", "/inventory/1/restock"),
        ("POST", "/admin/users"),
        ("GET", "/admin/roles"),
        ("GET", "/admin/orders/stuck"),
        ("POST", "/admin/orders/6f726465-0000-5000-8000-000000000001/retry"),
        ("POST", "/admin/orders/rebuild"),
        ("POST", "/payments/6f726465-0000-5000-8000-000000000001/refund"),
        ("GET", "/admin/users/00000000-0000-0000-0000-000000000002"),
        ("PUT", "/admin/users/00000000-0000-0000-0000-000000000002/role"),
    ];
    for (method, path) in staff {
        let reply = shop.ask(method, path).by(Role::Customer).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (403, "forbidden"), "{method} {path}");
    }
    let admins = [
        ("POST", "/admin/users"),
        ("GET", "/admin/roles"),
        ("POST", "/admin/orders/rebuild"),
        ("PUT", "/admin/users/00000000-0000-0000-0000-000000000002/role"),
    ];
    for (method, path) in admins {
        let reply = shop.ask(method, path).by(Role::Staff).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (403, "forbidden"), "{method} {path}");
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}

#[tokio::test]
async fn services_are_called_in_the_callers_name() {
    let shop = shop().await;
    shop.ask("GET", "/users/me").by(Role::Customer).send().await;
    let caller = Caller::User { id: USER.parse().unwrap(), role: Role::Customer };
    assert_eq!(shop.fakes.last().caller, caller);
    shop.ask("GET", "/products").send().await;
    assert_eq!(shop.fakes.last().caller, Caller::Anonymous);
}

#[tokio::test]
async fn a_customer_is_slowed_down_and_told_for_how_long() {
    let shop = shop_with(&[("rate_limit_per_minute", "2")]).await;
    for remaining in ["1", "0"] {
        let reply = shop.ask("GET", "/users/me").by(Role::Customer).send().await;
        assert_eq!((reply.status, reply.header("ratelimit-remaining")), (200, Some(remaining)));
        assert_eq!(reply.header("ratelimit-limit"), Some("2"));
        assert_eq!(reply.header("ratelimit-policy"), Some("2;w=60"));
    }
    // Another route, the same customer.
    let reply = shop.ask("GET", "/products").by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (429, "too-many-requests"));
    assert_eq!(reply.header("ratelimit-remaining"), Some("0"));
    let seconds = |name| reply.header(name).unwrap().parse::<u64>().unwrap();
    assert!((1..=60).contains(&seconds("ratelimit-reset")));
    assert!((1..=120).contains(&seconds("retry-after")));
    assert_eq!(shop.fakes.count(), 2, "what is refused reaches no service");
}

/// The gateway looked at it a moment before the service did.
#[tokio::test]
async fn a_token_that_expires_on_its_way_is_an_invalid_one() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/products/401").by(Role::Customer).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (401, "invalid-token"));
    let reply = shop.ask("GET", "/products/401").send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (401, "unauthenticated"), "there was none");
}

#[tokio::test]
async fn who_is_locked_out_is_told_for_how_long() {
    let shop = shop().await;
    let login = shop.ask("POST", "/users/login");
    let reply = login.json(json!({"email": "ada@example.test", "password": "once too often"})).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (429, "too-many-requests"));
    assert_eq!(reply.header("retry-after"), Some("300"));
}

#[tokio::test]
async fn one_customers_haste_does_not_slow_another_down() {
    let shop = shop_with(&[("rate_limit_per_minute", "1")]).await;
    let other = shop.token_for("00000000-0000-0000-0000-000000000002", Role::Customer, Duration::from_secs(60));
    assert_eq!(shop.ask("GET", "/users/me").by(Role::Customer).send().await.status, 200);
    assert_eq!(shop.ask("GET", "/users/me").by(Role::Customer).send().await.status, 429);
    assert_eq!(shop.ask("GET", "/users/me").bearer(&other).send().await.status, 200);
    assert_eq!(shop.ask("GET", "/products").send().await.status, 200, "nor those who are not signed in");
}

#[tokio::test]
async fn callers_who_are_not_signed_in_share_ten_times_as_much_for_each_operation() {
    let shop = shop_with(&[("rate_limit_per_minute", "1")]).await;
    for _ in 0..10 {
        let reply = shop.ask("GET", "/products").send().await;
        assert_eq!((reply.status, reply.header("ratelimit-limit")), (200, Some("10")));
    }
    assert_eq!(shop.ask("GET", "/products").send().await.status, 429);
    assert_eq!(shop.ask("GET", "/products/1").send().await.status, 200);
}

#[tokio::test]
async fn staff_and_admins_are_not_limited() {
    let shop = shop_with(&[("rate_limit_per_minute", "1")]).await;
    for role in [Role::Staff, Role::Admin] {
        for _ in 0..5 {
            let reply = shop.ask("GET", "/products").by(role).send().await;
            assert_eq!((reply.status, reply.header("ratelimit-limit")), (200, None));
        }
    }
}

#[tokio::test]
async fn who_shows_two_tokens_is_nobody() {
    let shop = shop().await;
    let (customer, admin) = (shop.token(Role::Customer), shop.token(Role::Admin));
    for path in ["/products", "/users/me", "/admin/roles"] {
        let second = format!("Bearer {admin}");
        let reply = shop.ask("GET", path).bearer(&customer).header("authorization", &second).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (401, "invalid-token"), "{path}");
        assert!(reply.detail().contains("one Authorization header"), "{}", reply.detail());
    }
    assert_eq!(shop.fakes.count(), 0, "nothing reached a service");
}
