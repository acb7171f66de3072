//! What every adapter of the store port keeps.

use std::sync::Arc;

use chassis::clock::SystemClock;
use eventlog::Outbox;
use kernel::{Currency, Money, OrderId, Timestamp, UserId};
use payment::application::ports::{Listing, PaymentStore};
use payment::domain::payment::{
    Action, Cause, Command, Event, Facts, Kind, Payment, Refusal, Settled, Standing, State, Terms,
};
use uuid::Uuid;

use crate::family::Family;

pub const EURO: Money = Money::new(100, Currency::EUR);

pub fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

pub fn order(number: u128) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(number))
}

fn command(number: u128, action: Action, at: i64) -> Command {
    Command { order: order(number), action, at: Timestamp::from_micros(at) }
}

pub fn intend(number: u128, who: u128, amount: Money, at: i64) -> Command {
    let terms = Terms { user: user(who), amount, not_after: Timestamp::from_micros(1_000) };
    command(number, Action::Intend(terms), at)
}

pub fn settle(number: u128, settled: Settled, at: i64) -> Command {
    let standing = Standing { settled, reference: "acq_1".to_owned(), reason: String::new() };
    command(number, Action::Settle(standing, Cause::Compensation), at)
}

/// The events of an order as its store kept them, for [`folds_to_the_payment`].
pub async fn events_of(outbox: &dyn Outbox, order: OrderId) -> Vec<Event> {
    let rows = outbox.all_of(&order.to_string()).await.unwrap();
    for (version, row) in (1..).zip(&rows) {
        assert_eq!(row.version, version, "a gap in the versions");
    }
    let event = |row: eventlog::Event| {
        let facts: Facts = serde_json::from_str(&row.data).unwrap();
        Event { kind: row.kind.parse().unwrap(), at: row.occurred_at, facts }
    };
    rows.into_iter().map(event).collect()
}

pub fn folds_to_the_payment(events: &[Event], payment: Option<&Payment>) {
    let mut folded = None;
    for event in events {
        folded = Some(Payment::apply(folded.as_ref(), event).unwrap());
    }
    assert_eq!(folded.as_ref(), payment);
}

async fn a_batch_is_decided_in_order_and_a_refusal_stops_nobody(store: &dyn PaymentStore) {
    let batch = [
        intend(1, 1, EURO, 1),
        intend(1, 1, Money::new(101, Currency::EUR), 2),
        settle(1, Settled::Captured, 3),
        settle(2, Settled::Captured, 4),
        command(3, Action::Block, 5),
        intend(3, 1, EURO, 6),
    ];
    let answers = store.execute(&batch).await.unwrap();
    let short: Vec<_> =
        answers.into_iter().map(|answer| answer.map(|decided| (decided.payment.state, decided.changed))).collect();
    let expected = [
        Ok((State::Intent, true)),
        Err(Refusal::OtherTerms),
        Ok((State::Captured, true)),
        Err(Refusal::Unknown),
        Ok((State::Blocked, true)),
        Ok((State::Blocked, false)),
    ];
    assert_eq!(short, expected);
}

async fn what_was_answered_is_what_is_found(store: &dyn PaymentStore) {
    for command in [
        intend(10, 2, EURO, 10),
        settle(10, Settled::Refunded, 11),
        settle(10, Settled::Captured, 12),
        command(11, Action::Block, 13),
    ] {
        let answer = store.execute(std::slice::from_ref(&command)).await.unwrap().remove(0).unwrap();
        assert_eq!(store.find(command.order).await.unwrap(), Some(answer.payment));
    }
    assert_eq!(store.find(order(12)).await.unwrap(), None);
}

async fn lists_by_time_and_by_user_in_pages(store: &dyn PaymentStore) {
    for (number, who, at) in [(20, 7, 120), (21, 8, 110), (22, 7, 100), (23, 7, 130)] {
        store.execute(&[intend(number, who, EURO, at)]).await.unwrap()[0].as_ref().unwrap();
    }
    let page = async |user: Option<UserId>, after: i64, limit: usize| {
        let listing = Listing { user, after_created: Timestamp::from_micros(after), limit };
        let payments = store.list(&listing).await.unwrap();
        payments.into_iter().map(|payment| payment.order).collect::<Vec<_>>()
    };
    assert_eq!(page(Some(user(7)), 0, 2).await, [order(22), order(20)]);
    assert_eq!(page(Some(user(7)), 120, 2).await, [order(23)]);
    assert_eq!(page(None, 99, 10).await, [order(22), order(21), order(20), order(23)]);
    assert_eq!(page(Some(user(9)), 0, 10).await, []);
}

async fn a_refund_that_was_never_captured_leaves_both_events(store: &dyn PaymentStore, outbox: &dyn Outbox) {
    let batch = [intend(30, 1, EURO, 1), settle(30, Settled::Refunded, 2), settle(30, Settled::Captured, 3)];
    let answers = store.execute(&batch).await.unwrap();
    let changed: Vec<bool> = answers.into_iter().map(|answer| answer.unwrap().changed).collect();
    assert_eq!(changed, [true, true, false]);
    let kinds: Vec<Kind> = events_of(outbox, order(30)).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::PaymentIntended, Kind::PaymentProcessed, Kind::PaymentRefunded]);
}

