//! What does not get on by itself: retries and their budget, errors for an operator, and who is told.

use std::time::Duration;

use order::application::orders::OrderError;
use order::application::ports::After;
use order::domain::{CancelReason, Status, Step};
use tokio::time::Instant;

use crate::harness::{Setup, Shop, eventually};
use crate::world::Fault;

const SECOND: Duration = Duration::from_secs(1);
const COMPENSATIONS: [Step; 2] = [Step::RefundPayment, Step::ReleaseStock];

/// An order whose payment was refused by nobody who keeps that, so that both compensations are due.
async fn aborted(shop: &Shop, step: Step, fault: Fault) -> kernel::OrderId {
    shop.world.next(Step::ProcessPayment, &[Fault::BreakerOpen]);
    shop.world.always(step, fault);
    shop.start("k").await
}

async fn becomes(shop: &Shop, id: kernel::OrderId, status: Status) {
    eventually(async || (shop.desk.get(id).await.unwrap().status == status).then_some(())).await;
}

async fn stuck(shop: &Shop) -> Vec<(kernel::OrderId, Status, Step)> {
    let stuck = shop.desk.stuck(After::default(), 100).await.unwrap();
    stuck.into_iter().map(|one| (one.id, one.status, one.step)).collect()
}

/// Case 13.
#[tokio::test(start_paused = true)]
async fn a_refund_that_is_impossible_for_an_hour_is_retried_listed_and_done_in_the_end() {
    let mut setup = Setup::new();
    setup.pace.backoff_cap = 20 * SECOND;
    let shop = Shop::open(&setup);
    shop.world.next(Step::ProcessPayment, &[Fault::ReplyLost; 4]);
    shop.world.always(Step::RefundPayment, Fault::RequestLost);
    let id = shop.start("k").await;
    shop.world.called(Step::RefundPayment, 9).await;
    assert!(stuck(&shop).await.is_empty(), "not yet");
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(stuck(&shop).await, [(id, Status::Cancelling, Step::RefundPayment)]);
    assert!(shop.attempts(id, Step::RefundPayment).len() > 100, "again and again");

    shop.world.heal();
    assert_eq!(shop.settled(id).await.status, Status::Cancelled);
    assert_eq!(shop.world.effects(id), ["reserved", "captured", "refunded", "released"]);
    assert!(stuck(&shop).await.is_empty());
}

/// Case 14.
#[tokio::test(start_paused = true)]
async fn a_compensation_that_answers_errors_for_ever_waits_for_an_operator_whose_retry_ends_it() {
    for step in COMPENSATIONS {
        let shop = Shop::new();
        let id = aborted(&shop, step, Fault::Broken).await;
        becomes(&shop, id, Status::NeedsOperator).await;
        let attempts = shop.attempts(id, step);
        assert_eq!(attempts.len(), 5, "as many as the settings say");
        assert!(attempts.iter().all(|(_, outcome, _)| outcome == "unknown"), "{attempts:?}");
        tokio::time::sleep(3600 * SECOND).await;
        assert_eq!(shop.attempts(id, step).len(), 5, "nobody asks any more");
        assert_eq!(stuck(&shop).await, [(id, Status::NeedsOperator, step)]);
        assert_eq!(shop.desk.cancel(id).await.unwrap().status, Status::NeedsOperator, "a cancel changes nothing");

        // Before the cause is mended, it comes back to the operator.
        assert_eq!(shop.desk.retry(id).await.unwrap().status, Status::Cancelling);
        becomes(&shop, id, Status::NeedsOperator).await;
        assert_eq!(shop.attempts(id, step).len(), 10);
        shop.world.heal();
        shop.desk.retry(id).await.unwrap();
        let order = shop.settled(id).await;
        assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::Unavailable)));
        let asked = shop.kinds(id).into_iter().filter(|kind| kind.starts_with("Operator")).collect::<Vec<_>>();
        assert_eq!(asked, ["OperatorRequested", "OperatorResumed", "OperatorRequested", "OperatorResumed"]);
        assert!(stuck(&shop).await.is_empty());
    }
}

