//! PostgreSQL is lost at each of the three moments of a payment: the server dies, or the wire breaks at
//! a commit whose fate then nobody knows. Whoever asks again hears the right answer, about one charge.

use std::sync::Arc;
use std::time::Duration;

use acquirer::adapters::outbound::postgres::PostgresLedger;
use acquirer::application::ports::Ledger;
use acquirer::domain::charge::{Action, Posting};
use chassis::metrics::Metrics;
use kernel::Timestamp;
use payment::application::pay::{Outcome, PayError, Payments};
use payment::domain::payment::{Kind, State};
use servers::{LocalServers, Server};
use store::StoreError;
use tokio::time::Instant;

use crate::contract::{EURO, order, user};
use crate::fakes::{Desk, Pause, WINDOW};
use crate::family::Family;
use crate::moments::captured;
use crate::wire::{Break, Wire};

/// How long a server may take to come back, and its clients to notice.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the store answers.
async fn ask<T>(question: impl AsyncFn() -> Result<T, PayError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match question().await {
            Ok(answer) => return answer,
            Err(PayError::Store(error)) => assert!(Instant::now() < deadline, "{error}"),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn pay(payments: &Arc<Payments>) -> Outcome {
    ask(async || payments.process(order(1), user(1), EURO).await).await
}

fn is_store_error<T>(answer: &Result<T, PayError>) -> bool {
    matches!(answer, Err(PayError::Store(StoreError::Unavailable(_))))
}

/// Starts the server again after it was killed.
async fn revive(server: &mut Server) {
    let deadline = Instant::now() + PATIENCE;
    // Sessions of the old process may hold its memory for a moment longer.
    while let Err(error) = server.start() {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A desk over servers of its own, and the servers.
async fn desk() -> (Desk, LocalServers) {
    let servers = LocalServers::throwaway().unwrap();
    (Desk::on(Family::of(servers.connections(""))).await, servers)
}

#[tokio::test]
async fn a_server_that_dies_before_the_intent_leaves_nothing_and_the_payment_is_made_later() {
    let (desk, mut servers) = desk().await;
    servers.postgres.kill();
    assert!(is_store_error(&desk.payments.process(order(1), user(1), EURO).await));
    assert_eq!(desk.provider.charge_calls(), 0);
    revive(&mut servers.postgres).await;
    assert_eq!(pay(&desk.payments).await, captured());
    assert_eq!(desk.provider.lines(), (1, 0));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed]);
}

#[tokio::test]
async fn a_server_that_dies_around_the_charge_loses_the_result_and_it_is_found_by_asking_again() {
    for pause in [Pause::BeforeTheLedger, Pause::AfterTheLedger] {
        let (desk, mut servers) = desk().await;
        desk.provider.set_pause(pause);
        let payments = desk.payments.clone();
        let paying = tokio::spawn(async move { payments.process(order(1), user(1), EURO).await });
        desk.provider.a_charge_waits().await;
        servers.postgres.kill();
        desk.provider.set_pause(Pause::Nowhere);
        assert!(is_store_error(&paying.await.unwrap()), "{pause:?}: the result was not committed");
        revive(&mut servers.postgres).await;
        assert_eq!(pay(&desk.payments).await, captured(), "{pause:?}");
        assert_eq!((desk.provider.charge_calls(), desk.provider.lines()), (1, (1, 0)), "{pause:?}");
        assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed]);
    }
}

#[tokio::test]
async fn a_compensation_whose_server_died_is_done_later_and_once() {
    let (desk, mut servers) = desk().await;
    desk.pay(1).await;
    servers.postgres.kill();
    assert!(is_store_error(&desk.payments.refund(order(1)).await));
    revive(&mut servers.postgres).await;
    assert!(ask(async || desk.payments.refund(order(1)).await).await);
    assert_eq!(desk.provider.lines(), (1, 1));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed, Kind::PaymentRefunded]);
}

/// A desk at the end of a wire.
async fn wired() -> (Desk, Wire, servers::Borrowed) {
    let borrowed = servers::for_test().unwrap();
    let address = borrowed.servers.postgres.address();
    let wire = Wire::to(address);
    let mut connections = borrowed.connections.clone();
    connections.postgres = connections.postgres.replace(&address.to_string(), &wire.address.to_string());
    (Desk::on(Family::of(connections)).await, wire, borrowed)
}