async fn payments_of_one_moment_are_listed_by_order_and_the_end_of_time_is_a_time(store: &dyn PaymentStore) {
    let at = 1 << 60;
    let batch = [intend(42, 5, EURO, at), intend(0xff << 120, 5, EURO, at), intend(41, 5, EURO, at)];
    store.execute(&batch).await.unwrap();
    let listing = Listing { user: None, after_created: Timestamp::from_micros(at - 1), limit: 10 };
    let listed: Vec<OrderId> = store.list(&listing).await.unwrap().iter().map(|payment| payment.order).collect();
    assert_eq!(listed, [order(41), order(42), order(0xff << 120)]);
    let listing = Listing { after_created: Timestamp::from_micros(i64::MAX), limit: usize::MAX, ..listing };
    assert_eq!(store.list(&listing).await.unwrap(), []);
}

async fn a_refund_that_staff_want_is_kept_with_their_name(store: &dyn PaymentStore) {
    let wanted = |staff| command(50, Action::Return { staff: user(staff) }, 3);
    let batch = [
        intend(50, 1, EURO, 1),
        settle(50, Settled::Captured, 2),
        wanted(7),
        wanted(8),
        settle(50, Settled::Refunded, 4),
        command(51, Action::Return { staff: user(7) }, 5),
    ];
    let answers = store.execute(&batch).await.unwrap();
    let changed: Vec<_> = answers.into_iter().map(|answer| answer.map(|decided| decided.changed)).collect();
    assert_eq!(changed, [Ok(true), Ok(true), Ok(true), Ok(false), Ok(true), Err(Refusal::Unknown)]);
    let payment = store.find(order(50)).await.unwrap().unwrap();
    assert_eq!((payment.state, payment.refunded_by), (State::Refunded, Some(user(7))));
}

async fn a_history_is_every_event_in_order(store: &dyn PaymentStore) {
    store.execute(&[intend(60, 1, EURO, 1)]).await.unwrap();
    store.execute(&[settle(60, Settled::Captured, 2)]).await.unwrap();
    let history = store.history(order(60)).await.unwrap();
    let short: Vec<_> =
        history.iter().map(|event| (event.version, event.kind.as_str(), event.occurred_at.as_micros())).collect();
    assert_eq!(short, [(1, "PaymentIntended", 1), (2, "PaymentProcessed", 2)]);
    assert!(history.iter().all(|event| serde_json::from_str::<Facts>(&event.data).is_ok()));
    assert_eq!(store.history(order(61)).await.unwrap(), []);
}

async fn an_empty_batch_is_answered_with_nothing(store: &dyn PaymentStore) {
    assert_eq!(store.execute(&[]).await.unwrap(), []);
}

/// Two connections work off the same orders, one in the opposite order of the other.
async fn what_two_do_at_once_is_done_once(one: &Arc<dyn PaymentStore>, other: &Arc<dyn PaymentStore>) {
    const ORDERS: u128 = 20;
    let commands = |at: i64| -> Vec<Command> {
        (100..100 + ORDERS)
            .flat_map(|number| [intend(number, 1, EURO, at), settle(number, Settled::Captured, at)])
            .collect()
    };
    let mut backwards = commands(2);
    backwards.sort_by_key(|command| std::cmp::Reverse(command.order));
    let work = |store: &Arc<dyn PaymentStore>, commands: Vec<Command>, batch: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut changes = 0;
            for batch in commands.chunks(batch) {
                for answer in store.execute(batch).await.unwrap() {
                    changes += u128::from(answer.unwrap().changed);
                }
            }
            changes
        })
    };
    // Whole batches against single commands and against batches that overlap in part.
    let workers = [
        work(one, commands(1), 40),
        work(other, backwards.clone(), 40),
        work(one, backwards, 6),
        work(other, commands(4), 1),
    ];
    let mut changes = 0;
    for worker in workers {
        changes += worker.await.unwrap();
    }
    assert_eq!(changes, 2 * ORDERS, "each intent and each capture is somebody's, and only one's");
}

#[tokio::test]
async fn the_store_keeps_the_contract() {
    let family = Family::new();
    let (store, outbox) = family.open(Arc::new(SystemClock)).await;
    let (other, _) = family.open(Arc::new(SystemClock)).await;
    a_batch_is_decided_in_order_and_a_refusal_stops_nobody(&*store).await;
    what_was_answered_is_what_is_found(&*store).await;
    lists_by_time_and_by_user_in_pages(&*store).await;
    a_refund_that_was_never_captured_leaves_both_events(&*store, &*outbox).await;
    payments_of_one_moment_are_listed_by_order_and_the_end_of_time_is_a_time(&*store).await;
    a_refund_that_staff_want_is_kept_with_their_name(&*store).await;
    a_history_is_every_event_in_order(&*store).await;
    an_empty_batch_is_answered_with_nothing(&*store).await;
    what_two_do_at_once_is_done_once(&store, &other).await;
    for number in 1..130 {
        let payment = store.find(order(number)).await.unwrap();
        folds_to_the_payment(&events_of(&*outbox, order(number)).await, payment.as_ref());
    }
}
