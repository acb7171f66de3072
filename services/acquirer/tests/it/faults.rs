//! What each kind of fault does to the calls over gRPC.

use std::time::Duration;

use proto::acquirer::v1::{KeyState, RefundRequest, StatusRequest, VoidRequest};
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;

use crate::harness::{Client, PATIENCE, Running, start, start_with_chaos};
use crate::service::{FAST, charge, declined, refund, status, void};

/// The codes of a charge, a void, a refund and a question about the key.
async fn all_four(client: &mut Client, key: &str) -> [Code; 4] {
    let name = || key.to_owned();
    let code = |status: tonic::Status| status.code();
    [
        charge(client, key).await.map_or_else(code, |_| Code::Ok),
        client.void(VoidRequest { key: name() }).await.map_or_else(code, |_| Code::Ok),
        client.refund(RefundRequest { key: name() }).await.map_or_else(code, |_| Code::Ok),
        client.status(StatusRequest { key: name() }).await.map_or_else(code, |_| Code::Ok),
    ]
}

/// Waits until the only active fault has touched so many calls.
async fn touched(running: &Running, calls: u64) {
    let deadline = Instant::now() + PATIENCE;
    while running.hits().await != [calls] {
        assert!(Instant::now() < deadline, "{:?}, not {calls}", running.hits().await);
    }
}

#[tokio::test]
async fn without_chaos_nothing_can_be_broken() {
    let running = start(&[FAST]).await;
    let outage = r#"{"kind": "outage"}"#;
    assert_eq!(running.ops("PUT", "/chaos/faults/outage", outage).await, (404, Value::Null));
    assert_eq!(charge(&mut running.client(), "k").await.unwrap().state(), KeyState::Captured);
}

#[tokio::test]
async fn an_outage_refuses_every_call_and_does_nothing() {
    let running = start_with_chaos(&[FAST]).await;
    let mut client = running.client();
    running.inject("outage", &[]).await;
    assert_eq!(all_four(&mut client, "k").await, [Code::Unavailable; 4]);
    assert_eq!(running.lift("outage").await, 4);
    assert!(running.family.lines_of("k").await.is_empty());
    assert_eq!(all_four(&mut client, "k").await, [Code::Ok; 4]);
}

#[tokio::test]
async fn an_outage_hides_the_other_faults() {
    let running = start_with_chaos(&[FAST]).await;
    running.inject("latency", &[("latency", "1h")]).await;
    running.inject("error_rate", &[("rate", "1")]).await;
    running.inject("outage", &[]).await;
    assert_eq!(all_four(&mut running.client(), "k").await, [Code::Unavailable; 4]);
    assert_eq!(running.hits().await, [0, 0, 4]);
}

#[tokio::test]
async fn latency_lengthens_every_call() {
    let running = start_with_chaos(&[FAST]).await;
    running.inject("latency", &[("latency", "50ms..60ms")]).await;
    let started = Instant::now();
    assert_eq!(all_four(&mut running.client(), "k").await, [Code::Ok; 4]);
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(running.lift("latency").await, 4);
}

#[tokio::test]
async fn an_error_comes_before_any_effect() {
    let running = start_with_chaos(&[FAST]).await;
    let mut client = running.client();
    running.inject("error_rate", &[("rate", "0.5")]).await;
    let mut failed = Vec::new();
    for number in 0..60 {
        let key = format!("key-{number}");
        match charge(&mut client, &key).await {
            Ok(answer) => assert_eq!(answer.state(), KeyState::Captured),
            Err(status) => {
                assert_eq!(status.code(), Code::Internal);
                failed.push(key);
            }
        }
    }
    assert!((10..=50).contains(&failed.len()), "{} of 60", failed.len());
    assert_eq!(running.lift("error_rate").await, failed.len() as u64);
    for key in failed {
        assert!(running.family.lines_of(&key).await.is_empty(), "{key} failed before it had any effect");
    }

    running.inject("error_rate", &[("rate", "1")]).await;
    assert_eq!(all_four(&mut client, "k").await, [Code::Internal; 4]);
    assert!(running.family.lines_of("k").await.is_empty());
}

#[tokio::test]
async fn a_decline_rate_declines_the_keys_that_a_setting_of_that_rate_would() {
    let few = declined(&start(&[FAST, ("acquirer.decline_rate", "0.2")]).await, 0..60).await;
    let many = declined(&start(&[FAST, ("acquirer.decline_rate", "0.6")]).await, 0..60).await;
    assert!(few.len() < many.len());

    let running = start_with_chaos(&[FAST, ("acquirer.decline_rate", "0.2")]).await;
    running.inject("decline_rate", &[("rate", "0.6")]).await;
    assert_eq!(declined(&running, 0..60).await, many);
    assert_eq!(running.lift("decline_rate").await, (many.len() - few.len()) as u64, "the setting declines the others");
    assert_eq!(declined(&running, 0..60).await, many, "what was declined stays so");

    let lower = start_with_chaos(&[FAST, ("acquirer.decline_rate", "0.6")]).await;
    lower.inject("decline_rate", &[("rate", "0.2")]).await;
    assert_eq!(declined(&lower, 0..60).await, many, "a fault makes nothing better");
    assert_eq!(lower.lift("decline_rate").await, 0);
}

#[tokio::test]
async fn a_charge_whose_answer_is_swallowed_is_one_capture_that_status_and_void_tell_of() {
    let running = start_with_chaos(&[FAST]).await;
    let mut client = running.client();
    running.inject("timeout_after_charge", &[]).await;
    for asked in 1..=2 {
        let mut impatient = running.client();
        let call = tokio::spawn(async move { charge(&mut impatient, "k").await });
        touched(&running, asked).await;
        call.abort();
    }
    assert_eq!(status(&mut client, "k").await, KeyState::Captured);
    assert_eq!(void(&mut client, "k").await, KeyState::Captured);
    assert_eq!(running.family.lines_of("k").await, ["capture"]);
    assert_eq!(refund(&mut client, "k").await, Ok(()));
    assert_eq!(running.family.lines_of("k").await, ["capture", "refund"]);
    assert_eq!(running.lift("timeout_after_charge").await, 2, "only charges are touched");
}

#[tokio::test]
async fn who_waits_for_a_swallowed_answer_is_let_go_when_the_fault_is_lifted() {
    let running = start_with_chaos(&[FAST]).await;
    running.inject("timeout_after_charge", &[]).await;
    let mut client = running.client();
    let call = tokio::spawn(async move { charge(&mut client, "k").await });
    touched(&running, 1).await;
    assert!(!call.is_finished());
    running.lift("timeout_after_charge").await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert_eq!(charge(&mut running.client(), "k").await.unwrap().state(), KeyState::Captured);
    assert_eq!(running.family.lines_of("k").await, ["capture"]);
}

#[tokio::test]
async fn a_decline_is_answered_also_when_the_answers_of_charges_are_swallowed() {
    let running = start_with_chaos(&[FAST, ("acquirer.decline_rate", "1")]).await;
    running.inject("timeout_after_charge", &[]).await;
    assert_eq!(charge(&mut running.client(), "k").await.unwrap().state(), KeyState::Declined);
    assert_eq!(running.lift("timeout_after_charge").await, 0);
}
