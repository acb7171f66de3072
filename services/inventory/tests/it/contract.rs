//! What every [`StockStore`] owes its callers.

use std::sync::Arc;
use std::task::Poll;

use eventlog::Outbox;
use inventory::application::ports::{
    Answer, Answers, CommitOrder, ReleaseOrder, ReserveOrder, RestockProduct, StockStore, StockStoreError,
};
use inventory::domain::{Line, OrderLines, Refusal, ReleaseOutcome, ReserveOutcome, Restock, Stock};
use kernel::{ProductId, Quantity, Timestamp};
use store::StoreError;
use tokio::task::JoinSet;

use crate::family::Home;
use crate::harness::order;

const AT: Timestamp = Timestamp::from_micros(1_000_000);

/// A store with nothing in it, and its database.
pub struct Books {
    pub home: Home,
    pub store: Arc<dyn StockStore>,
    pub outbox: Arc<dyn Outbox>,
}

impl Books {
    pub async fn open() -> Self {
        let home = Home::new().await;
        let (store, outbox) = home.store().await;
        Self { home, store, outbox }
    }

    pub fn patient(&self) -> Arc<dyn StockStore> {
        Arc::new(Patient(self.store.clone()))
    }

    /// Units of a product: available, reserved, sold.
    pub async fn counts(&self, product: i64) -> (i64, i64, i64) {
        let stock = self.store.stock(ProductId(product)).await.unwrap().unwrap();
        (stock.available, stock.reserved, stock.sold)
    }
}

/// The store, for a caller who asks again, as callers do, when there was no connection for too long: how
/// long that takes is the machine's doing. Transactions that wait for each other are the store's.
struct Patient(Arc<dyn StockStore>);

fn is_worth_another_try<T>(answers: &Answers<T>) -> bool {
    let out_of_luck = |answer: &Result<_, StockStoreError>| match answer {
        Err(StockStoreError::Store(StoreError::Unavailable(why))) => !why.contains("deadlock"),
        _ => false,
    };
    answers.iter().any(out_of_luck)
}

#[async_trait::async_trait]
impl StockStore for Patient {
    async fn reserve(&self, batch: &[ReserveOrder]) -> Answers<ReserveOutcome> {
        let mut answers = self.0.reserve(batch).await;
        for _ in 0..30 {
            if is_worth_another_try(&answers) {
                answers = self.0.reserve(batch).await;
            }
        }
        answers
    }
    async fn release(&self, batch: &[ReleaseOrder]) -> Answers<ReleaseOutcome> {
        let mut answers = self.0.release(batch).await;
        for _ in 0..30 {
            if is_worth_another_try(&answers) {
                answers = self.0.release(batch).await;
            }
        }
        answers
    }
    async fn commit(&self, batch: &[CommitOrder]) -> Answers<()> {
        let mut answers = self.0.commit(batch).await;
        for _ in 0..30 {
            if is_worth_another_try(&answers) {
                answers = self.0.commit(batch).await;
            }
        }
        answers
    }
    async fn restock(&self, batch: &[RestockProduct]) -> Answers<Stock> {
        let mut answers = self.0.restock(batch).await;
        for _ in 0..30 {
            if is_worth_another_try(&answers) {
                answers = self.0.restock(batch).await;
            }
        }
        answers
    }
    async fn stock(&self, product_id: ProductId) -> Result<Option<Stock>, StoreError> {
        self.0.stock(product_id).await
    }
}

pub fn reserve(number: u32, lines: &[(i64, u32)]) -> ReserveOrder {
    let line =
        |&(product, units): &(i64, u32)| Line { product_id: ProductId(product), quantity: units.try_into().unwrap() };
    let lines: Vec<Line> = lines.iter().map(line).collect();
    ReserveOrder { order_id: order(number), lines: OrderLines::sum(&lines).unwrap(), at: AT }
}

pub fn release(number: u32) -> ReleaseOrder {
    ReleaseOrder { order_id: order(number), at: AT }
}

pub fn commit(number: u32) -> CommitOrder {
    CommitOrder { order_id: order(number), at: AT }
}

pub fn restock(id: &str, product: i64, units: u32) -> RestockProduct {
    let quantity = Quantity::try_from(units).unwrap();
    RestockProduct { restock: Restock { id: id.parse().unwrap(), product_id: ProductId(product), quantity }, at: AT }
}

