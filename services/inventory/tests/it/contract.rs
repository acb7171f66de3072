//! What every [`StockStore`] owes its callers. Each case wants a store with nothing in it.

use inventory::application::ports::{
    Answer, Answers, CommitOrder, ReleaseOrder, ReserveOrder, RestockProduct, StockStore, StockStoreError,
};
use inventory::domain::{Line, OrderLines, Refusal, ReleaseOutcome, ReserveOutcome, Restock, Stock};
use kernel::{ProductId, Quantity, Timestamp};

use crate::harness::order;

const AT: Timestamp = Timestamp::from_micros(1_000_000);

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

fn refused<T: std::fmt::Debug>(mut answers: Answers<T>) -> Refusal {
    match answers.pop().unwrap() {
        Err(StockStoreError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub async fn counts(store: &dyn StockStore, product: i64) -> (i64, i64, i64) {
    let stock = store.stock(ProductId(product)).await.unwrap().unwrap();
    (stock.available, stock.reserved, stock.sold)
}

pub async fn a_batch_is_decided_in_arrival_order_against_its_running_balance(store: &dyn StockStore) {
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
    assert_eq!((counts(store, 1).await, counts(store, 2).await), ((0, 5, 0), (0, 5, 0)));
}

pub async fn a_refused_command_does_not_stop_the_others(store: &dyn StockStore) {
    store.restock(&[restock("a", 1, 5)]).await;
    store.reserve(&[reserve(1, &[(1, 1)]), reserve(2, &[(1, 1)]), reserve(3, &[(1, 1)])]).await;
    let answers = store.commit(&[commit(1), commit(9), commit(2)]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(&answers[1], Err(StockStoreError::Refused(Refusal::NothingHeld(id))) if *id == order(9)));
    let answers = store.release(&[release(1), release(3)]).await;
    assert!(matches!(&answers[0], Err(StockStoreError::Refused(Refusal::Committed(id))) if *id == order(1)));
    assert!(answers[1].is_ok());
    assert_eq!(counts(store, 1).await, (3, 0, 2));
}

pub async fn an_empty_batch_has_no_answers(store: &dyn StockStore) {
    assert!(store.reserve(&[]).await.is_empty());
}

pub async fn a_release_before_its_reservation_blocks_it_also_within_a_batch(store: &dyn StockStore) {
    store.restock(&[restock("a", 1, 5)]).await;
    let nothing = [ReleaseOutcome::Nothing, ReleaseOutcome::Nothing];
    assert_eq!(outcomes(store.release(&[release(1), release(1)]).await), nothing);
    assert_eq!(outcomes(store.reserve(&[reserve(1, &[(1, 1)])]).await), [ReserveOutcome::Blocked]);
    assert_eq!(refused(store.commit(&[commit(1)]).await), Refusal::NothingHeld(order(1)));
    assert_eq!(counts(store, 1).await, (5, 0, 0));
}

pub async fn a_release_of_a_refused_order_gives_nothing_back(store: &dyn StockStore) {
    store.reserve(&[reserve(1, &[(1, 1)])]).await;
    assert_eq!(outcomes(store.release(&[release(1)]).await), [ReleaseOutcome::Nothing]);
    assert_eq!(
        outcomes(store.reserve(&[reserve(1, &[(1, 1)])]).await),
        [ReserveOutcome::SoldOut(ProductId(1))],
        "the first answer stands"
    );
}

pub async fn an_answer_tells_the_changed_rows_once(store: &dyn StockStore) {
    store.restock(&[restock("a", 1, 5), restock("b", 2, 5)]).await;
    let command = [reserve(1, &[(2, 1), (1, 2)])];
    let answer = store.reserve(&command).await.pop().unwrap().unwrap();
    let row =
        |product, available, reserved| Stock { available, reserved, version: 2, ..Stock::none(ProductId(product)) };
    assert_eq!(answer.changed, [row(1, 3, 2), row(2, 4, 1)]);
    let again = store.reserve(&command).await.pop().unwrap().unwrap();
    assert_eq!(again, Answer { outcome: ReserveOutcome::Reserved, changed: Vec::new() });
}

pub async fn a_restock_counts_once_under_its_id(store: &dyn StockStore) {
    let available = |stocks: Vec<Stock>| stocks.into_iter().map(|stock| stock.available).collect::<Vec<_>>();
    let batch = [restock("a", 1, 5), restock("b", 1, 2), restock("a", 1, 5)];
    assert_eq!(available(outcomes(store.restock(&batch).await)), [5, 7, 7]);
    assert!(matches!(refused(store.restock(&[restock("a", 2, 5)]).await), Refusal::OtherRestock(_)));
    assert_eq!(store.stock(ProductId(2)).await.unwrap(), None);
}

/// Every decision leaves exactly one event, in the order of the aggregate's versions.
pub async fn every_change_of_the_barrier_leaves_one_event(
    store: &dyn StockStore,
    outbox: &dyn chassis::events::Outbox,
) {
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
        let events = outbox.all_of(&order(number).to_string()).await.unwrap();
        assert!(events.iter().map(|event| event.kind.as_str()).eq(expected.iter().copied()), "order {number}");
        assert!(events.iter().map(|event| event.version).eq(1..=expected.len() as i64), "order {number}");
    }
}
