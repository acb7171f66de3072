use std::collections::BTreeMap;
use std::time::Duration;

use chassis::auth::Role;
use chassis::context::Context;
use kernel::OrderId;
use proto::common::v1::Money;
use proto::payment::v1::process_payment_response::Outcome;
use proto::payment::v1::{
    Blocked, Declined, GetPaymentRequest, ListPaymentsRequest, ProcessPaymentRequest, RefundPaymentRequest, Unavailable,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::contract::{order, user};
use crate::harness::{Client, PATIENCE, Running, refusal_to_start, start};

pub const FAST: (&str, &str) = ("acquirer.latency", "0ms");

pub fn request(number: u128, who: u128, minor: i64) -> ProcessPaymentRequest {
    ProcessPaymentRequest {
        order_id: order(number).to_string(),
        user_id: user(who).to_string(),
        amount: Some(Money { minor, currency: "EUR".to_owned() }),
    }
}

pub async fn pay(client: &mut Client, number: u128) -> Outcome {
    client.process_payment(request(number, 1, 100)).await.unwrap().into_inner().outcome.unwrap()
}

pub async fn refund(client: &mut Client, number: u128) -> Result<bool, Status> {
    let request = RefundPaymentRequest { order_id: order(number).to_string() };
    client.refund_payment(request).await.map(|answer| answer.into_inner().money_returned)
}

pub async fn state(client: &mut Client, number: u128) -> Result<String, Code> {
    let request = GetPaymentRequest { order_id: order(number).to_string() };
    client.get_payment(request).await.map(|answer| answer.into_inner().state).map_err(|status| status.code())
}

/// Asks again while the store has too much to do, the callers apart from each other as the saga's retries are.
async fn pay_patiently(client: &mut Client, number: u128, caller: u32) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.process_payment(request(number, 1, 100)).await {
            Ok(answer) => return answer.into_inner().outcome.unwrap(),
            Err(status) => assert!(status.code() == Code::Unavailable && Instant::now() < deadline, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(300) * caller).await;
    }
}

/// Asks again until the outcome is known.
pub async fn pay_until_known(client: &mut Client, number: u128) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let outcome = pay(client, number).await;
        if !matches!(outcome, Outcome::Ongoing(_)) {
            return outcome;
        }
        assert!(Instant::now() < deadline, "still ongoing");
    }
}

