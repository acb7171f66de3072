//! What every message provider keeps: each case runs on keys of its own.

use std::time::Duration;

use notification::application::ports::{Accepted, MessageProvider};
use notification::domain::{Channel, EventId, OutgoingMessage};

use crate::harness::{MANNERS, Setup, order};

fn message(event: &str, channel: Channel) -> OutgoingMessage {
    OutgoingMessage {
        event_id: EventId::new("ORDERS", event),
        channel,
        recipient: "ada@example.test".into(),
        subject: "Your order".into(),
        body: "is here".into(),
        order: order(1),
    }
}

async fn accepted(provider: &dyn MessageProvider, batch: &[OutgoingMessage]) -> Vec<Accepted> {
    // What is accepted anew is accepted at another time.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answers = provider.send(batch).await;
    assert_eq!(answers.len(), batch.len(), "one answer for each message");
    answers.into_iter().map(Result::unwrap).collect()
}

async fn a_repetition_is_answered_with_the_first_acceptance(provider: &dyn MessageProvider) {
    let first = message("again/1", Channel::Email);
    let at_first = accepted(provider, std::slice::from_ref(&first)).await;
    let elsewhere = OutgoingMessage { recipient: "eve@example.test".into(), body: "other".into(), ..first.clone() };
    for again in [first, elsewhere] {
        assert_eq!(accepted(provider, &[again]).await, at_first);
    }
}

async fn an_event_is_accepted_anew_on_each_channel(provider: &dyn MessageProvider) {
    let (mail, text) = (message("apart/1", Channel::Email), message("apart/1", Channel::Sms));
    let first = accepted(provider, std::slice::from_ref(&mail)).await;
    let second = accepted(provider, std::slice::from_ref(&text)).await;
    assert!(second[0].at > first[0].at, "the text message is no repetition of the mail");
    assert_eq!(accepted(provider, &[text, mail]).await, [second, first].concat(), "answers are in order");
}

async fn events_are_apart(provider: &dyn MessageProvider) {
    let first = accepted(provider, &[message("one/1", Channel::Email)]).await;
    for other in ["one/2", "two/1"] {
        assert!(accepted(provider, &[message(other, Channel::Email)]).await[0].at > first[0].at, "{other}");
    }
}

async fn a_repetition_within_a_batch_is_one(provider: &dyn MessageProvider) {
    let batch = [message("within/1", Channel::Email), message("within/1", Channel::Email)];
    let both = accepted(provider, &batch).await;
    assert_eq!(both[0], both[1]);
    assert_eq!(accepted(provider, &batch).await, both);
}

async fn repetitions_at_the_same_time_are_answered_alike(provider: &dyn MessageProvider) {
    let batch = [message("race/1", Channel::Email)];
    let (one, other) = tokio::join!(provider.send(&batch), provider.send(&batch));
    assert_eq!(one, other);
}

async fn an_empty_batch_is_answered_with_nothing(provider: &dyn MessageProvider) {
    assert!(provider.send(&[]).await.is_empty());
}

#[test]
fn the_simulated_courier_keeps_the_contract() {
    let mut setup = Setup::new();
    setup.process(async |shop| {
        let courier = &*shop.courier;
        a_repetition_is_answered_with_the_first_acceptance(courier).await;
        an_event_is_accepted_anew_on_each_channel(courier).await;
        events_are_apart(courier).await;
        a_repetition_within_a_batch_is_one(courier).await;
        repetitions_at_the_same_time_are_answered_alike(courier).await;
        an_empty_batch_is_answered_with_nothing(courier).await;
    });
}

#[test]
fn an_acceptance_outlives_the_process() {
    let mut setup = Setup::new();
    let batch = [message("durable/1", Channel::Email)];
    let first = setup.process(async |shop| accepted(&*shop.courier, &batch).await);
    let again = setup.process(async |shop| accepted(&*shop.courier, &batch).await);
    assert_eq!(first, again);
}

#[test]
fn a_courier_that_fails_half_of_the_time_may_have_accepted_and_never_accepts_twice() {
    let mut setup = Setup::new();
    setup.manners.failure_rate = 0.5;
    setup.process(async |shop| {
        let (mut lost_answers, mut never_received) = (0, 0);
        for number in 0..100 {
            let one = message(&format!("o{number}/1"), Channel::Email);
            if shop.courier.send(std::slice::from_ref(&one)).await[0].is_ok() {
                continue;
            }
            let before = shop.ledger().into_iter().find(|line| line.event_id == one.event_id.as_str());
            match before {
                Some(_) => lost_answers += 1,
                None => never_received += 1,
            }
            let accepted = loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if let Ok(accepted) = shop.courier.send(std::slice::from_ref(&one)).await.remove(0) {
                    break accepted;
                }
            };
            if let Some(line) = before {
                assert_eq!(accepted.at.as_micros(), line.accepted_at, "the first acceptance stands");
            }
        }
        assert_eq!(shop.ledger().len(), 100);
        for count in [lost_answers, never_received] {
            assert!((10..=40).contains(&count), "{lost_answers} answers lost, {never_received} never received");
        }
    });
}

#[test]
fn a_call_takes_its_time_out_of_the_range() {
    let mut setup = Setup::new();
    setup.process(async |shop| {
        for number in 0..20 {
            let started = tokio::time::Instant::now();
            shop.courier.send(&[message(&format!("slow/{number}"), Channel::Email)]).await;
            // The timer's grain is a millisecond, and the two halves are waited for one after the other.
            let took = started.elapsed();
            let grain = Duration::from_millis(2);
            assert!((MANNERS.latency.low..=MANNERS.latency.high + grain).contains(&took), "{took:?}");
        }
    });
}