/// The outcomes of a batch in which nothing was refused.
pub fn outcomes<T>(answers: Answers<T>) -> Vec<T> {
    answers.into_iter().map(|answer| answer.unwrap().outcome).collect()
}

/// What calls that are made at once are answered, in no particular order.
async fn at_once<T: Send + 'static>(
    calls: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    calls.into_iter().collect::<JoinSet<T>>().join_all().await
}

/// Why the last of a batch was refused.
pub fn refused<T: std::fmt::Debug>(mut answers: Answers<T>) -> Refusal {
    match answers.pop().unwrap() {
        Err(StockStoreError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_decided_in_arrival_order_against_its_running_balance() {
    let books = Books::open().await;
    let store = &books.store;
    store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
    let batch = [
        reserve(1, &[(1, 3)]),
        reserve(2, &[(1, 3), (2, 1)]),
        reserve(3, &[(1, 2), (2, 5)]),
        reserve(1, &[(1, 3)]),
        reserve(4, &[(2, 1)]),
    ];
    use ReserveOutcome::{Reserved, SoldOut};
    let expected = [Reserved, SoldOut(ProductId(1)), Reserved, Reserved, SoldOut(ProductId(2))];
    assert_eq!(outcomes(store.reserve(&batch).await), expected);
    assert_eq!(outcomes(store.reserve(&batch).await), expected, "the batch repeated");
    assert_eq!((books.counts(1).await, books.counts(2).await), ((0, 5, 0), (0, 5, 0)));
}

#[tokio::test]
async fn a_refused_command_does_not_stop_the_others() {
    let books = Books::open().await;
    let store = &books.store;
    store.restock(&[restock("a", 1, 5)]).await;
    store.reserve(&[reserve(1, &[(1, 1)]), reserve(2, &[(1, 1)]), reserve(3, &[(1, 1)])]).await;
    let answers = store.commit(&[commit(1), commit(9), commit(2)]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(&answers[1], Err(StockStoreError::Refused(Refusal::NothingHeld(id))) if *id == order(9)));
    let answers = store.release(&[release(1), release(3)]).await;
    assert!(matches!(&answers[0], Err(StockStoreError::Refused(Refusal::Committed(id))) if *id == order(1)));
    assert!(answers[1].is_ok());
    assert_eq!(books.counts(1).await, (3, 0, 2));
}

#[tokio::test]
async fn an_empty_batch_has_no_answers() {
    let books = Books::open().await;
    let store = &books.store;
    assert!(store.reserve(&[]).await.is_empty());
}

#[tokio::test]
async fn a_release_before_its_reservation_blocks_it_also_within_a_batch() {
    let books = Books::open().await;
    let store = &books.store;
    store.restock(&[restock("a", 1, 5)]).await;
    let nothing = [ReleaseOutcome::Nothing, ReleaseOutcome::Nothing];
    assert_eq!(outcomes(store.release(&[release(1), release(1)]).await), nothing);
    assert_eq!(outcomes(store.reserve(&[reserve(1, &[(1, 1)])]).await), [ReserveOutcome::Blocked]);
    assert_eq!(refused(store.commit(&[commit(1)]).await), Refusal::NothingHeld(order(1)));
    assert_eq!(books.counts(1).await, (5, 0, 0));
}

#[tokio::test]
async fn a_release_of_a_refused_order_gives_nothing_back() {
    let books = Books::open().await;
    let store = &books.store;
    store.reserve(&[reserve(1, &[(1, 1)])]).await;
    assert_eq!(outcomes(store.release(&[release(1)]).await), [ReleaseOutcome::Nothing]);
    assert_eq!(
        outcomes(store.reserve(&[reserve(1, &[(1, 1)])]).await),
        [ReserveOutcome::SoldOut(ProductId(1))],
        "the first answer stands"
    );
}

#[tokio::test]
async fn an_answer_tells_the_changed_rows_once() {
    let books = Books::open().await;
    let store = &books.store;
    store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
    let command = [reserve(1, &[(2, 1), (1, 2)])];
    let answer = store.reserve(&command).await.pop().unwrap().unwrap();
    let row =
        |product, available, reserved| Stock { available, reserved, version: 2, ..Stock::none(ProductId(product)) };
    assert_eq!(answer.changed, [row(1, 3, 2), row(2, 4, 1)]);
    let again = store.reserve(&command).await.pop().unwrap().unwrap();
    assert_eq!(again, Answer { outcome: ReserveOutcome::Reserved, changed: Vec::new() });
}

#[tokio::test]
async fn a_restock_counts_once_under_its_id() {
    let books = Books::open().await;
    let store = &books.store;
    let available = |stocks: Vec<Stock>| stocks.into_iter().map(|stock| stock.available).collect::<Vec<_>>();
    let batch = [restock("a", 1, 5), restock("b", 1, 2), restock("a", 1, 5)];
    assert_eq!(available(outcomes(store.restock(&batch).await)), [5, 7, 7]);
    assert!(matches!(refused(store.restock(&[restock("a", 2, 5)]).await), Refusal::OtherRestock(_)));
    assert_eq!(store.stock(ProductId(2)).await.unwrap(), None);
}

/// Every decision leaves exactly one event, in the order of the aggregate's versions.
#[tokio::test]
async fn every_change_of_the_barrier_leaves_one_event() {
    let books = Books::open().await;
    let store = &books.store;
    store.restock(&[restock("a", 1, 5)]).await;
    for _ in 0..2 {
        store.reserve(&[reserve(1, &[(1, 5)]), reserve(2, &[(1, 1)])]).await;
        store.release(&[release(1), release(2), release(3)]).await;
        store.reserve(&[reserve(3, &[(1, 1)]), reserve(4, &[(1, 1)])]).await;
        store.commit(&[commit(4), commit(5)]).await;
    }
    for (number, expected) in [
        (1, &["StockReserved", "StockReleased"][..]),
        (2, &["StockRefused", "StockReleased"]),
        (3, &["StockBlocked"]),
        (4, &["StockReserved", "StockCommitted"]),
        (5, &[]),
    ] {
        let events = books.outbox.all_of(&order(number).to_string()).await.unwrap();
        assert!(events.iter().map(|event| event.kind.as_str()).eq(expected.iter().copied()), "order {number}");
        assert!(events.iter().map(|event| event.version).eq(1..=expected.len() as i64), "order {number}");
    }
}

#[tokio::test]
async fn one_damaged_order_fails_alone_in_its_batch() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 5)]).await;
    for (number, outcome) in [(2, "rubbish"), (3, "reserved")] {
        let row = format!("('{}', 'reserve', '{outcome}', 0)", order(number));
        books.home.execute(&format!("INSERT INTO operations VALUES {row}")).await;
    }
    let one = |number| reserve(number, &[(1, 1)]);
    let mut answers = books.store.reserve(&[one(1), one(2), one(3), one(4)]).await;
    for damaged in [answers.remove(2), answers.remove(1)] {
        assert!(matches!(damaged, Err(StockStoreError::Store(StoreError::Corrupt(_)))), "{damaged:?}");
    }
    assert_eq!(outcomes(answers), [ReserveOutcome::Reserved; 2]);
    assert_eq!(books.counts(1).await, (3, 2, 0));
}