#[tokio::test]
async fn an_intent_whose_commit_never_arrived_is_made_anew() {
    let (desk, wire, _servers) = wired().await;
    wire.break_at_next(Break::BeforeCommit);
    assert!(is_store_error(&desk.payments.process(order(1), user(1), EURO).await) && wire.has_broken());
    assert_eq!(desk.provider.charge_calls(), 0, "nothing is charged without an intent");
    assert_eq!(pay(&desk.payments).await, captured());
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed]);
}

#[tokio::test]
async fn an_intent_whose_commit_was_not_answered_is_found_and_resolved_when_its_time_is_over() {
    let (desk, wire, _servers) = wired().await;
    wire.break_at_next(Break::AfterCommit);
    assert!(is_store_error(&desk.payments.process(order(1), user(1), EURO).await) && wire.has_broken());
    assert!(matches!(pay(&desk.payments).await, Outcome::Ongoing { .. }), "another instance might be charging");
    desk.clock.advance(WINDOW + Duration::from_millis(1));
    assert_eq!(pay(&desk.payments).await, Outcome::Declined { reason: "expired".to_owned() });
    assert_eq!((desk.provider.charge_calls(), desk.provider.lines()), (0, (0, 0)));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentFailed]);
}

#[tokio::test]
async fn a_commit_that_was_not_answered_wakes_the_relay_all_the_same() {
    let (desk, wire, _servers) = wired().await;
    wire.break_at_next(Break::AfterCommit);
    assert!(is_store_error(&desk.payments.process(order(1), user(1), EURO).await) && wire.has_broken());
    tokio::time::timeout(PATIENCE, desk.outbox.committed().notified()).await.unwrap();
    assert_eq!(desk.outbox.unpublished(10).await.unwrap().len(), 1, "there is something to publish");
}

#[tokio::test]
async fn a_result_whose_commit_is_lost_on_either_side_is_found_by_asking_again() {
    for (place, known) in [(Break::BeforeCommit, State::Intent), (Break::AfterCommit, State::Captured)] {
        let (desk, wire, _servers) = wired().await;
        desk.provider.set_pause(Pause::BeforeTheLedger);
        let payments = desk.payments.clone();
        let paying = tokio::spawn(async move { payments.process(order(1), user(1), EURO).await });
        desk.provider.a_charge_waits().await;
        wire.break_at_next(place);
        desk.provider.set_pause(Pause::Nowhere);
        assert!(is_store_error(&paying.await.unwrap()) && wire.has_broken(), "{place:?}");
        assert_eq!(desk.state().await, Some(known));
        assert_eq!(pay(&desk.payments).await, captured(), "{place:?}");
        assert_eq!((desk.provider.charge_calls(), desk.provider.lines()), (1, (1, 0)), "{place:?}");
        assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed]);
    }
}

#[tokio::test]
async fn a_compensation_whose_commit_is_lost_on_either_side_gives_back_once() {
    for place in [Break::BeforeCommit, Break::AfterCommit] {
        let (desk, wire, _servers) = wired().await;
        desk.pay(1).await;
        wire.break_at_next(place);
        assert!(is_store_error(&desk.payments.refund(order(1)).await) && wire.has_broken(), "{place:?}");
        assert!(ask(async || desk.payments.refund(order(1)).await).await, "{place:?}");
        assert_eq!(desk.provider.lines(), (1, 1), "{place:?}");
        assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed, Kind::PaymentRefunded]);
    }
}

#[tokio::test]
async fn a_charge_whose_commit_the_acquirer_lost_is_charged_once() {
    for place in [Break::BeforeCommit, Break::AfterCommit] {
        let (_, wire, servers) = wired().await;
        let mut connections = servers.connections.clone();
        let address = servers.servers.postgres.address().to_string();
        connections.postgres = connections.postgres.replace(&address, &wire.address.to_string());
        let ledger = PostgresLedger::open(&connections, &Metrics::new("acquirer")).await.unwrap();
        let charge = Action::Charge { amount: EURO, not_after: Timestamp::from_micros(9), declined: false };
        let posting =
            |at| Posting { key: "k".parse().unwrap(), action: charge.clone(), at: Timestamp::from_micros(at) };
        wire.break_at_next(place);
        assert!(ledger.post(&[posting(1)]).await.is_err() && wire.has_broken(), "{place:?}");
        let charged = ledger.post(&[posting(2)]).await.unwrap().remove(0).unwrap();
        let first = if place == Break::AfterCommit { 1 } else { 2 };
        assert_eq!(charged.updated_at, Timestamp::from_micros(first), "{place:?}");
        assert_eq!(Family::of(connections).acquirers_lines().await, ["capture"], "{place:?}");
    }
}