#[test]
fn errors_are_counted_apart_from_unavailability_and_outlive_the_process() {
    for killed in [false, true] {
        let mut setup = Setup::new();
        let world = setup.world.clone();
        world.next(Step::ProcessPayment, &[Fault::BreakerOpen]);
        let (broken, lost) = (Fault::Broken, Fault::RequestLost);
        world.next(Step::RefundPayment, &[broken, lost, broken, lost, lost, broken, lost, broken, Fault::HangBefore]);
        world.always(Step::RefundPayment, broken);
        let id = setup.process(async |shop: Shop| {
            let id = shop.start("k").await;
            shop.world.called(Step::RefundPayment, 9).await;
            assert_eq!(shop.desk.get(id).await.unwrap().status, Status::Cancelling, "four errors are not enough");
            if !killed {
                becomes(&shop, id, Status::NeedsOperator).await;
            }
            id
        });
        setup.process(async |shop: Shop| {
            becomes(&shop, id, Status::NeedsOperator).await;
            assert_eq!(shop.world.calls(id).iter().filter(|step| **step == Step::RefundPayment).count(), 10);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_errs_in_a_forward_step_aborts_the_order_and_needs_no_operator() {
    for step in [Step::ReserveStock, Step::ProcessPayment] {
        let shop = Shop::new();
        shop.world.always(step, Fault::Broken);
        let order = shop.settle("k").await;
        assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::Unavailable)));
        assert_eq!(shop.attempts(order.id, step).len(), 4, "{step}: like any unknown outcome");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sale_that_answers_errors_is_listed_retried_by_hand_and_done_in_the_end() {
    let mut setup = Setup::new();
    (setup.pace.alert_after, setup.pace.backoff_base, setup.pace.backoff_cap) = (2, 400 * SECOND, 400 * SECOND);
    let shop = Shop::open(&setup);
    shop.world.always(Step::CommitStock, Fault::Broken);
    let id = shop.start("k").await;
    tokio::time::sleep(1000 * SECOND).await;
    assert_eq!(shop.desk.get(id).await.unwrap().status, Status::Confirmed, "what is confirmed stays so");
    assert_eq!(stuck(&shop).await, [(id, Status::Confirmed, Step::CommitStock)]);

    shop.world.heal();
    let asked = shop.desk.retry(id).await.unwrap();
    assert_eq!(asked.status, Status::Confirmed);
    let started = Instant::now();
    assert!(shop.settled(id).await.stock_committed);
    assert!(started.elapsed() < SECOND, "at once: {:?}", started.elapsed());
    assert!(matches!(shop.desk.retry(id).await, Err(OrderError::NothingToDo(Status::Confirmed))));
}

#[tokio::test(start_paused = true)]
async fn a_retry_by_hand_while_an_attempt_hangs_has_one_effect() {
    let shop = Shop::new();
    shop.world.next(Step::ProcessPayment, &[Fault::SlowReply(4 * SECOND), Fault::SlowReply(SECOND)]);
    let id = shop.start("k").await;
    shop.world.called(Step::ProcessPayment, 1).await;
    shop.desk.retry(id).await.unwrap();
    let order = shop.settled(id).await;
    assert_eq!(order.status, Status::Confirmed);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(shop.settled(id).await, order, "the answer to the former attempt comes too late");
    assert_eq!(shop.done(id, Step::ProcessPayment), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_never_placed_is_not_retried() {
    let stranger = kernel::OrderId::derive("shop", crate::harness::user(9), "k");
    assert!(matches!(Shop::new().desk.retry(stranger).await, Err(OrderError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn ongoing_answers_do_not_use_the_attempts_up() {
    let shop = Shop::new();
    let ongoing = Fault::Ongoing(SECOND / 10);
    let faults = [ongoing, ongoing, Fault::RequestLost, ongoing, ongoing, Fault::ReplyLost, Fault::RequestLost];
    shop.world.next(Step::ProcessPayment, &faults);
    let order = shop.settle("k").await;
    assert_eq!(order.status, Status::Confirmed, "three unknown ones are within four attempts");
    let numbers: Vec<u32> = shop.attempts(order.id, Step::ProcessPayment).iter().map(|attempt| attempt.0).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8], "people count them all");

    let shop = Shop::new();
    shop.world.next(Step::ProcessPayment, &[ongoing; 9]);
    shop.world.always(Step::ProcessPayment, Fault::RequestLost);
    let order = shop.settle("k").await;
    assert_eq!(order.cancel_reason, Some(CancelReason::Unavailable));
    assert_eq!(shop.attempts(order.id, Step::ProcessPayment).len(), 9 + 4);
}

#[tokio::test(start_paused = true)]
async fn ongoing_answers_cost_no_retries() {
    let shop = Shop::open(&Setup { budget: (0.0, 0), ..Setup::new() });
    shop.world.next(Step::ProcessPayment, &[Fault::Ongoing(SECOND); 5]);
    assert_eq!(shop.settle("k").await.status, Status::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_an_unknown_forward_step_is_aborted_at_once_and_undone() {
    for step in [Step::ReserveStock, Step::ProcessPayment] {
        for fault in [Fault::RequestLost, Fault::ReplyLost, Fault::Delayed(60 * SECOND), Fault::Broken] {
            let shop = Shop::open(&Setup { budget: (0.0, 0), ..Setup::new() });
            shop.world.always(step, fault);
            let order = shop.settle("k").await;
            let ended = (order.status, order.cancel_reason);
            assert_eq!(ended, (Status::Cancelled, Some(CancelReason::Unavailable)), "{step} {fault:?}");
            assert_eq!(shop.attempts(order.id, step), [(1, "unknown".to_owned(), 1)], "{step} {fault:?}");
            tokio::time::sleep(120 * SECOND).await;
            assert_eq!(shop.settled(order.id).await, order, "{step} {fault:?}");
            assert_eq!(shop.world.units(), 100, "{step} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_what_must_be_done_is_tried_at_the_slowest_pace() {
    let shop = Shop::open(&Setup { budget: (0.0, 0), ..Setup::new() });
    shop.world.next(Step::ProcessPayment, &[Fault::BreakerOpen]);
    shop.world.next(Step::RefundPayment, &[Fault::RequestLost; 5]);
    let id = shop.start("k").await;
    assert_eq!(shop.settled(id).await.status, Status::Cancelled);
    let attempts = shop.orders.attempts(id, 0, 99).await.unwrap().into_iter().map(|recorded| recorded.attempt);
    let asked: Vec<_> = attempts.filter(|one| one.step == Step::RefundPayment).map(|one| one.started_at).collect();
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert_eq!(waits.len(), 5);
    // Timers have a grain of a millisecond.
    let slowest = SECOND..=2 * SECOND + Duration::from_millis(2);
    assert!(
        waits.iter().all(|wait| slowest.contains(wait)),
        "from half of the longest backoff to all of it: {waits:?}"
    );
    assert!(waits.iter().any(|wait| wait.abs_diff(waits[0]) > SECOND / 100), "not in step: {waits:?}");

    let shop = Shop::open(&Setup { budget: (0.0, 0), ..Setup::new() });
    shop.world.next(Step::CommitStock, &[Fault::ReplyLost]);
    assert!(shop.settle("k").await.stock_committed);
}

/// Forty orders meet a participant that is gone; some retries are paid for, then the rest gives up.
#[tokio::test(start_paused = true)]
async fn when_everything_fails_retries_stay_within_the_budget_and_no_order_is_lost() {
    let shop = Shop::open(&Setup { budget: (0.1, 1), ..Setup::new() });
    shop.world.always(Step::ReserveStock, Fault::RequestLost);
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(shop.start(&format!("k{number}")).await);
    }
    tokio::time::sleep(10 * SECOND).await;
    let made: usize = ids.iter().map(|id| shop.attempts(*id, Step::ReserveStock).len()).sum();
    // Ten seconds' worth at the start, one a second, and a tenth for each first attempt of two steps.
    assert!((40 + 10..=40 + 10 + 10 + 8).contains(&made), "{made} attempts of 40 orders");
    for id in &ids {
        let order = shop.settled(*id).await;
        assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::Unavailable)));
    }
    assert_eq!(shop.world.units(), 100);
    shop.world.heal();
    assert_eq!(shop.settle("later").await.status, Status::Confirmed);
}
