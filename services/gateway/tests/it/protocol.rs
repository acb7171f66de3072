//! What holds for every route: names, traces, problems, bodies, deadlines, measurements.

use chassis::auth::Role;
use chassis::context::Trace;
use serde_json::json;

use crate::harness::{env, shop, shop_with, shop_without_peers};

#[tokio::test]
async fn a_request_keeps_its_name_or_is_given_one() {
    let shop = shop().await;
    let named = shop.ask("GET", "/products").header("x-request-id", "run-7:42").send().await;
    assert_eq!(named.header("x-request-id"), Some("run-7:42"));
    let first = shop.ask("GET", "/products").send().await;
    let second = shop.ask("GET", "/products").header("x-request-id", "<script>").send().await;
    for reply in [&first, &second] {
        assert_eq!(reply.header("x-request-id").map(str::len), Some(36));
    }
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_trace_goes_through_the_gateway_into_the_services() {
    let shop = shop().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let reply = shop.ask("GET", "/products").header("traceparent", parent).send().await;
    let trace = |text: &str| text.parse::<Trace>().unwrap();
    let (parent, answered) = (trace(parent), trace(reply.header("traceparent").unwrap()));
    let called = trace(&shop.fakes.last().traceparent.unwrap());
    assert_eq!((answered.trace_id, called.trace_id), (parent.trace_id, parent.trace_id));
    assert!(answered.span_id != parent.span_id && called.span_id != answered.span_id);
    let fresh = shop.ask("GET", "/products").send().await;
    assert_ne!(trace(fresh.header("traceparent").unwrap()).trace_id, parent.trace_id);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let shop = shop().await;
    for path in ["/index.html", "/api/v1", "/api/v1/nothing", "/api/v1/orders/a/b/c", "/healthz"] {
        let reply = shop.ask("GET", "").at(path).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (404, "no-such-route"), "{path}");
    }
    let reply = shop.ask("DELETE", "/products").send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (405, "method-not-allowed"));
    let allowed = reply.header("allow").unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn answers_are_neither_sniffed_nor_stored() {
    let shop = shop().await;
    for path in ["/products", "/nothing"] {
        let reply = shop.ask("GET", path).send().await;
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = reply.header("content-security-policy");
        assert_eq!(policy, Some("default-src 'none'; frame-ancestors 'none'"), "{path}");
    }
}

#[tokio::test]
async fn a_body_is_json_whatever_it_is_called() {
    let shop = shop().await;
    let body = json!({"email": "ada@example.test", "password": "right"});
    for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        let login = shop.ask("POST", "/users/login").header("content-type", kind);
        assert_eq!(login.json(body.clone()).send().await.status, 200, "{kind}");
    }
    for text in ["", "email=ada", "{", "[]", "{\"email\":\"a\",\"password\":\"right\"} trailing"] {
        let reply = shop.ask("POST", "/users/login").text(text).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "validation"), "{text}");
    }
}

#[tokio::test]
async fn a_body_has_a_largest_size() {
    let shop = shop_with(&[("body_limit", "1024")]).await;
    let login = |length: usize| json!({"email": "a".repeat(length), "password": "right"}).to_string();
    let room = 1024 - login(0).len();
    let fits = shop.ask("POST", "/users/login").text(&login(room)).send().await;
    assert_eq!(fits.status, 200, "{}", fits.text);
    let reply = shop.ask("POST", "/users/login").text(&login(room + 1)).send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (413, "body-too-large"));
}

#[tokio::test]
async fn an_inner_failure_is_not_explained_to_the_outside() {
    let shop = shop().await;
    for path in ["/products/500", "/products/501"] {
        let reply = shop.ask("GET", path).send().await;
        assert_eq!((reply.status, reply.problem().as_str()), (500, "internal"), "{path}");
        assert!(!reply.text.contains("secret"), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_service_out_of_reach_is_503_and_worth_another_try() {
    let shop = shop_without_peers().await;
    let reply = shop.ask("GET", "/products").send().await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "unavailable"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(!reply.text.contains("127.0.0.1"), "{}", reply.text);
}

#[tokio::test]
async fn requests_are_measured_under_their_route_and_not_under_their_path() {
    let shop = shop().await;
    shop.ask("GET", "/products/7").send().await;
    shop.ask("GET", "/products/404").send().await;
    shop.ask("BREW", "/made/up/4711").send().await;
    let metrics = shop.metrics().await;
    for labels in [
        r#"method="GET",route="/api/v1/products/{id}",status="200""#,
        r#"method="GET",route="/api/v1/products/{id}",status="404""#,
        r#"method="OTHER",route="unmatched",status="404""#,
    ] {
        assert!(metrics.contains(labels), "{labels}\n{metrics}");
    }
    assert!(!metrics.contains("4711"));
}

#[tokio::test]
async fn is_not_built_without_knowing_where_its_peers_are() {
    let folder = tempfile::tempdir().unwrap();
    let config = chassis::settings::parse(gateway::ROLE, &std::collections::BTreeMap::new()).unwrap();
    let backing = crate::family::backing(folder.path());
    let refused = gateway::build(config, env(gateway::ROLE, std::collections::BTreeMap::new()), backing);
    assert!(refused.await.err().is_some_and(|error| error.to_string().contains("user")));
}

#[tokio::test]
async fn a_long_mistake_is_not_repeated_in_full() {
    let shop = shop().await;
    let order = shop.ask("POST", "/orders").by(Role::Customer);
    let reply = order.text(&format!("{{\"{}\":1}}", "x".repeat(20_000))).send().await;
    assert_eq!(reply.status, 400);
    assert!(reply.text.len() < 1000, "{}", reply.text.len());
}
