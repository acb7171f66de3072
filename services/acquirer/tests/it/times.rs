//! What each kind of fault does to the calls where only time matters: in paused time.

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
use kernel::{Currency, Money, Timestamp};
use store::sqlite::Storage;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

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
