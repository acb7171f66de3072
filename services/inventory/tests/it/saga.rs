//! The saga operations, as the order service sees them.

use chassis::context::Trace;
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{Blocked, Reserved, SoldOut};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{Shop, order, refusal};

const RESERVED: Outcome = Outcome::Reserved(Reserved {});
const BLOCKED: Outcome = Outcome::Blocked(Blocked {});

fn sold_out(product_id: i64) -> Outcome {
    Outcome::SoldOut(SoldOut { product_id })
}

async fn stocked(products: &[(i64, u32)]) -> Shop {
    let shop = Shop::open().await;
    for &(product, units) in products {
        shop.service().restock(&format!("seed:{product}"), product, units).await.unwrap();
    }
    shop
}

#[tokio::test]
async fn a_confirmed_order_ends_as_sold_units() {
    let shop = stocked(&[(1, 10), (2, 10)]).await;
    let saga = shop.service();
    assert_eq!(saga.reserve(order(1), &[(2, 1), (1, 2), (2, 3)]).await.unwrap(), RESERVED);
    assert_eq!((saga.counts(1).await, saga.counts(2).await), ((8, 2, 0), (6, 4, 0)));
    saga.commit(order(1)).await.unwrap();
    assert_eq!((saga.counts(1).await, saga.counts(2).await), ((8, 0, 2), (6, 0, 4)));

    let events = shop.events(&order(1).to_string(), 2).await;
    let data = format!(
        r#"{{"order_id":"{}","lines":[{{"product_id":1,"quantity":2}},{{"product_id":2,"quantity":4}}]}}"#,
        order(1)
    );
    for (event, (version, kind)) in events.iter().zip([(1, "StockReserved"), (2, "StockCommitted")]) {
        assert_eq!((event.version, event.kind.as_str(), &event.data), (version, kind, &data));
        let trace: Trace = event.traceparent.as_ref().unwrap().parse().unwrap();
        assert_eq!(trace.trace_id, saga.trace_id(), "the event belongs to the caller's trace");
    }
}

#[tokio::test]
async fn a_cancelled_order_gives_everything_back() {
    let shop = stocked(&[(1, 10)]).await;
    let saga = shop.service();
    saga.reserve(order(1), &[(1, 4)]).await.unwrap();
    assert!(saga.release(order(1)).await.unwrap());
    assert_eq!(saga.counts(1).await, (10, 0, 0));
    assert_eq!(shop.kinds(&order(1).to_string(), 2).await, ["StockReserved", "StockReleased"]);
}

#[tokio::test]
async fn every_repetition_gets_the_first_answer_and_changes_nothing() {
    let shop = stocked(&[(1, 10)]).await;
    let saga = shop.service();
    for _ in 0..3 {
        assert_eq!(saga.reserve(order(1), &[(1, 4)]).await.unwrap(), RESERVED);
        assert_eq!(saga.reserve(order(2), &[(1, 7)]).await.unwrap(), sold_out(1));
    }
    assert_eq!(saga.counts(1).await, (6, 4, 0));
    for _ in 0..3 {
        assert!(saga.release(order(1)).await.unwrap());
        assert!(!saga.release(order(2)).await.unwrap());
    }
    assert_eq!(saga.counts(1).await, (10, 0, 0));
    saga.reserve(order(3), &[(1, 4)]).await.unwrap();
    for _ in 0..3 {
        saga.commit(order(3)).await.unwrap();
    }
    assert_eq!(saga.counts(1).await, (6, 0, 4));
    assert_eq!(shop.kinds(&order(1).to_string(), 2).await, ["StockReserved", "StockReleased"]);
    assert_eq!(shop.kinds(&order(2).to_string(), 2).await, ["StockRefused", "StockReleased"]);
    assert_eq!(shop.kinds(&order(3).to_string(), 2).await, ["StockReserved", "StockCommitted"]);
}

#[tokio::test]
async fn concurrent_duplicates_have_one_effect_and_one_answer() {
    let shop = stocked(&[(1, 10)]).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let saga = shop.service().patient();
        calls.spawn(async move { saga.reserve(order(1), &[(1, 3)]).await.unwrap() });
    }
    assert_eq!(calls.join_all().await, vec![RESERVED; 20]);
    assert_eq!(shop.service().counts(1).await, (7, 3, 0));

    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let saga = shop.service().patient();
        calls.spawn(async move { saga.release(order(1)).await.unwrap() });
    }
    assert_eq!(calls.join_all().await, vec![true; 20]);
    assert_eq!(shop.service().counts(1).await, (10, 0, 0));
}

#[tokio::test]
async fn a_rush_on_the_last_units_sells_each_once() {
    let shop = stocked(&[(1, 10)]).await;
    let mut calls = JoinSet::new();
    for number in 0..60 {
        let saga = shop.service().patient();
        calls.spawn(async move { saga.reserve(order(number), &[(1, 1)]).await.unwrap() });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == RESERVED).count(), 10);
    assert_eq!(answers.iter().filter(|answer| **answer == sold_out(1)).count(), 50);
    assert_eq!(shop.service().counts(1).await, (0, 10, 0));
}

