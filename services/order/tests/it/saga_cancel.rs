//! A client takes its order back, at the worst of moments.

use std::time::Duration;

use order::application::orders::OrderError;
use order::domain::{CancelReason, Status, Step};

use crate::harness::{Setup, Shop};
use crate::world::Fault;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_order_cancelled_while_a_step_is_in_flight_has_one_end_and_costs_nothing() {
    let faults = [
        Fault::SlowReply(8 * SECOND),
        Fault::SlowRequest(8 * SECOND),
        Fault::Delayed(8 * SECOND),
        Fault::RequestLost,
        Fault::ReplyLost,
        Fault::Ongoing(8 * SECOND),
        Fault::HangBefore,
        Fault::HangAfter,
    ];
    for step in [Step::ReserveStock, Step::ProcessPayment] {
        for fault in faults {
            let shop = Shop::new();
            shop.world.always(step, fault);
            let id = shop.start("k").await;
            shop.world.called(step, 1).await;
            let cancelling = shop.desk.cancel(id).await.unwrap();
            assert_eq!(cancelling.status, Status::Cancelling, "{step} {fault:?}");
            let order = shop.settled(id).await;
            let ended = (order.status, order.cancel_reason);
            assert_eq!(ended, (Status::Cancelled, Some(CancelReason::ByClient)), "{step} {fault:?}");
            // The former owner's call ends long after the order.
            tokio::time::sleep(60 * SECOND).await;
            assert_eq!(shop.settled(id).await, order, "{step} {fault:?}");
            assert_eq!(shop.world.units(), 100, "{step} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_cancel_comes_the_order_is_sold_or_costs_nothing() {
    let mut ends = Vec::new();
    for late_ms in (0..500).step_by(20) {
        let shop = Shop::new();
        for step in [Step::ReserveStock, Step::ProcessPayment, Step::CommitStock] {
            shop.world.next(step, &[Fault::SlowReply(100 * MILLISECOND)]);
        }
        let id = shop.start("k").await;
        tokio::time::sleep(late_ms * MILLISECOND).await;
        let answer = shop.desk.cancel(id).await;
        let order = shop.settled(id).await;
        match answer {
            Ok(_) => assert_eq!(order.cancel_reason, Some(CancelReason::ByClient), "after {late_ms} ms"),
            Err(OrderError::NotCancellable(Status::Confirmed)) => assert_eq!(order.status, Status::Confirmed),
            Err(other) => panic!("after {late_ms} ms: {other}"),
        }
        ends.push(order.status);
    }
    assert!(ends.contains(&Status::Confirmed) && ends.contains(&Status::Cancelled), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_order_is_not_cancelled() {
    let shop = Shop::new();
    shop.world.always(Step::CommitStock, Fault::RequestLost);
    let placed = shop.place("k", 1, 5 * SECOND).await.unwrap();
    for _ in 0..2 {
        let answer = shop.desk.cancel(placed.order.id).await;
        assert!(matches!(answer, Err(OrderError::NotCancellable(Status::Confirmed))), "{answer:?}");
        shop.world.heal();
        assert_eq!(shop.settled(placed.order.id).await.status, Status::Confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_twice_is_cancelling_once() {
    let shop = Shop::new();
    shop.world.always(Step::ProcessPayment, Fault::HangAfter);
    let id = shop.start("k").await;
    shop.world.called(Step::ProcessPayment, 1).await;
    let (first, second) = tokio::join!(shop.desk.cancel(id), shop.desk.cancel(id));
    assert_eq!(first.unwrap(), second.unwrap());
    let order = shop.settled(id).await;
    assert_eq!(shop.desk.cancel(id).await.unwrap(), order, "of a cancelled order it changes nothing");
    let started = shop.kinds(id).into_iter().filter(|kind| kind == "CancellationStarted").count();
    assert_eq!(started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_overtaken_looks_again() {
    let shop = Shop::open(&Setup { cancel_is_overtaken: true, ..Setup::new() });
    shop.world.always(Step::ProcessPayment, Fault::HangAfter);
    let id = shop.start("k").await;
    shop.world.called(Step::ProcessPayment, 1).await;
    assert_eq!(shop.desk.cancel(id).await.unwrap().status, Status::Cancelling);
    assert_eq!(shop.settled(id).await.cancel_reason, Some(CancelReason::ByClient));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_never_placed_is_not_cancelled() {
    let shop = Shop::new();
    let stranger = kernel::OrderId::derive("shop", crate::harness::user(9), "k");
    assert!(matches!(shop.desk.cancel(stranger).await, Err(OrderError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_order_hears_that_it_was_cancelled() {
    let shop = Shop::new();
    shop.world.always(Step::ReserveStock, Fault::HangAfter);
    let cancel = async {
        shop.world.called(Step::ReserveStock, 1).await;
        let id = shop.desk.list(None, Default::default(), 1).await.unwrap()[0].id;
        shop.desk.cancel(id).await.unwrap();
    };
    let started = tokio::time::Instant::now();
    let (placed, ()) = tokio::join!(shop.place("k", 1, 30 * SECOND), cancel);
    assert_eq!(placed.unwrap().order.status, Status::Cancelled);
    assert!(started.elapsed() < SECOND);
}

/// The abort is committed before the first compensation is sent, so whoever resumes knows of it.
#[test]
fn a_cancel_outlives_the_process_that_took_it() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        let mut setup = Setup::new();
        setup.world.always(Step::ProcessPayment, Fault::ReplyLost);
        setup.world.next(Step::RefundPayment, &[fault]);
        let id = setup.process(async |shop: Shop| {
            let id = shop.start("k").await;
            shop.world.called(Step::ProcessPayment, 1).await;
            shop.desk.cancel(id).await.unwrap();
            shop.world.called(Step::RefundPayment, 1).await;
            id
        });
        let order = setup.process(async |shop: Shop| shop.settled(id).await);
        assert_eq!(order.cancel_reason, Some(CancelReason::ByClient));
        assert_eq!(setup.world.effects(id), ["reserved", "captured", "refunded", "released"]);
    }
}
