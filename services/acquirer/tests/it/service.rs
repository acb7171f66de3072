use std::time::Duration;

use chassis::context::Context;
use proto::acquirer::v1::{ChargeRequest, ChargeResponse, KeyState, RefundRequest, StatusRequest, VoidRequest};
use proto::common::v1::Money;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::harness::{Client, PATIENCE, Running, start};

pub const FAST: (&str, &str) = ("acquirer.latency", "0ms");
pub const FAR: i64 = i64::MAX;

pub fn ask(key: &str, minor: i64, not_after_us: i64) -> ChargeRequest {
    ChargeRequest { key: key.to_owned(), amount: Some(Money { minor, currency: "EUR".to_owned() }), not_after_us }
}

pub async fn charge(client: &mut Client, key: &str) -> Result<ChargeResponse, Status> {
    client.charge(ask(key, 500, FAR)).await.map(tonic::Response::into_inner)
}

/// Asks again while the ledger has too much to do, the callers apart from each other.
async fn charge_patiently(client: &mut Client, key: &str, caller: u32) -> ChargeResponse {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match charge(client, key).await {
            Ok(charged) => return charged,
            Err(status) => assert!(status.code() == Code::Unavailable && Instant::now() < deadline, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(300) * caller).await;
    }
}

pub async fn void(client: &mut Client, key: &str) -> KeyState {
    client.void(VoidRequest { key: key.to_owned() }).await.unwrap().into_inner().state()
}

pub async fn refund(client: &mut Client, key: &str) -> Result<(), Code> {
    client.refund(RefundRequest { key: key.to_owned() }).await.map(|_| ()).map_err(|status| status.code())
}

pub async fn status(client: &mut Client, key: &str) -> KeyState {
    client.status(StatusRequest { key: key.to_owned() }).await.unwrap().into_inner().state()
}

/// Which of a hundred keys are declined, asked in that order.
pub async fn declined(running: &Running, keys: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut client = running.client();
    let mut declined = Vec::new();
    for number in keys {
        if charge(&mut client, &format!("key-{number}")).await.unwrap().state() == KeyState::Declined {
            declined.push(number);
        }
    }
    declined.sort_unstable();
    declined
}

#[tokio::test]
async fn captures_once_and_answers_every_repetition_alike() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    let first = charge(&mut client, "k").await.unwrap();
    assert_eq!(first.state(), KeyState::Captured);
    assert!(first.reference.starts_with("acq_"));
    assert_eq!(charge(&mut client, "k").await.unwrap(), first);
    assert_eq!(running.family.lines_of("k").await, ["capture"]);
}

#[tokio::test]
async fn concurrent_duplicates_leave_one_line() {
    let running = start(&[("acquirer.latency", "1ms..20ms")]).await;
    let calls = (0..8).map(|caller| {
        let mut client = running.client();
        tokio::spawn(async move { charge_patiently(&mut client, "k", caller).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(running.family.lines_of("k").await, ["capture"]);
}

#[tokio::test]
async fn a_voided_key_is_never_charged() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    assert_eq!(void(&mut client, "k").await, KeyState::Voided);
    assert_eq!(charge(&mut client, "k").await.unwrap().state(), KeyState::Voided);
    assert_eq!(void(&mut client, "k").await, KeyState::Voided);
    assert_eq!(running.family.lines_of("k").await, ["void"]);
}

#[tokio::test]
async fn a_void_of_a_captured_key_changes_nothing_and_a_refund_returns_it_once() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    charge(&mut client, "k").await.unwrap();
    assert_eq!(void(&mut client, "k").await, KeyState::Captured);
    assert_eq!(refund(&mut client, "k").await, Ok(()));
    assert_eq!(refund(&mut client, "k").await, Ok(()));
    assert_eq!(void(&mut client, "k").await, KeyState::Refunded);
    assert_eq!(charge(&mut client, "k").await.unwrap().state(), KeyState::Refunded);
    assert_eq!(running.family.lines_of("k").await, ["capture", "refund"]);
}

#[tokio::test]
async fn nothing_is_refunded_that_was_not_captured() {
    let running = start(&[FAST, ("acquirer.decline_rate", "1")]).await;
    let mut client = running.client();
    assert_eq!(refund(&mut client, "never-seen").await, Err(Code::FailedPrecondition));
    assert_eq!(charge(&mut client, "k").await.unwrap().state(), KeyState::Declined);
    assert_eq!(refund(&mut client, "k").await, Err(Code::FailedPrecondition));
    assert_eq!(running.family.lines_of("k").await, ["decline"]);
}

#[tokio::test]
async fn a_charge_that_comes_too_late_voids_its_key_for_good() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    let late = client.charge(ask("k", 500, 1)).await.unwrap().into_inner();
    assert_eq!((late.state(), late.reason.as_str()), (KeyState::Voided, "too_late"));
    assert_eq!(charge(&mut client, "k").await.unwrap(), late);
    assert_eq!(running.family.lines_of("k").await, ["void"]);
}

#[tokio::test]
async fn a_key_of_another_amount_is_refused() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    charge(&mut client, "k").await.unwrap();
    let refused = client.charge(ask("k", 501, FAR)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("amount:"), "{}", refused.message());
}