#[tokio::test]
async fn the_rows_that_an_audit_reads_say_what_became_of_each_order() {
    let books = Books::open().await;
    let Books { home, store, .. } = &books;
    store.restock(&[restock("a", 1, 5)]).await;
    let one = |number| reserve(number, &[(1, 1)]);
    store.release(&[release(5)]).await;
    store.reserve(&[one(1), one(2), one(3), reserve(4, &[(1, 9)]), one(5)]).await;
    store.release(&[release(2)]).await;
    store.commit(&[commit(3)]).await;

    let states = home.texts("SELECT state FROM reservations ORDER BY order_id").await;
    assert_eq!(states, ["held", "released", "sold"]);
    let operations = "SELECT operation || ' ' || outcome FROM operations ORDER BY order_id, operation";
    assert_eq!(
        home.texts(operations).await,
        [
            "reserve reserved",
            "release released",
            "reserve reserved",
            "commit committed",
            "reserve reserved",
            "reserve sold_out:1",
            "release nothing",
            "reserve blocked",
        ]
    );
    assert_eq!(home.texts("SELECT restock_id || ' ' || quantity FROM restocks").await, ["a 5"]);
}

#[tokio::test]
async fn commands_of_every_kind_at_once_about_the_same_orders_are_decided_in_turn() {
    let books = Books::open().await;
    let Books { home, store, outbox } = &books;
    store.restock(&[restock("a", 1, 5)]).await;
    let orders = [1, 2, 3].map(|number| [reserve(number, &[(1, 1)])]);
    let (first, second, sold, more) = ([release(1)], [release(2)], [commit(2)], [restock("b", 1, 2)]);
    let (one, given_back, two, bought, refused, stocked, three) = tokio::join!(
        store.reserve(&orders[0]),
        store.release(&first),
        store.reserve(&orders[1]),
        store.commit(&sold),
        store.release(&second),
        store.restock(&more),
        store.reserve(&orders[2]),
    );
    assert_eq!([one, two, three].map(|answers| outcomes(answers)[0]), [ReserveOutcome::Reserved; 3]);
    assert_eq!((outcomes(given_back)[0], outcomes(bought).len()), (ReleaseOutcome::Released, 1));
    assert!(matches!(refused[0], Err(StockStoreError::Refused(_))), "{refused:?}");
    assert_eq!(outcomes(stocked)[0].available, 6);
    assert_eq!(books.counts(1).await, (5, 1, 1));
    assert_eq!(home.texts("SELECT state FROM reservations ORDER BY order_id").await, ["released", "sold", "held"]);
    let told = outbox.all_of(&order(2).to_string()).await.unwrap();
    assert_eq!(told.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_reservation_that_the_stock_does_not_back_is_not_given_back() {
    let books = Books::open().await;
    let Books { home, store, .. } = &books;
    store.restock(&[restock("a", 1, 5)]).await;
    store.reserve(&[reserve(1, &[(1, 3)])]).await;
    for damage in
        ["UPDATE stock SET reserved = 2", "UPDATE stock SET reserved = 3; UPDATE reservations SET state = 'sold'"]
    {
        home.execute(damage).await;
        let answer = store.release(&[release(1)]).await.pop().unwrap();
        assert!(matches!(answer, Err(StockStoreError::Store(StoreError::Corrupt(_)))), "{damage}: {answer:?}");
    }
}

#[tokio::test]
async fn a_full_product_takes_no_more() {
    let books = Books::open().await;
    let Books { home, store, .. } = &books;
    home.execute(&format!("INSERT INTO stock VALUES (1, 0, 0, {}, 1)", Stock::UNITS_MAX)).await;
    assert!(matches!(refused(store.restock(&[restock("a", 1, 1)]).await), Refusal::Full(_)));
}

// What comes at once, over as many connections as the store has.

#[tokio::test]
async fn a_rush_on_one_product_is_answered_without_a_failure_and_sells_what_there_is() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 40)]).await;
    let buyers = (0..64).map(|number| {
        let store = books.patient();
        async move { outcomes(store.reserve(&[reserve(number, &[(1, 1)])]).await) }
    });
    let answers = at_once(buyers).await.concat();
    let reserved = answers.iter().filter(|answer| **answer == ReserveOutcome::Reserved).count();
    assert_eq!((reserved, answers.len()), (40, 64));
    assert_eq!(books.counts(1).await, (0, 40, 0));
    let stock = books.store.stock(ProductId(1)).await.unwrap().unwrap();
    assert_eq!(stock.version, 41, "every change has a version of its own");
}

