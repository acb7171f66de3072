//! Faults over HTTP: who may break what, and what they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use chassis::auth::Role;
use chassis::chaos::http::ops;
use chassis::chaos::{Active, Kind, Parameter, Shape, Target};
use chassis::clock::SharedClock;
use chassis::env::Env;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::serving::env;
use crate::world::TestClock;

const USER: &str = "00000000-0000-0000-0000-000000000001";

static LIFT: Target = Target {
    name: "lift",
    role: "house",
    kinds: &[
        Kind { name: "stuck", meaning: "it goes nowhere", parameters: &[] },
        Kind {
            name: "slow",
            meaning: "it takes its time",
            parameters: &[Parameter {
                name: "delay",
                shape: Shape::Durations,
                default: None,
                meaning: "how long between two floors",
            }],
        },
    ],
};

/// A role's ops port without the port, in paused time.
struct House {
    env: Env,
    router: Router,
    active: Arc<Mutex<Vec<Arc<Active>>>>,
}

fn house(chaos: bool) -> House {
    let clock: SharedClock = Arc::new(TestClock::new());
    let env = Env { chaos, clock, ..env("house", BTreeMap::new()) };
    let active = Arc::<Mutex<Vec<Arc<Active>>>>::default();
    let told = active.clone();
    let router = ops(&env, &LIFT, move |now| *told.lock().unwrap() = now.to_vec());
    House { env, router, active }
}

impl House {
    fn token(&self, sub: &str, role: Role) -> String {
        format!("Bearer {}", self.env.keys.issue(sub, role, Duration::from_secs(60), self.env.clock.now()))
    }

    async fn ask_as(&self, authorization: Option<&str>, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let token = self.token("order", Role::Service);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_as(Some(&token), method, path, &body).await
    }