#[tokio::test]
async fn an_order_is_reserved_whole_or_not_at_all() {
    let shop = stocked(&[(1, 10), (2, 1)]).await;
    let saga = shop.service();
    assert_eq!(saga.reserve(order(1), &[(2, 2), (1, 1)]).await.unwrap(), sold_out(2));
    assert_eq!(saga.reserve(order(2), &[(1, 1), (99, 1)]).await.unwrap(), sold_out(99), "nobody stocked 99");
    assert_eq!((saga.counts(1).await, saga.counts(2).await), ((10, 0, 0), (1, 0, 0)));
    let refused = &shop.events(&order(1).to_string(), 1).await[0];
    assert_eq!(refused.kind, "StockRefused");
    assert!(refused.data.ends_with(r#""sold_out":2}"#), "{}", refused.data);
}

#[tokio::test]
async fn a_release_that_overtakes_its_reservation_blocks_it() {
    let shop = stocked(&[(1, 10)]).await;
    let saga = shop.service();
    assert!(!saga.release(order(1)).await.unwrap());
    for _ in 0..2 {
        assert_eq!(saga.reserve(order(1), &[(1, 1)]).await.unwrap(), BLOCKED);
    }
    assert_eq!(refusal(saga.commit(order(1)).await).0, Code::FailedPrecondition);
    assert!(!saga.release(order(1)).await.unwrap());
    assert_eq!(saga.counts(1).await, (10, 0, 0));
    assert_eq!(shop.kinds(&order(1).to_string(), 1).await, ["StockBlocked"]);
}

#[tokio::test]
async fn what_contradicts_the_past_is_refused_and_changes_nothing() {
    let shop = stocked(&[(1, 10)]).await;
    let saga = shop.service();
    saga.reserve(order(1), &[(1, 1)]).await.unwrap();
    saga.commit(order(1)).await.unwrap();
    saga.reserve(order(2), &[(1, 2)]).await.unwrap();
    saga.release(order(2)).await.unwrap();

    for (answer, reason) in [
        (saga.release(order(1)).await.map(drop), "committed"),
        (saga.commit(order(2)).await, "no reservation"),
        (saga.commit(order(3)).await, "no reservation"),
        (saga.reserve(order(1), &[(1, 5)]).await.map(drop), "other lines"),
    ] {
        let (code, message) = refusal(answer);
        assert_eq!(code, Code::FailedPrecondition);
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(saga.counts(1).await, (9, 0, 1));
}

#[tokio::test]
async fn a_failure_in_the_middle_leaves_nothing_and_can_be_repeated() {
    let shop = stocked(&[(1, 10), (2, 10)]).await;
    let saga = shop.service();
    shop.home().break_product(2).await;
    assert_eq!(refusal(saga.reserve(order(1), &[(1, 1), (2, 1)]).await).0, Code::Unavailable);
    let traces = "SELECT operation FROM operations UNION ALL SELECT state FROM reservations
                  UNION ALL SELECT kind FROM inventory_events WHERE kind <> 'StockRestocked'";
    assert_eq!(shop.home().texts(traces).await, Vec::<String>::new());
    assert_eq!(saga.counts(1).await, (10, 0, 0));

    shop.home().mend().await;
    assert_eq!(saga.reserve(order(1), &[(1, 1), (2, 1)]).await.unwrap(), RESERVED);
}

#[tokio::test]
async fn a_restarted_service_remembers_its_answers() {
    let shop = stocked(&[(1, 10)]).await;
    shop.service().reserve(order(1), &[(1, 4)]).await.unwrap();
    shop.service().release(order(2)).await.unwrap();
    let shop = shop.restart().await;
    let saga = shop.service();
    assert_eq!(saga.reserve(order(1), &[(1, 4)]).await.unwrap(), RESERVED);
    assert_eq!(saga.reserve(order(2), &[(1, 4)]).await.unwrap(), BLOCKED);
    saga.commit(order(1)).await.unwrap();
    assert_eq!(saga.counts(1).await, (6, 0, 4));
    assert_eq!(shop.kinds(&order(1).to_string(), 2).await, ["StockReserved", "StockCommitted"]);
}

#[tokio::test]
async fn events_that_a_killed_process_left_behind_are_published_by_the_next() {
    let shop = stocked(&[(1, 10)]).await;
    shop.events("restock:seed:1", 1).await;
    let left = format!(
        "INSERT INTO inventory_events (aggregate, version, kind, data, occurred_at)
         VALUES ('{}', 1, 'StockBlocked', '{{}}', 0)",
        order(1)
    );
    shop.restart_with(&left).await.kinds(&order(1).to_string(), 1).await;
}

#[tokio::test]
async fn reservations_are_counted_by_outcome() {
    let shop = stocked(&[(1, 1)]).await;
    let saga = shop.service();
    saga.reserve(order(1), &[(1, 1)]).await.unwrap();
    saga.reserve(order(2), &[(1, 1)]).await.unwrap();
    saga.reserve(order(2), &[(1, 1)]).await.unwrap();
    let metrics = shop.metrics();
    for (outcome, count) in [("reserved", 1), ("sold_out", 2), ("blocked", 0)] {
        let line = format!(r#"inventory_reservations_total{{service="inventory",outcome="{outcome}"}} {count}"#);
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}
