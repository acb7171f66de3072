//! What every adapter of the ledger port keeps.

use std::sync::Arc;

use acquirer::application::ports::Ledger;
use acquirer::domain::charge::{Action, Posting, Refusal, State};
use kernel::{Currency, Money, Timestamp};

use crate::family::Family;

pub const EURO: Money = Money::new(100, Currency::EUR);

pub fn posting(key: &str, action: Action, at: i64) -> Posting {
    Posting { key: key.parse().unwrap(), action, at: Timestamp::from_micros(at) }
}

pub fn charge(key: &str, amount: Money, declined: bool, at: i64) -> Posting {
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

async fn an_empty_batch_is_answered_with_nothing(ledger: &dyn Ledger) {
    assert_eq!(ledger.post(&[]).await.unwrap(), []);
}

async fn the_lines_of_a_key_stand_in_the_order_of_its_changes(ledger: &dyn Ledger, family: &Family) {
    let batch = [
        posting("order-2", Action::Void, 1),
        charge("order-1", EURO, false, 2),
        posting("order-1", Action::Refund, 3),
        posting("order-1", Action::Void, 4),
        charge("order-3", EURO, true, 5),
    ];
    ledger.post(&batch).await.unwrap();
    assert_eq!(family.lines_of("order-1").await, ["capture", "refund"]);
    assert_eq!(family.lines_of("order-2").await, ["void"]);
    assert_eq!(family.lines_of("order-3").await, ["decline"]);
}

/// Two connections charge, void and refund the same keys, one in the opposite order of the other.
async fn what_two_do_at_once_is_decided_once(one: &Arc<dyn Ledger>, other: &Arc<dyn Ledger>, family: &Family) {
    let key = |number: i64| format!("race-{number}");
    let charges: Vec<Posting> = (0..20).map(|number| charge(&key(number), EURO, false, number)).collect();
    let voids: Vec<Posting> = (0..20).rev().map(|number| posting(&key(number), Action::Void, 100 + number)).collect();
    let post = |ledger: &Arc<dyn Ledger>, postings: Vec<Posting>, batch: usize| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for batch in postings.chunks(batch) {
                ledger.post(batch).await.unwrap();
            }
        })
    };
    let workers = [
        post(one, charges.clone(), 20),
        post(other, voids.clone(), 20),
        post(other, charges.clone(), 1),
        post(one, voids, 3),
    ];
    for worker in workers {
        worker.await.unwrap();
    }
    let refunds = charges.iter().map(|charge| Posting { action: Action::Refund, ..charge.clone() });
    let refunds: Vec<Posting> = refunds.collect();
    let refund = |ledger: &Arc<dyn Ledger>, refunds: Vec<Posting>| {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.post(&refunds).await.unwrap() })
    };
    let (first, second) = (refund(one, refunds.clone()), refund(other, refunds.into_iter().rev().collect()));
    let (first, mut second) = (first.await.unwrap(), second.await.unwrap());
    second.reverse();
    assert_eq!(first, second, "both hear the same");
    for (charge, refunded) in charges.iter().zip(first) {
        let lines = family.lines_of(charge.key.as_str()).await;
        match refunded {
            Ok(_) => assert_eq!(lines, ["capture", "refund"]),
            Err(refusal) => assert_eq!((refusal, lines), (Refusal::NeverCaptured, vec!["void".to_owned()])),
        }
    }
}

#[tokio::test]
async fn the_ledger_keeps_the_contract() {
    let family = Family::new();
    let (ledger, other) = (family.ledger().await, family.ledger().await);
    a_batch_is_decided_in_order_and_a_refusal_stops_nobody(&*ledger).await;
    what_was_posted_is_found_as_it_was_answered(&*ledger).await;
    a_repetition_answers_what_the_first_call_decided(&*ledger).await;
    an_empty_batch_is_answered_with_nothing(&*ledger).await;
    the_lines_of_a_key_stand_in_the_order_of_its_changes(&*ledger, &family).await;
    what_two_do_at_once_is_decided_once(&ledger, &other, &family).await;
}