#[tokio::test]
async fn a_charge_whose_caller_gave_up_still_lands() {
    let running = start(&[("acquirer.latency", "2s")]).await;
    let mut impatient = running.client_within(Duration::from_millis(500));
    assert!(charge(&mut impatient, "k").await.is_err());
    let deadline = Instant::now() + PATIENCE;
    let mut client = running.client();
    while status(&mut client, "k").await != KeyState::Captured {
        assert!(Instant::now() < deadline, "the charge never landed");
    }
    assert_eq!(running.family.lines_of("k").await, ["capture"]);
}

#[tokio::test]
async fn the_seed_and_the_key_decide_what_is_declined_not_the_order() {
    let rate = ("acquirer.decline_rate", "0.3");
    let forwards = declined(&start(&[FAST, rate]).await, 0..100).await;
    let backwards = declined(&start(&[FAST, rate]).await, (0..100).rev()).await;
    assert_eq!(forwards, backwards);
    assert!((10..=50).contains(&forwards.len()), "{} of 100", forwards.len());
    let more = declined(&start(&[FAST, ("acquirer.decline_rate", "0.6")]).await, 0..100).await;
    assert!(forwards.iter().all(|key| more.contains(key)) && more.len() > forwards.len());
}

#[tokio::test]
async fn a_key_that_was_never_seen_says_so() {
    let running = start(&[FAST]).await;
    assert_eq!(status(&mut running.client(), "k").await, KeyState::Unspecified);
}

#[tokio::test]
async fn bad_input_is_refused_by_the_name_of_its_field() {
    let running = start(&[FAST]).await;
    let mut client = running.client();
    let no_amount = ChargeRequest { amount: None, ..ask("k", 1, FAR) };
    let odd_currency = ChargeRequest { amount: Some(Money { minor: 1, currency: "euro".into() }), ..ask("k", 1, FAR) };
    for (request, field) in [
        (ask("", 1, FAR), "key:"),
        (ask("two words", 1, FAR), "key:"),
        (ask("k", 0, FAR), "amount:"),
        (no_amount, "amount:"),
        (odd_currency, "amount.currency:"),
        (ask("k", 1, 0), "not_after_us:"),
    ] {
        let refused = client.charge(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{field} {}", refused.message());
    }
    assert!(running.family.lines_of("k").await.is_empty());
}

#[tokio::test]
async fn only_services_may_call() {
    let running = start(&[FAST]).await;
    for (context, code) in [(Context::default(), Code::Unauthenticated), (running.customer(), Code::PermissionDenied)] {
        let mut client = running.client_of_caller();
        let codes = context
            .scope(async move {
                let key = || "k".to_owned();
                [
                    charge(&mut client, "k").await.unwrap_err().code(),
                    client.void(VoidRequest { key: key() }).await.unwrap_err().code(),
                    client.refund(RefundRequest { key: key() }).await.unwrap_err().code(),
                    client.status(StatusRequest { key: key() }).await.unwrap_err().code(),
                ]
            })
            .await;
        assert_eq!(codes, [code; 4]);
    }
    assert!(running.family.lines_of("k").await.is_empty());
}

#[tokio::test]
async fn the_ledger_itself_refuses_to_be_changed() {
    let running = start(&[FAST]).await;
    charge(&mut running.client(), "k").await.unwrap();
    assert!(!running.family.takes("UPDATE ledger SET amount_minor = 1").await);
    assert!(!running.family.takes("DELETE FROM ledger").await);
}
