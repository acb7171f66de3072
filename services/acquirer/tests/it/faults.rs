//! What each kind of fault does to the calls: over gRPC, and where only time matters, in paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use acquirer::FAULTS;
use acquirer::adapters::outbound::sqlite::SqliteLedger;
use acquirer::application::acquire::{Acquirer, AcquirerError};
use acquirer::application::ports::Ledger;
use acquirer::domain::charge::{Key, State};
use chassis::Clock;
use chassis::chaos::Switchboard;
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use chassis::sqlite::Storage;
use kernel::{Currency, Money, Timestamp};
use proto::acquirer::v1::{KeyState, RefundRequest, StatusRequest, VoidRequest};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{Client, Running, start, start_with_chaos};
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
    let deadline = Instant::now() + Duration::from_secs(5);
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

// In paused time.

struct Sundial(Instant);

impl Clock for Sundial {
    fn now(&self) -> Timestamp {
        Timestamp::default().plus(self.0.elapsed())
    }
}

struct Desk {
    acquirer: Arc<Acquirer>,
    ledger: Arc<SqliteLedger>,
    faults: Arc<Switchboard>,
    _folder: TempDir,
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Folder(folder.path().to_owned());
    let ledger = Arc::new(SqliteLedger::open(&storage, &Metrics::new("acquirer")).unwrap());
    let clock = Arc::new(Sundial(Instant::now()));
    let latency = "10ms".parse().unwrap();
    let acquirer = Acquirer::new(ledger.clone(), clock.clone(), Seeds::from_number(1), latency, 0.0);
    let suffering = acquirer.clone();
    let faults = Switchboard::new(&FAULTS, clock, CancellationToken::new(), move |active| suffering.suffer(active));
    Desk { acquirer, ledger, faults, _folder: folder }
}

impl Desk {
    fn inject(&self, kind: &str, parameters: &[(&str, &str)]) {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.faults.inject(&kind.replace('_', "-"), kind, &parameters.collect(), None).unwrap();
    }

    async fn charge(&self, key: &str) -> Result<State, AcquirerError> {
        let key: Key = key.parse().unwrap();
        let amount = Money::new(100, Currency::EUR);
        self.acquirer.charge(key, amount, Timestamp::from_micros(i64::MAX)).await.map(|charge| charge.state)
    }

    /// Whether the key is in the ledger at this moment.
    async fn knows(&self, key: &str) -> bool {
        self.ledger.find(&key.parse().unwrap()).await.unwrap().is_some()
    }

    /// How long a charge of this key takes, in milliseconds.
    async fn takes_ms(&self, key: &str) -> u128 {
        let started = Instant::now();
        let _ = self.charge(key).await;
        started.elapsed().as_millis()
    }
}