#[tokio::test]
async fn batches_that_cross_do_not_wait_for_each_other() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 1000), restock("b", 2, 1000), restock("c", 3, 1000)]).await;
    let batches = (0..16).map(|number| {
        let store = books.patient();
        // The same eight orders, and the same products, forwards and backwards.
        let mut batch = (0..8).map(|order| reserve(order, &[(1, 1), (2, 1), (3, 1)])).collect::<Vec<_>>();
        if number % 2 == 0 {
            batch.reverse();
        }
        // And one of its own whose only product the others come to last, or first.
        batch.push(reserve(100 + number, &[(if number % 2 == 0 { 3 } else { 1 }, 1)]));
        async move { outcomes(store.reserve(&batch).await) }
    });
    assert_eq!(at_once(batches).await, vec![vec![ReserveOutcome::Reserved; 9]; 16]);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((984, 16, 0), (992, 8, 0)));
}

#[tokio::test]
async fn a_release_and_its_reservation_at_once_leave_nothing_held() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 100)]).await;
    let mut calls = JoinSet::new();
    for number in 0..20 {
        let store = books.patient();
        calls.spawn(async move { outcomes(store.reserve(&[reserve(number, &[(1, 1)])]).await).len() });
        let store = books.patient();
        calls.spawn(async move { outcomes(store.release(&[release(number)]).await).len() });
    }
    assert_eq!(calls.join_all().await.len(), 40);
    assert_eq!(books.counts(1).await, (100, 0, 0));
}

