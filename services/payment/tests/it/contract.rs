//! What every adapter of the store port keeps.

use chassis::StoreError;
use chassis::metrics::Metrics;
use chassis::sqlite::{Storage, outbox};
use kernel::{Currency, Money, OrderId, Timestamp, UserId};
use payment::adapters::outbound::sqlite::{OUTBOX, SqlitePayments};
use payment::application::ports::{Listing, PaymentStore};
use payment::domain::payment::{
    Action, Cause, Command, Event, Facts, Payment, Refusal, Settled, Standing, State, Terms,
};
use uuid::Uuid;

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

fn intend(number: u128, who: u128, amount: Money, at: i64) -> Command {
    let terms = Terms { user: user(who), amount, not_after: Timestamp::from_micros(1_000) };
    command(number, Action::Intend(terms), at)
}

fn settle(number: u128, settled: Settled, at: i64) -> Command {
    let standing = Standing { settled, reference: "acq_1".to_owned(), reason: String::new() };
    command(number, Action::Settle(standing, Cause::Compensation), at)
}

/// The events of an order as any adapter kept them, for [`folds_to_the_payment`].
pub fn events_of(store: &SqlitePayments, order: OrderId) -> Vec<Event> {
    let rows: Result<_, StoreError> =
        store.db().read(|connection| outbox::events_of(connection, OUTBOX, &order.to_string()));
    let rows = rows.unwrap();
    for (version, row) in (1..).zip(&rows) {
        assert_eq!(row.version, version, "a gap in the versions");
    }
    let event = |row: chassis::events::Event| {
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

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Folder(folder.path().to_owned());
    let store = SqlitePayments::open(&storage, &Metrics::new("payment")).unwrap();
    a_batch_is_decided_in_order_and_a_refusal_stops_nobody(&store).await;
    what_was_answered_is_what_is_found(&store).await;
    lists_by_time_and_by_user_in_pages(&store).await;
    for number in 1..30 {
        let payment = store.find(order(number)).await.unwrap();
        folds_to_the_payment(&events_of(&store, order(number)), payment.as_ref());
    }
}
