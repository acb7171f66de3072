//! Payments that another instance changes between reading and writing.

use std::sync::Arc;

use chassis::clock::SystemClock;
use payment::application::ports::{Decided, PaymentStore};
use payment::domain::payment::{Command, Kind, Refusal, Settled, State};

use crate::contract::{EURO, events_of, folds_to_the_payment, intend, order, settle};
use crate::family::Family;

/// The commands, which wait for what somebody else has written, who then commits.
async fn overtaken(
    family: &Family,
    store: &dyn PaymentStore,
    meanwhile: &str,
    commands: &[Command],
) -> Vec<Result<Decided, Refusal>> {
    let meddling = family.meddle(meanwhile).await;
    let (answers, committed) = tokio::join!(store.execute(commands), meddling.commit_when_somebody_waits());
    committed.unwrap();
    answers.unwrap()
}

#[tokio::test]
async fn an_intent_that_another_instance_has_written_meanwhile_is_not_written_again() {
    let family = Family::new();
    let (store, outbox) = family.open(Arc::new(SystemClock)).await;
    // What the other instance writes is what this one writes for another order.
    store.execute(&[intend(2, 1, EURO, 5)]).await.unwrap();
    let (id, like) = (order(1), order(2));
    let theirs = format!(
        "INSERT INTO payments (order_id, user_id, amount_minor, currency, state, acquirer_reference, reason, not_after,
                               created_at, updated_at)
         SELECT '{id}', user_id, amount_minor, currency, state, acquirer_reference, reason, not_after, created_at, updated_at
         FROM payments WHERE order_id = '{like}';
         INSERT INTO payment_events (aggregate, version, kind, data, occurred_at)
         SELECT '{id}', version, kind, data, occurred_at FROM payment_events WHERE aggregate = '{like}'"
    );
    // Alone, and among others.
    let commands = [intend(1, 1, EURO, 7), intend(3, 1, EURO, 7)];
    let answers = overtaken(&family, &*store, &theirs, &commands).await;
    assert_eq!(answers.into_iter().map(|decided| decided.unwrap().changed).collect::<Vec<_>>(), [false, true]);
    let events = events_of(&*outbox, id).await;
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [Kind::PaymentIntended]);
}

#[tokio::test]
async fn a_result_that_another_instance_has_written_meanwhile_stands() {
    let family = Family::new();
    let (store, outbox) = family.open(Arc::new(SystemClock)).await;
    store.execute(&[intend(1, 1, EURO, 5), intend(2, 1, EURO, 5)]).await.unwrap();
    store.execute(&[settle(2, Settled::Declined, 6)]).await.unwrap();
    let (id, like) = (order(1), order(2));
    let theirs = format!(
        "UPDATE payments AS p SET state = o.state, acquirer_reference = o.acquirer_reference, reason = o.reason,
                                  updated_at = o.updated_at
         FROM payments AS o WHERE p.order_id = '{id}' AND o.order_id = '{like}';
         INSERT INTO payment_events (aggregate, version, kind, data, occurred_at)
         SELECT '{id}', version, kind, data, occurred_at FROM payment_events WHERE aggregate = '{like}' AND version = 2"
    );
    let answers = overtaken(&family, &*store, &theirs, &[settle(1, Settled::Captured, 7)]).await;
    let contradiction = Refusal::Contradiction { state: State::Declined, settled: Settled::Captured };
    assert_eq!(answers, [Err(contradiction)]);
    let payment = store.find(id).await.unwrap();
    folds_to_the_payment(&events_of(&*outbox, id).await, payment.as_ref());
}