#[tokio::test]
async fn of_a_commit_and_a_release_at_once_one_has_its_way() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 20)]).await;
    books.store.reserve(&(0..20).map(|number| reserve(number, &[(1, 1)])).collect::<Vec<_>>()).await;
    let races = (0..20).map(|number| {
        let store = books.patient();
        async move {
            let (committing, releasing) = ([commit(number)], [release(number)]);
            let (committed, released) = tokio::join!(store.commit(&committing), store.release(&releasing));
            let refused = |error: &StockStoreError| matches!(error, StockStoreError::Refused(_));
            let failures = [committed[0].as_ref().err(), released[0].as_ref().err()];
            assert!(failures.iter().flatten().all(|error| refused(error)), "{failures:?}");
            (committed[0].is_ok(), released[0].is_ok())
        }
    });
    let answers = at_once(races).await;
    assert!(answers.iter().all(|(committed, released)| committed != released), "{answers:?}");
    let sold = answers.iter().filter(|(committed, _)| *committed).count() as i64;
    assert_eq!(books.counts(1).await, (20 - sold, 0, sold));
}

#[tokio::test]
async fn restocks_of_a_new_product_at_once_all_count_each_once() {
    let books = Books::open().await;
    // Each twice, one right after the other.
    let deliveries = (0..32).map(|number| number / 2).map(|number| {
        let store = books.patient();
        let product = i64::from(number % 2) + 1;
        async move { outcomes(store.restock(&[restock(&format!("r{number}"), product, 3)]).await).len() }
    });
    assert_eq!(at_once(deliveries).await.len(), 32);
    assert_eq!((books.counts(1).await, books.counts(2).await), ((24, 0, 0), (24, 0, 0)));
}

#[tokio::test]
async fn deliveries_and_buyers_at_once_lose_no_unit() {
    let books = Books::open().await;
    books.store.restock(&[restock("a", 1, 10)]).await;
    let mut calls = JoinSet::new();
    for number in 0..20 {
        let store = books.patient();
        calls.spawn(async move {
            let answers = outcomes(store.reserve(&[reserve(number, &[(1, 1)])]).await);
            i64::from(answers[0] == ReserveOutcome::Reserved)
        });
        let store = books.patient();
        calls.spawn(async move {
            outcomes(store.restock(&[restock(&format!("b{number}"), 1, 1)]).await);
            0
        });
    }
    let reserved: i64 = calls.join_all().await.into_iter().sum();
    assert_eq!(books.counts(1).await, (30 - reserved, reserved, 0));
}

/// The future, left alone after so many polls.
async fn abandon(call: impl Future, polls: u32) {
    let (mut call, mut left) = (std::pin::pin!(call), polls);
    std::future::poll_fn(|context| match left.checked_sub(1) {
        None => Poll::Ready(()),
        Some(fewer) => {
            left = fewer;
            call.as_mut().poll(context).map(drop)
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_abandoned_is_done_wholly_or_not_at_all() {
    let books = Books::open().await;
    let Books { home, store, .. } = &books;
    store.restock(&[restock("a", 1, 1000), restock("b", 2, 1000)]).await;
    for polls in 0..40 {
        let batch = [reserve(2 * polls, &[(1, 1), (2, 1)]), reserve(2 * polls + 1, &[(1, 1)])];
        abandon(store.reserve(&batch), polls).await;
        assert_eq!(outcomes(store.reserve(&batch).await), [ReserveOutcome::Reserved; 2], "after {polls} polls");
    }
    assert_eq!((books.counts(1).await, books.counts(2).await), ((920, 80, 0), (960, 40, 0)));
    assert_eq!(home.texts("SELECT state FROM reservations").await.len(), 120);
    let gaps = "SELECT aggregate FROM inventory_events WHERE kind = 'StockReserved' AND version <> 1";
    assert_eq!(home.texts(gaps).await, Vec::<String>::new());
}
