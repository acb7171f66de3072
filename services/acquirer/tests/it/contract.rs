//! What every adapter of the ledger port keeps.

use acquirer::adapters::outbound::sqlite::SqliteLedger;
use acquirer::application::ports::Ledger;
use acquirer::domain::charge::{Action, Posting, Refusal, State};
use chassis::metrics::Metrics;
use chassis::sqlite::Storage;
use kernel::{Currency, Money, Timestamp};

const EURO: Money = Money::new(100, Currency::EUR);

fn posting(key: &str, action: Action, at: i64) -> Posting {
    Posting { key: key.parse().unwrap(), action, at: Timestamp::from_micros(at) }
}

fn charge(key: &str, amount: Money, declined: bool, at: i64) -> Posting {
    let not_after = Timestamp::from_micros(1_000);
    posting(key, Action::Charge { amount, not_after, declined }, at)
}

async fn states(ledger: &dyn Ledger, postings: &[Posting]) -> Vec<Result<State, Refusal>> {
    let answers = ledger.post(postings).await.unwrap();
    answers.into_iter().map(|answer| answer.map(|charge| charge.state)).collect()
}

async fn a_batch_is_decided_in_order_and_a_refusal_stops_nobody(ledger: &dyn Ledger) {
    let batch = [
        charge("batch-1", EURO, false, 1),
        charge("batch-1", Money::new(101, Currency::EUR), false, 2),
        posting("batch-1", Action::Refund, 3),
        posting("batch-2", Action::Refund, 4),
        charge("batch-3", EURO, true, 5),
    ];
    let expected = [
        Ok(State::Captured),
        Err(Refusal::OtherAmount { first: EURO }),
        Ok(State::Refunded),
        Err(Refusal::NeverCaptured),
        Ok(State::Declined),
    ];
    assert_eq!(states(ledger, &batch).await, expected);
}

async fn what_was_posted_is_found_as_it_was_answered(ledger: &dyn Ledger) {
    let postings =
        [charge("found-1", EURO, false, 7), posting("found-2", Action::Void, 8), charge("found-3", EURO, false, 1_001)];
    for (posting, answer) in postings.iter().zip(ledger.post(&postings).await.unwrap()) {
        assert_eq!(ledger.find(&posting.key).await.unwrap(), Some(answer.unwrap()));
    }
    assert_eq!(ledger.find(&"never".parse().unwrap()).await.unwrap(), None);
}

async fn a_repetition_answers_what_the_first_call_decided(ledger: &dyn Ledger) {
    for first in [
        charge("again-1", EURO, false, 1),
        charge("again-2", EURO, true, 1),
        charge("again-3", EURO, false, 1_001),
        posting("again-4", Action::Void, 1),
    ] {
        let key = first.key.as_str().to_owned();
        let decided = ledger.post(std::slice::from_ref(&first)).await.unwrap();
        for again in [charge(&key, EURO, false, 2), posting(&key, Action::Void, 3)] {
            assert_eq!(ledger.post(&[again]).await.unwrap(), decided);
        }
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Folder(folder.path().to_owned());
    let ledger = SqliteLedger::open(&storage, &Metrics::new("acquirer")).unwrap();
    a_batch_is_decided_in_order_and_a_refusal_stops_nobody(&ledger).await;
    what_was_posted_is_found_as_it_was_answered(&ledger).await;
    a_repetition_answers_what_the_first_call_decided(&ledger).await;
}