    fn now_us(&self) -> i64 {
        self.env.clock.now().as_micros()
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_injected_listed_counted_and_lifted() {
    let house = house(true);
    let injected_at = house.now_us();
    let wanted = json!({"kind": "slow", "parameters": {"delay": "1s..2s"}});
    let (status, fault) = house.ask("PUT", "/chaos/faults/tired", wanted).await;
    let mut expected = json!({
        "name": "tired", "target": "lift", "kind": "slow", "parameters": {"delay": "1s..2s"},
        "injected_at_us": injected_at, "until_us": null, "hits": 0,
    });
    assert_eq!((status, &fault), (201, &expected));

    house.active.lock().unwrap()[0].hit();
    expected["hits"] = json!(1);
    let (status, listed) = house.ask("GET", "/chaos/faults", Value::Null).await;
    assert_eq!((status, listed), (200, json!({"target": "lift", "active": [expected], "history": []})));
    let shown = "faults_active{service=\"house\",target=\"lift\",kind=\"slow\"} 1";
    assert!(house.env.metrics.render().contains(shown), "{}", house.env.metrics.render());

    tokio::time::sleep(Duration::from_secs(1)).await;
    let (status, lifted) = house.ask("DELETE", "/chaos/faults/tired", Value::Null).await;
    expected["lifted_at_us"] = json!(injected_at + 1_000_000);
    expected["lifted_because"] = json!("asked");
    assert_eq!((status, &lifted), (200, &expected));
    assert!(house.active.lock().unwrap().is_empty(), "the role was told");
    let (_, listed) = house.ask("GET", "/chaos/faults", Value::Null).await;
    assert_eq!(listed, json!({"target": "lift", "active": [], "history": [expected]}));
    assert!(house.env.metrics.render().contains("kind=\"slow\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn a_fault_with_an_end_lifts_by_itself() {
    let house = house(true);
    let injected_at = house.now_us();
    let (status, fault) = house.ask("PUT", "/chaos/faults/a", json!({"kind": "stuck", "for_ms": 3000})).await;
    assert_eq!((status, &fault["until_us"]), (201, &json!(injected_at + 3_000_000)));
    tokio::time::sleep(Duration::from_millis(3001)).await;
    assert!(house.active.lock().unwrap().is_empty());
    let (_, listed) = house.ask("GET", "/chaos/faults", Value::Null).await;
    assert_eq!(listed["active"], json!([]));
    assert_eq!(listed["history"][0]["lifted_because"], "time_over");
    assert_eq!(listed["history"][0]["lifted_at_us"], json!(injected_at + 3_000_000));
    assert_eq!(house.ask("DELETE", "/chaos/faults/a", Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn all_are_lifted_at_once() {
    let house = house(true);
    for name in ["b", "a"] {
        let (status, _) = house.ask("PUT", &format!("/chaos/faults/{name}"), json!({"kind": "stuck"})).await;
        assert_eq!(status, 201);
    }
    let (status, lifted) = house.ask("DELETE", "/chaos/faults", Value::Null).await;
    assert_eq!((status, lifted[0]["name"].as_str(), lifted[1]["name"].as_str()), (200, Some("b"), Some("a")));
    assert_eq!(house.ask("DELETE", "/chaos/faults", Value::Null).await, (200, json!([])));
}

#[tokio::test(start_paused = true)]
async fn an_active_name_is_a_conflict() {
    let house = house(true);
    house.ask("PUT", "/chaos/faults/a", json!({"kind": "stuck"})).await;
    let (status, refused) = house.ask("PUT", "/chaos/faults/a", json!({"kind": "stuck"})).await;
    assert_eq!(status, 409);
    assert!(refused["error"].as_str().unwrap().contains("`a` is active already"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_with_one_clear_line() {
    let house = house(true);
    let slow = |delay: &str| json!({"kind": "slow", "parameters": {"delay": delay}});
    for (name, body, says) in [
        (
            "a",
            json!({"kind": "stick"}),
            "`lift` has no fault of kind `stick`; it has stuck, slow; did you mean `stuck`?",
        ),
        ("a", json!({"kind": "slow"}), "`slow` needs `delay`: how long between two floors"),
        (
            "a",
            json!({"kind": "stuck", "parameters": {"delay": "1s"}}),
            "`stuck` has no parameter `delay`; it takes none",
        ),
        ("a", slow("soon"), "`delay`: `soon` is not a duration; write it like 50ms, 1.5s or 2m"),
        ("A", json!({"kind": "stuck"}), "a fault's name is 1 to 48 of a-z, 0-9 and `-`, not `A`"),
        ("a", json!({"kind": "stuck", "for_ms": 0}), "a fault lasts from 1ms to 24h, not 0ns"),
        ("a", json!({"kind": "stuck", "for_ms": 86_400_001_u64}), "a fault lasts from 1ms to 24h"),
        ("a", json!({"parameters": {}}), "the body: missing field `kind`"),
        ("a", json!({"kind": "stuck", "for": "3s"}), "the body: unknown field `for`"),
        ("a", Value::Null, "write it like {\"kind\": \"latency\""),
    ] {
        let (status, refused) = house.ask("PUT", &format!("/chaos/faults/{name}"), body).await;
        let error = refused["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(says) && !error.contains('\n'), "{status} {error}");
    }
    let (status, _) = house.ask("PUT", "/chaos/faults/a", json!({"kind": "x".repeat(20_000)})).await;
    assert_eq!(status, 413);
    assert!(house.active.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_admins_and_services_may_break_things() {
    let house = house(true);
    let (customer, staff) = (house.token(USER, Role::Customer), house.token(USER, Role::Staff));
    let (admin, service) = (house.token(USER, Role::Admin), house.token("order", Role::Service));
    let mut forged = admin.clone();
    forged.pop();
    let wanted = json!({"kind": "stuck"}).to_string();
    for (authorization, status) in [
        (None, 401),
        (Some("Basic dTpw"), 401),
        (Some(forged.as_str()), 401),
        (Some(&customer), 403),
        (Some(&staff), 403),
    ] {
        for (method, path) in [
            ("GET", "/chaos/faults"),
            ("DELETE", "/chaos/faults"),
            ("PUT", "/chaos/faults/a"),
            ("DELETE", "/chaos/faults/a"),
        ] {
            let (answered, refused) = house.ask_as(authorization, method, path, &wanted).await;
            assert_eq!(answered, status, "{method} {path} {authorization:?}");
            assert!(refused["error"].is_string(), "{refused}");
        }
    }
    assert!(house.active.lock().unwrap().is_empty());
    for (authorization, name) in [(admin, "a"), (service, "b")] {
        let path = format!("/chaos/faults/{name}");
        assert_eq!(house.ask_as(Some(&authorization), "PUT", &path, &wanted).await.0, 201);
    }
    let late = house.token(USER, Role::Admin);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(house.ask_as(Some(&late), "GET", "/chaos/faults", "").await.0, 401, "the token is out of date");
}

#[tokio::test(start_paused = true)]
async fn without_chaos_there_is_nothing_to_find() {
    let house = house(false);
    for (method, path) in [("GET", "/chaos/faults"), ("DELETE", "/chaos/faults"), ("PUT", "/chaos/faults/a")] {
        assert_eq!(house.ask(method, path, json!({"kind": "stuck"})).await, (404, Value::Null), "{method} {path}");
    }
    assert!(!house.env.metrics.render().contains("faults_active"));
}
