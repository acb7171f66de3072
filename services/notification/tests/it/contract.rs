//! What every message provider keeps: each case runs on keys of its own.

use std::sync::Arc;
use std::time::Duration;

use notification::application::ports::{Accepted, MessageProvider};
use notification::domain::{Channel, EventId, OutgoingMessage};

use crate::people::order;

pub fn message(event: &str, channel: Channel) -> OutgoingMessage {
    OutgoingMessage {
        event_id: EventId::new("ORDERS", event),
        channel,
        recipient: "ada@example.test".into(),
        subject: "Your order".into(),
        body: "is here".into(),
        order: order(1),
    }
}

pub async fn accepted(provider: &dyn MessageProvider, batch: &[OutgoingMessage]) -> Vec<Accepted> {
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

async fn a_batch_may_repeat_what_is_known_and_bring_what_is_new(provider: &dyn MessageProvider) {
    let [one, two, three] = ["mixed/1", "mixed/2", "mixed/3"].map(|event| message(event, Channel::Email));
    let known = accepted(provider, std::slice::from_ref(&two)).await;
    let all = accepted(provider, &[three.clone(), two, one.clone()]).await;
    assert_eq!(all[1], known[0]);
    assert!(all[0].at > known[0].at && all[0] == all[2], "the others are new");
    assert_eq!(accepted(provider, &[one, three]).await, [all[2], all[0]]);
}

async fn what_one_connection_accepted_the_other_repeats(one: &dyn MessageProvider, other: &dyn MessageProvider) {
    let batch = [message("elsewhere/1", Channel::Email), message("elsewhere/1", Channel::Sms)];
    let first = accepted(one, &batch).await;
    assert_eq!(accepted(other, &batch).await, first);
}

async fn an_empty_batch_is_answered_with_nothing(provider: &dyn MessageProvider) {
    assert!(provider.send(&[]).await.is_empty());
}

/// Two providers over connections of their own are handed the same messages at once, one in the opposite
/// order of the other.
async fn two_connections_accept_once(one: &Arc<dyn MessageProvider>, other: &Arc<dyn MessageProvider>) {
    let mails: Vec<OutgoingMessage> = (0..60).map(|number| message(&format!("two/{number}"), Channel::Email)).collect();
    let backwards: Vec<OutgoingMessage> = mails.iter().rev().cloned().collect();
    let send = |provider: &Arc<dyn MessageProvider>, messages: Vec<OutgoingMessage>, batch: usize| {
        let provider = provider.clone();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for batch in messages.chunks(batch) {
                answers.extend(provider.send(batch).await.into_iter().map(Result::unwrap));
            }
            answers
        })
    };
    let workers = [
        (send(one, mails.clone(), 60), false),
        (send(other, backwards.clone(), 60), true),
        (send(one, backwards, 7), true),
        (send(other, mails, 1), false),
    ];
    let mut answers = Vec::new();
    for (worker, reversed) in workers {
        let mut heard = worker.await.unwrap();
        if reversed {
            heard.reverse();
        }
        answers.push(heard);
    }
    assert!(answers.iter().all(|heard| *heard == answers[0]), "all hear of the same acceptances");
}

pub async fn all(one: Arc<dyn MessageProvider>, other: Arc<dyn MessageProvider>) {
    a_repetition_is_answered_with_the_first_acceptance(&*one).await;
    an_event_is_accepted_anew_on_each_channel(&*one).await;
    events_are_apart(&*one).await;
    a_repetition_within_a_batch_is_one(&*one).await;
    repetitions_at_the_same_time_are_answered_alike(&*one).await;
    a_batch_may_repeat_what_is_known_and_bring_what_is_new(&*one).await;
    what_one_connection_accepted_the_other_repeats(&*one, &*other).await;
    an_empty_batch_is_answered_with_nothing(&*one).await;
    two_connections_accept_once(&one, &other).await;
}