#[tokio::test(start_paused = true)]
async fn latencies_add_up_half_of_them_before_the_commit() {
    let desk = desk();
    assert_eq!(desk.takes_ms("none").await, 10);
    desk.inject("latency", &[("latency", "100ms")]);
    desk.faults.inject("again", "latency", &BTreeMap::from([("latency".into(), "200ms".into())]), None).unwrap();
    for (waits, landed) in [(154, false), (156, true)] {
        let key = format!("cut-{waits}");
        assert!(timeout(Duration::from_millis(waits), desk.charge(&key)).await.is_err());
        assert_eq!(desk.knows(&key).await, landed, "after {waits} ms");
    }
    assert_eq!(desk.takes_ms("both").await, 310);
    desk.faults.lift("latency");
    assert_eq!(desk.takes_ms("one").await, 210);
    desk.faults.lift("again");
    assert!(desk.knows("cut-154").await, "a charge that is under way lands, whoever is gone");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_latency_that_was_lifted_on_either_side_of_the_commit() {
    let desk = Arc::new(desk());
    // 10 s take 5 s before the commit and 5 s after it.
    for (lifted_after_s, landed) in [(3, false), (7, true)] {
        desk.inject("latency", &[("latency", "10s")]);
        let (caller, key) = (desk.clone(), format!("lifted-after-{lifted_after_s}"));
        let wanted = key.clone();
        let call = tokio::spawn(async move { caller.takes_ms(&wanted).await });
        sleep(Duration::from_secs(lifted_after_s)).await;
        assert_eq!(desk.knows(&key).await, landed);
        desk.faults.lift("latency");
        let took_ms = u128::from(lifted_after_s) * 1000;
        // Its own latency of 10 ms is still to come, or the second half of it is over.
        let took = call.await.unwrap();
        assert!((took_ms..=took_ms + 10).contains(&took), "{key}: {took} ms");
        assert!(desk.knows(&key).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_latency_that_is_still_active_goes_on_when_another_is_lifted() {
    let desk = Arc::new(desk());
    for (name, latency) in [("long", "1h"), ("short", "200ms")] {
        desk.faults.inject(name, "latency", &BTreeMap::from([("latency".into(), latency.into())]), None).unwrap();
    }
    let caller = desk.clone();
    let call = tokio::spawn(async move { caller.takes_ms("k").await });
    sleep(Duration::from_secs(1)).await;
    desk.faults.lift("long");
    assert_eq!(call.await.unwrap(), 1000 + 100 + 5 + 100);
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_latency_held_up_give_their_places_back_when_it_is_lifted() {
    let desk = Arc::new(desk());
    desk.inject("latency", &[("latency", "1h")]);
    // As many as may be under way; then there is no place.
    let waiting = (0..4096).map(|number| {
        let desk = desk.clone();
        tokio::spawn(async move { desk.charge(&format!("key-{number}")).await })
    });
    let waiting: Vec<_> = waiting.collect();
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(desk.charge("one-more").await, Err(AcquirerError::Busy)));
    desk.faults.lift("latency");
    sleep(Duration::from_secs(1)).await;
    assert!(waiting.iter().all(tokio::task::JoinHandle::is_finished));
    assert_eq!(desk.takes_ms("one-more").await, 10);
}

#[tokio::test(start_paused = true)]
async fn an_error_takes_the_first_half_of_the_time() {
    let desk = desk();
    desk.inject("latency", &[("latency", "100ms")]);
    desk.inject("error_rate", &[("rate", "1")]);
    assert_eq!(desk.takes_ms("k").await, 55);
    assert!(matches!(desk.charge("k").await, Err(AcquirerError::Failed)));
}

#[tokio::test(start_paused = true)]
async fn a_swallowed_answer_keeps_its_caller_for_ten_seconds_at_most() {
    let desk = desk();
    desk.inject("timeout_after_charge", &[]);
    assert_eq!(desk.takes_ms("k").await, 10_010);
    assert!(matches!(desk.charge("k").await, Err(AcquirerError::AnswerLost)));
}

#[tokio::test(start_paused = true)]
async fn swallowed_answers_take_no_place_from_other_calls_and_are_bounded_themselves() {
    let desk = Arc::new(desk());
    desk.inject("timeout_after_charge", &[]);
    // As many as may be under way, and as many as may wait.
    let waiting = (0..4096).map(|number| {
        let desk = desk.clone();
        tokio::spawn(async move { desk.charge(&format!("key-{number}")).await })
    });
    let waiting: Vec<_> = waiting.collect();
    sleep(Duration::from_secs(1)).await;
    assert!(waiting.iter().all(|call| !call.is_finished()));
    assert!(desk.acquirer.status(&"key-0".parse().unwrap()).await.unwrap().is_some());
    assert_eq!(desk.takes_ms("one-more").await, 10, "nobody waits in its place");
    assert!(desk.knows("one-more").await);
    desk.faults.lift_all();
    for call in waiting {
        assert!(matches!(call.await.unwrap(), Err(AcquirerError::AnswerLost)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_faults_strike_the_same_calls_whatever_else_goes_on() {
    let struck = async |others: &[(&str, &str)]| {
        let desk = desk();
        for (kind, latency) in others {
            desk.inject(kind, &[("latency", latency)]);
        }
        desk.inject("error_rate", &[("rate", "0.5")]);
        let mut struck = Vec::new();
        for number in 0..40 {
            // Another fault comes and goes meanwhile.
            if number == 20 {
                desk.faults.lift("latency");
            }
            struck.push(desk.charge(&format!("key-{number}")).await.is_err());
        }
        struck
    };
    let alone = struck(&[]).await;
    assert!(alone.contains(&true) && alone.contains(&false));
    assert_eq!(struck(&[("latency", "1ms..9ms")]).await, alone);
}