/// The kinds that the event log holds of the order's payment, once there are so many.
async fn published(running: &Running, of: OrderId, count: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let messages = running.log.read(payment::STREAM, &of.to_string()).await.unwrap();
        if messages.len() >= count {
            let versions: Vec<i64> = messages.iter().map(|message| message.event.version).collect();
            assert!(versions.iter().copied().eq(1..=versions.len() as i64), "{versions:?}");
            return messages.into_iter().map(|message| message.event.kind).collect();
        }
        assert!(Instant::now() < deadline, "not published: {messages:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pays_once_and_gives_back_once_and_tells_the_log() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    let first = pay(&mut client, 1).await;
    assert!(matches!(&first, Outcome::Captured(captured) if captured.acquirer_reference.starts_with("acq_")));
    assert_eq!(pay(&mut client, 1).await, first);
    assert!(refund(&mut client, 1).await.unwrap());
    assert!(refund(&mut client, 1).await.unwrap());
    assert_eq!(state(&mut client, 1).await, Ok("refunded".to_owned()));
    assert_eq!(pay(&mut client, 1).await, Outcome::Blocked(Blocked {}));
    let kinds = published(&running, order(1), 3).await;
    assert_eq!(kinds, ["PaymentIntended", "PaymentProcessed", "PaymentRefunded"]);
}

#[tokio::test]
async fn events_carry_order_user_amount_and_reference() {
    let running = start(&[FAST]).await;
    pay(&mut running.client(), 1).await;
    published(&running, order(1), 2).await;
    let last = running.log.last(payment::STREAM, &order(1).to_string()).await.unwrap().unwrap();
    let data: serde_json::Value = serde_json::from_str(&last.event.data).unwrap();
    assert_eq!(data["order_id"], order(1).to_string());
    assert_eq!(data["user_id"], user(1).to_string());
    assert_eq!(data["amount"], serde_json::json!({ "minor": 100, "currency": "EUR" }));
    assert!(data["reference"].as_str().unwrap().starts_with("acq_"));
    assert!(last.event.traceparent.is_some(), "the trace of the request goes with the event");
}

#[tokio::test]
async fn a_decline_is_an_answer_and_stays_one() {
    let running = start(&[FAST, ("acquirer.decline_rate", "1")]).await;
    let mut client = running.client();
    let declined = Outcome::Declined(Declined { reason: "declined".to_owned(), never_asked: false });
    assert_eq!(pay(&mut client, 1).await, declined);
    assert_eq!(pay(&mut client, 1).await, declined);
    assert!(!refund(&mut client, 1).await.unwrap());
    assert_eq!(published(&running, order(1), 2).await, ["PaymentIntended", "PaymentFailed"]);
}

#[tokio::test]
async fn concurrent_duplicates_hear_one_answer() {
    let patience = [("payment.provider_timeout", "20s"), ("payment.charge_window", "60s")];
    let running = start(&[&[("acquirer.latency", "20ms")], &patience[..]].concat()).await;
    let calls = (0..6).map(|caller| {
        let mut client = running.client();
        tokio::spawn(async move { pay_patiently(&mut client, 1, caller).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(matches!(call.await.unwrap(), Outcome::Captured(_)));
    }
    assert_eq!(running.family.acquirers_lines().await, ["capture"]);
    assert_eq!(published(&running, order(1), 2).await, ["PaymentIntended", "PaymentProcessed"]);
}

#[tokio::test]
async fn a_compensation_first_blocks_the_payment() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    assert!(!refund(&mut client, 1).await.unwrap());
    assert_eq!(pay(&mut client, 1).await, Outcome::Blocked(Blocked {}));
    assert_eq!(state(&mut client, 1).await, Ok("blocked".to_owned()));
    assert_eq!(published(&running, order(1), 1).await, ["PaymentBlocked"]);
}

#[tokio::test]
async fn a_provider_slower_than_the_timeout_leaves_the_payment_open_and_charges_once() {
    let running = start(&[("acquirer.latency", "1500ms"), ("payment.provider_timeout", "500ms")]).await;
    let mut client = running.client();
    for _ in 0..2 {
        let Outcome::Ongoing(ongoing) = pay(&mut client, 1).await else { panic!("nobody can know its fate") };
        assert!((10..=250).contains(&ongoing.retry_after_ms), "{}", ongoing.retry_after_ms);
    }
    assert_eq!(refund(&mut client, 1).await.unwrap_err().code(), Code::Unavailable, "later, not never");
    assert_eq!(state(&mut client, 1).await, Ok("intent".to_owned()));
    let deadline = Instant::now() + PATIENCE;
    while running.family.acquirers_lines().await.is_empty() {
        assert!(Instant::now() < deadline, "the charge never landed");
        tokio::task::yield_now().await;
    }
    assert_eq!(running.family.acquirers_lines().await, ["capture"]);
}

#[tokio::test]
async fn an_answer_lost_to_the_timeout_is_found_by_asking_again() {
    let running = start(&[("acquirer.latency", "1ms..600ms"), ("payment.provider_timeout", "300ms")]).await;
    let mut client = running.client();
    for number in 1..=8 {
        assert!(matches!(pay_until_known(&mut client, number).await, Outcome::Captured(_)));
        let kinds = published(&running, order(number), 2).await;
        assert_eq!(kinds, ["PaymentIntended", "PaymentProcessed"]);
    }
}

#[tokio::test]
async fn an_outage_opens_the_breaker_and_the_ops_port_shows_it() {
    let breaker = [("payment.breaker_minimum_calls", "3"), ("payment.breaker_open_for", "1h"), FAST];
    let running = start(&breaker).await;
    let mut client = running.client();
    pay(&mut client, 1).await;
    let body: serde_json::Value = serde_json::from_str(&running.ops("/breaker").await).unwrap();
    let expected = serde_json::json!({
        "state": "closed", "forced": null, "transitions": [],
        "window": {
            "calls": 1, "failed": 0, "slow": 0, "window_calls": 50, "minimum_calls": 3, "window_ms": 10_000,
            "failure_rate": 0.5, "slow_rate": 0.8, "open_for_ms": 3_600_000, "open_for_left_ms": null,
            "probes": 5, "probes_reported": 0,
        },
    });
    assert_eq!(body, expected);
    running.acquirer.cancel();

    let deadline = Instant::now() + PATIENCE;
    let mut number = 2;
    let refused = loop {
        assert!(Instant::now() < deadline, "the breaker never opened");
        match pay(&mut client, number).await {
            Outcome::Unavailable(refused) => break refused,
            _ => number += 1,
        }
    };
    assert_eq!(refused, Unavailable { message: "payment service unavailable".to_owned() });
    assert_eq!(state(&mut client, number).await, Err(Code::NotFound), "no intent was written");
    assert!(matches!(pay(&mut client, 1).await, Outcome::Captured(_)), "what is known is still told");
    assert_eq!(refund(&mut client, 1).await.unwrap_err().code(), Code::Unavailable, "later, not never");
    assert_eq!(state(&mut client, 1).await, Ok("captured".to_owned()));

    let body: serde_json::Value = serde_json::from_str(&running.ops("/breaker").await).unwrap();
    assert_eq!(body["state"], "open");
    let left = body["window"]["open_for_left_ms"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&left), "{left}");
    let transition = &body["transitions"][0];
    assert_eq!((&transition["from"], &transition["to"]), (&"closed".into(), &"open".into()));
    assert!(transition["at_us"].as_i64().unwrap() > 0 && transition["why"].is_string());
    let metrics = running.ops("/metrics").await;
    assert!(metrics.contains("breaker_state{service=\"payment\"} 1"), "{metrics}");
    assert!(metrics.contains("breaker_transitions_total{service=\"payment\",to=\"open\"} 1"), "{metrics}");
    // Repetitions are not counted again; what nothing was written about is counted as refused.
    for (outcome, count) in [("captured", 1), ("refunded", 0), ("unavailable", 1)] {
        let line = format!("payments_total{{service=\"payment\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn a_payment_is_shown_to_its_owner_and_to_staff() {
    let running = start(&[FAST]).await;
    pay(&mut running.client(), 1).await;
    let seen = async |context: Context| {
        let mut client = running.client_of_caller();
        context.scope(async move { state(&mut client, 1).await }).await
    };
    let captured = Ok("captured".to_owned());
    assert_eq!(seen(running.context_of(user(1), Role::Customer)).await, captured);
    assert_eq!(seen(running.context_of(user(2), Role::Staff)).await, captured);
    assert_eq!(seen(running.context_of(user(2), Role::Customer)).await, Err(Code::PermissionDenied));
    assert_eq!(seen(Context::default()).await, Err(Code::Unauthenticated));
    assert_eq!(state(&mut running.client(), 2).await, Err(Code::NotFound));
}

#[tokio::test]
async fn payments_are_listed_for_their_owner_and_all_of_them_for_staff() {
    let running = start(&[FAST]).await;
    for (number, who) in [(1, 1), (2, 2), (3, 1)] {
        running.client().process_payment(request(number, who, 100)).await.unwrap();
    }
    let list = async |context: Context, user_id: String, limit: u32, after_created_us: i64| {
        let mut client = running.client_of_caller();
        let request = ListPaymentsRequest { user_id, after_created_us, limit };
        let answer = context.scope(async move { client.list_payments(request).await }).await;
        answer.map(|answer| answer.into_inner().payments).map_err(|status| status.code())
    };
    let orders = |payments: Vec<proto::payment::v1::Payment>| -> Vec<String> {
        payments.into_iter().map(|payment| payment.order_id).collect()
    };
    let customer = || running.context_of(user(1), Role::Customer);
    let staff = || running.context_of(user(9), Role::Staff);
    let of = |number| user(number).to_string();

    let first = list(customer(), of(1), 1, 0).await.unwrap();
    let after = first[0].created_at_us;
    assert_eq!(orders(first), [order(1).to_string()]);
    assert_eq!(orders(list(customer(), of(1), 1, after).await.unwrap()), [order(3).to_string()]);
    assert_eq!(list(staff(), String::new(), 0, 0).await.unwrap().len(), 3);
    assert_eq!(list(customer(), of(2), 0, 0).await.unwrap_err(), Code::PermissionDenied);
    assert_eq!(list(customer(), String::new(), 0, 0).await.unwrap_err(), Code::PermissionDenied);
    assert_eq!(list(Context::default(), String::new(), 0, 0).await.unwrap_err(), Code::Unauthenticated);
    assert_eq!(list(staff(), String::new(), 101, 0).await.unwrap_err(), Code::InvalidArgument);
    assert_eq!(list(staff(), "me".to_owned(), 0, 0).await.unwrap_err(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_services_move_money() {
    let running = start(&[FAST]).await;
    for (context, code) in [
        (Context::default(), Code::Unauthenticated),
        (running.context_of(user(1), Role::Customer), Code::PermissionDenied),
        (running.context_of(user(1), Role::Admin), Code::PermissionDenied),
    ] {
        let mut client = running.client_of_caller();
        let codes = context
            .scope(async move {
                let paid = client.process_payment(request(1, 1, 100)).await.unwrap_err();
                [paid.code(), refund(&mut client, 1).await.unwrap_err().code()]
            })
            .await;
        assert_eq!(codes, [code; 2]);
    }
    assert_eq!(state(&mut running.client(), 1).await, Err(Code::NotFound));
}

#[tokio::test]
async fn bad_input_is_refused_by_the_name_of_its_field() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    let good = || request(1, 1, 100);
    let money = |minor, currency: &str| Some(Money { minor, currency: currency.to_owned() });
    for (request, field) in [
        (ProcessPaymentRequest { order_id: "7".into(), ..good() }, "order_id:"),
        (ProcessPaymentRequest { user_id: String::new(), ..good() }, "user_id:"),
        (ProcessPaymentRequest { amount: None, ..good() }, "amount:"),
        (ProcessPaymentRequest { amount: money(-5, "EUR"), ..good() }, "amount:"),
        (ProcessPaymentRequest { amount: money(5, "Euro"), ..good() }, "amount.currency:"),
    ] {
        let refused = client.process_payment(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{field} {}", refused.message());
    }
    assert_eq!(state(&mut client, 1).await, Err(Code::NotFound));
    pay(&mut client, 1).await;
    let other = client.process_payment(request(1, 1, 101)).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    assert!(other.message().starts_with("amount"), "{}", other.message());
}

#[tokio::test]
async fn does_not_start_on_settings_that_make_no_sense_or_without_an_acquirer() {
    let peers = BTreeMap::from([(acquirer::ROLE, "127.0.0.1:1".to_owned())]);
    let odd = [("payment.breaker_window", "10"), ("payment.breaker_minimum_calls", "11")];
    assert!(refusal_to_start(&odd, peers.clone()).await.is_some_and(|error| error.contains("minimum")));
    assert!(refusal_to_start(&[], BTreeMap::new()).await.is_some_and(|error| error.contains("acquirer")));
    assert_eq!(refusal_to_start(&[], peers).await, None);
}
