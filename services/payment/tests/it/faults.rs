//! Faults: a breaker that is forced, and a provider that swallows its answers.

use proto::payment::v1::process_payment_response::Outcome;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use crate::harness::{PATIENCE, Running, start};
use crate::service::{FAST, pay, pay_until_known, refund, state};

const FORCE_OPEN: &str = r#"{"kind": "force_open"}"#;
const FORCE_CLOSED: &str = r#"{"kind": "force_closed"}"#;

async fn force(running: &Running, name: &str, body: &str) {
    let (status, fault) = running.breaker_faults("PUT", &format!("/{name}"), body).await;
    assert_eq!((status, &fault["target"]), (201, &json!("breaker")), "{fault}");
}

/// Lifts the fault, and answers how many charges it touched.
async fn lift(running: &Running, name: &str) -> Value {
    let (status, lifted) = running.breaker_faults("DELETE", &format!("/{name}"), "").await;
    assert_eq!(status, 200, "{lifted}");
    lifted["hits"].clone()
}

/// The breaker's state, and what it is forced to.
async fn breaker(running: &Running) -> (String, Value) {
    let body: Value = serde_json::from_str(&running.ops("/breaker").await).unwrap();
    (body["state"].as_str().unwrap().to_owned(), body["forced"].clone())
}

fn forced(state: &str) -> (String, Value) {
    (state.to_owned(), json!(state))
}

#[tokio::test]
async fn a_breaker_that_is_forced_open_refuses_charges_and_nothing_else() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    pay(&mut client, 1).await;
    force(&running, "a", FORCE_OPEN).await;
    assert_eq!(breaker(&running).await, forced("open"));
    assert!(matches!(pay(&mut client, 2).await, Outcome::Unavailable(_)));
    assert_eq!(state(&mut client, 2).await, Err(Code::NotFound), "no intent was written");
    assert!(matches!(pay(&mut client, 1).await, Outcome::Captured(_)));
    assert!(refund(&mut client, 1).await.unwrap());
    let body: Value = serde_json::from_str(&running.ops("/breaker").await).unwrap();
    assert_eq!(body["window"]["open_for_left_ms"], Value::Null, "no time ends it");

    assert_eq!(lift(&running, "a").await, 1);
    assert_eq!(breaker(&running).await, ("half-open".to_owned(), Value::Null));
    assert!(matches!(pay(&mut client, 2).await, Outcome::Captured(_)));
}

#[tokio::test]
async fn a_breaker_that_is_forced_closed_lets_charges_through_whatever_fails() {
    let running = start(&[FAST, ("payment.breaker_minimum_calls", "2")]).await;
    let mut client = running.client();
    force(&running, "a", FORCE_CLOSED).await;
    assert_eq!(running.provider_faults("PUT", "/down", r#"{"kind": "outage"}"#).await.0, 201);
    for number in 1..=8 {
        assert!(matches!(pay(&mut client, number).await, Outcome::Ongoing(_)), "an outage is unknown, not failed");
    }
    assert_eq!(breaker(&running).await, forced("closed"));
    assert_eq!(lift(&running, "a").await, 8);
    assert_eq!(breaker(&running).await, ("closed".to_owned(), Value::Null));
    for number in 11..=12 {
        pay(&mut client, number).await;
    }
    assert_eq!(breaker(&running).await.0, "open", "it judges by itself again");
}

#[tokio::test]
async fn the_last_force_counts_and_the_one_before_it_comes_back() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    force(&running, "first", FORCE_OPEN).await;
    force(&running, "second", FORCE_CLOSED).await;
    assert_eq!(breaker(&running).await, forced("closed"));
    assert!(matches!(pay(&mut client, 1).await, Outcome::Captured(_)));

    assert_eq!(lift(&running, "second").await, 1);
    assert_eq!(breaker(&running).await, forced("open"));
    assert!(matches!(pay(&mut client, 2).await, Outcome::Unavailable(_)));

    force(&running, "third", FORCE_CLOSED).await;
    assert_eq!(lift(&running, "first").await, 1, "only the one that counts touches charges");
    assert_eq!(breaker(&running).await, forced("closed"), "it did not count any more");
    assert_eq!(lift(&running, "third").await, 0);
    assert_eq!(breaker(&running).await, ("closed".to_owned(), Value::Null));
}

#[tokio::test]
async fn a_force_ends_by_itself() {
    let running = start(&[FAST]).await;
    force(&running, "a", r#"{"kind": "force_open", "for_ms": 50}"#).await;
    let deadline = Instant::now() + PATIENCE;
    while breaker(&running).await.1 != Value::Null {
        assert!(Instant::now() < deadline, "still forced");
    }
    let (_, faults) = running.breaker_faults("GET", "", "").await;
    assert_eq!(faults["history"][0]["lifted_because"], "time_over");
}

#[tokio::test]
async fn a_charge_whose_answer_is_swallowed_is_found_and_is_one_capture() {
    let running = start(&[FAST, ("payment.provider_timeout", "1s")]).await;
    let mut client = running.client();
    assert_eq!(running.provider_faults("PUT", "/lost", r#"{"kind": "timeout_after_charge"}"#).await.0, 201);
    assert!(matches!(pay(&mut client, 1).await, Outcome::Ongoing(_)), "nobody can know its fate");
    assert!(matches!(pay_until_known(&mut client, 1).await, Outcome::Captured(_)), "status tells of it");
    assert!(matches!(pay(&mut client, 2).await, Outcome::Ongoing(_)));
    assert!(refund(&mut client, 2).await.unwrap(), "the void finds the capture, and it is given back");
    assert_eq!(running.family.acquirers_lines().await, ["capture", "capture", "refund"]);
}
