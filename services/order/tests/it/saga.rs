//! Every way through the saga: answers, refusals, timeouts, retries, and clients who ask twice.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::clock::Clock as _;
use chassis::metrics::Metrics;
use eventlog::consume::Handler;
use eventlog::{Event, Message};
use kernel::OrderId;
use order::adapters::inbound::events::{Ignored, WakeOrders};
use order::adapters::streams::PAYMENTS;
use order::application::orders::OrderError;
use order::application::ports::QuoteError;
use order::domain::{CancelReason, Status, Step};
use tokio::time::Instant;

use crate::harness::{CommitFails, Remembers, Setup, Shop, user};
use crate::world::{Fault, World};

const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_order_is_confirmed_and_its_units_are_sold() {
    let shop = Shop::new();
    let order = shop.settle("k").await;
    assert_eq!((order.status, order.stock_committed), (Status::Confirmed, true));
    let expected = ["OrderCreated", "StockReserved", "PaymentProcessed", "OrderConfirmed", "StockCommitted"];
    assert_eq!(shop.kinds(order.id), expected);
    assert_eq!(shop.world.calls(order.id), [Step::ReserveStock, Step::ProcessPayment, Step::CommitStock]);
    for step in [Step::Create, Step::ReserveStock, Step::ProcessPayment, Step::Confirm, Step::CommitStock] {
        assert_eq!(shop.attempts(order.id, step), [(1, "done".to_owned(), 1)], "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sold_out_order_is_cancelled_and_nothing_is_compensated() {
    let shop = Shop::open(&Setup::over(World::with_units(0)));
    let order = shop.settle("k").await;
    assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::SoldOut)));
    assert_eq!(shop.world.calls(order.id), [Step::ReserveStock]);
    assert_eq!(shop.kinds(order.id), ["OrderCreated", "CancellationStarted", "OrderCancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_declined_order_gives_its_units_back_and_refunds_nothing() {
    let shop = Shop::new();
    shop.world.next(Step::ProcessPayment, &[Fault::Declined]);
    let order = shop.settle("k").await;
    assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::Declined)));
    assert_eq!(shop.world.effects(order.id), ["reserved", "released"]);
    assert!(!shop.world.calls(order.id).contains(&Step::RefundPayment));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_cancels_and_gives_the_units_back() {
    let shop = Shop::new();
    shop.world.next(Step::ProcessPayment, &[Fault::BreakerOpen]);
    let order = shop.settle("k").await;
    assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::Unavailable)));
    assert_eq!(shop.world.effects(order.id), ["reserved", "released"]);
    let kinds = ["OrderCreated", "StockReserved", "CancellationStarted", "PaymentRefunded", "StockReleased"];
    assert_eq!(shop.kinds(order.id)[..5], kinds);
}

/// The breaker keeps no key, so its refusal does not hold back a request that was sent before it.
#[tokio::test(start_paused = true)]
async fn a_payment_that_was_on_its_way_when_the_breaker_refused_is_never_charged() {
    let shop = Shop::new();
    shop.world.next(Step::ProcessPayment, &[Fault::Delayed(60 * SECOND), Fault::BreakerOpen]);
    let order = shop.settle("k").await;
    assert_eq!(order.cancel_reason, Some(CancelReason::Unavailable));
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(shop.world.effects(order.id), ["reserved", "released"], "the late request found itself blocked");
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_fate_is_lost_once_is_asked_again_and_has_one_effect() {
    for step in [Step::ReserveStock, Step::ProcessPayment, Step::CommitStock] {
        for fault in [Fault::RequestLost, Fault::ReplyLost, Fault::Ongoing(SECOND)] {
            let shop = Shop::new();
            shop.world.next(step, &[fault]);
            let order = shop.settle("k").await;
            assert_eq!(order.status, Status::Confirmed, "{step} {fault:?}");
            assert_eq!(shop.world.effects(order.id), ["reserved", "captured", "sold"], "{step} {fault:?}");
            let first = if matches!(fault, Fault::Ongoing(_)) { "ongoing" } else { "unknown" };
            let attempts = [(1, first.to_owned(), 1), (2, "done".to_owned(), 2)];
            assert_eq!(shop.attempts(order.id, step), attempts, "{step} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_compensation_whose_fate_is_lost_once_is_asked_again_and_has_one_effect() {
    for step in [Step::RefundPayment, Step::ReleaseStock] {
        for fault in [Fault::RequestLost, Fault::ReplyLost] {
            let shop = Shop::new();
            shop.world.always(Step::ProcessPayment, Fault::ReplyLost);
            shop.world.next(step, &[fault]);
            let order = shop.settle("k").await;
            assert_eq!(order.status, Status::Cancelled, "{step} {fault:?}");
            let expected = ["reserved", "captured", "refunded", "released"];
            assert_eq!(shop.world.effects(order.id), expected, "{step} {fault:?}");
            assert_eq!(shop.done(order.id, step), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_forward_step_that_stays_unknown_is_given_up_and_compensated() {
    for step in [Step::ReserveStock, Step::ProcessPayment] {
        for fault in [Fault::RequestLost, Fault::ReplyLost, Fault::Delayed(600 * SECOND)] {
            let shop = Shop::new();
            shop.world.always(step, fault);
            let order = shop.settle("k").await;
            assert_eq!((order.status, order.cancel_reason), (Status::Cancelled, Some(CancelReason::Unavailable)));
            assert_eq!(shop.attempts(order.id, step).len(), 4, "{step}: as many attempts as the settings say");
            let effects = shop.world.effects(order.id);
            tokio::time::sleep(3600 * SECOND).await;
            assert_eq!(shop.world.effects(order.id), effects, "{step}: what comes after the end does nothing");
            assert_eq!(shop.world.units(), 100);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_step_has_all_its_attempts_whatever_the_steps_before_it_took() {
    let shop = Shop::new();
    for step in [Step::ReserveStock, Step::ProcessPayment] {
        shop.world.next(step, &[Fault::RequestLost; 3]);
    }
    let order = shop.settle("k").await;
    assert_eq!(order.status, Status::Confirmed);
    let numbers: Vec<u32> = shop.attempts(order.id, Step::ProcessPayment).iter().map(|attempt| attempt.0).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn an_order_older_than_its_deadline_waits_for_no_ongoing_step() {
    let shop = Shop::new();
    shop.world.always(Step::ProcessPayment, Fault::Ongoing(SECOND));
    let started = Instant::now();
    let order = shop.settle("k").await;
    assert_eq!(order.cancel_reason, Some(CancelReason::Unavailable));
    let took = started.elapsed();
    assert!((30 * SECOND..40 * SECOND).contains(&took), "{took:?}: not before its deadline and soon after");
}

/// Retries come up to twenty seconds apart.
fn calm() -> Setup {
    let mut setup = Setup::new();
    setup.pace.backoff_cap = 20 * SECOND;
    setup
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_fails_for_an_hour_is_done_in_the_end() {
    for step in [Step::RefundPayment, Step::ReleaseStock] {
        let shop = Shop::open(&calm());
        shop.world.always(Step::ProcessPayment, Fault::RequestLost);
        shop.world.always(step, Fault::RequestLost);
        let id = shop.start("k").await;
        tokio::time::sleep(3600 * SECOND).await;
        assert_eq!(shop.desk.get(id).await.unwrap().status, Status::Cancelling, "{step}");
        assert!(shop.attempts(id, step).len() > 100, "{step}: it is asked again and again");
        shop.world.heal();
        assert_eq!(shop.settled(id).await.status, Status::Cancelled, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sale_that_fails_for_an_hour_is_done_in_the_end() {
    let shop = Shop::open(&calm());
    shop.world.always(Step::CommitStock, Fault::RequestLost);
    let id = shop.start("k").await;
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(shop.desk.get(id).await.unwrap().status, Status::Confirmed, "the customer is not kept waiting");
    shop.world.heal();
    assert!(shop.settled(id).await.stock_committed);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_or_loses_its_answer_leaves_the_order_to_its_due_time() {
    for compensated in [false, true] {
        for number in 0..5 {
            for fails in [CommitFails::Before, CommitFails::After] {
                let setup = Setup { commits_fail: BTreeMap::from([(number, fails)]), ..Setup::new() };
                let shop = Shop::open(&setup);
                if compensated {
                    shop.world.always(Step::ProcessPayment, Fault::Declined);
                }
                let order = shop.settle("k").await;
                let expected = if compensated { Status::Cancelled } else { Status::Confirmed };
                assert_eq!(order.status, expected, "commit {number} {fails:?}");
            }
        }
    }
}

/// Commits are counted from 0: the reservation is the first, and what is paid is confirmed in the second.
#[tokio::test(start_paused = true)]
async fn a_local_step_is_in_the_commit_that_it_follows_from() {
    let declined = [Fault::Declined];
    for (faults, failing, kinds) in [
        (&[][..], 1, &["OrderCreated", "StockReserved"][..]),
        (&[], 2, &["OrderCreated", "StockReserved", "PaymentProcessed", "OrderConfirmed"]),
        (&declined, 2, &["OrderCreated", "StockReserved", "CancellationStarted"]),
    ] {
        let commits_fail = BTreeMap::from([(failing, CommitFails::Before)]);
        let shop = Shop::open(&Setup { commits_fail, claims: false, ..Setup::new() });
        shop.world.next(Step::ProcessPayment, faults);
        let id = shop.start("k").await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(shop.kinds(id), kinds, "nothing of commit {failing} is written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_renews_a_lease_only_when_it_is_needed() {
    // Of five seconds; with three and a half or less to go it is renewed.
    for (reserving, due_after) in [(SECOND, 5 * SECOND), (2 * SECOND, 7 * SECOND)] {
        let shop = Shop::open(&Setup { claims: false, ..Setup::new() });
        let began = shop.clock.now();
        shop.world.next(Step::ReserveStock, &[Fault::SlowReply(reserving)]);
        shop.world.next(Step::ProcessPayment, &[Fault::HangBefore]);
        let id = shop.start("k").await;
        shop.world.called(Step::ProcessPayment, 1).await;
        let stored = shop.orders.get(id).await.unwrap().unwrap();
        assert_eq!((stored.order.status, stored.due_at), (Status::Reserved, Some(began.plus(due_after))));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_beyond_those_driven_at_once_has_its_turn_later() {
    let mut setup = Setup::new();
    setup.pace.in_flight_max = 1;
    let shop = Shop::open(&setup);
    shop.world.next(Step::ReserveStock, &[Fault::SlowReply(SECOND)]);
    let (first, second) = (shop.start("a").await, shop.start("b").await);
    for id in [first, second] {
        assert_eq!(shop.settled(id).await.status, Status::Confirmed);
    }
}

/// Its driver is slower than its lease, so another claims the order in the middle of each step.
#[tokio::test(start_paused = true)]
async fn of_two_drivers_of_one_order_one_advances() {
    let forward = [Step::ReserveStock, Step::ProcessPayment, Step::CommitStock];
    for step in forward.into_iter().chain([Step::RefundPayment, Step::ReleaseStock]) {
        for slow in [Fault::SlowReply(8 * SECOND), Fault::SlowRequest(8 * SECOND)] {
            let shop = Shop::open(&Setup { claims: false, ..Setup::new() });
            tokio::spawn(shop.second_driver().run(Default::default()));
            if !forward.contains(&step) {
                shop.world.next(Step::ProcessPayment, &[Fault::ReplyLost; 4]);
            }
            shop.world.next(step, &[slow]);
            let order = shop.settle("k").await;
            tokio::time::sleep(60 * SECOND).await;
            let happened = format!("{step} {slow:?}: {:?}", shop.attempts(order.id, step));
            assert_eq!(shop.desk.get(order.id).await.unwrap(), order, "{happened}");
            assert_eq!(shop.world.calls(order.id).iter().filter(|called| **called == step).count(), 2, "{happened}");
            assert_eq!(shop.done(order.id, step), 1, "{happened}");
            let effects = shop.world.effects(order.id);
            let expected: &[&str] = match forward.contains(&step) {
                true => &["reserved", "captured", "sold"],
                false => &["reserved", "captured", "refunded", "released"],
            };
            assert_eq!(effects, expected, "{happened}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_units_are_sold_once_and_every_unit_is_accounted_for() {
    let shop = Shop::open(&Setup::over(World::with_units(10)));
    for number in 0..30 {
        if number % 3 == 0 {
            shop.world.next(Step::ProcessPayment, &[Fault::Declined]);
        }
        shop.start(&format!("k{number}")).await;
    }
    let mut sold = 0;
    for order in shop.desk.list(None, Default::default(), 100).await.unwrap() {
        sold += i64::from(shop.settled(order.id).await.status == Status::Confirmed);
    }
    assert!(sold > 0);
    assert_eq!(shop.world.units(), 10 - sold);
}

#[tokio::test(start_paused = true)]
async fn one_key_asked_for_at_once_is_one_order() {
    let shop = Shop::new();
    let place = || shop.place("k", 2, 5 * SECOND);
    let answers = tokio::join!(place(), place(), place());
    let answers = [answers.0.unwrap(), answers.1.unwrap(), answers.2.unwrap()];
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    for answer in &answers {
        assert_eq!((answer.order.id, answer.order.status), (answers[0].order.id, Status::Confirmed));
    }
    shop.settled(answers[0].order.id).await;
    assert_eq!(shop.world.units(), 98);
}

#[tokio::test(start_paused = true)]
async fn a_key_asked_for_again_is_the_same_order_whatever_the_order_of_items_and_their_prices() {
    let shop = Shop::new();
    let first = shop.place_items("k", &[(1, 1), (2, 3)], 5 * SECOND).await.unwrap();
    shop.world.set_price(9999);
    let again = shop.place_items("k", &[(2, 1), (1, 1), (2, 2)], 5 * SECOND).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!((again.order.id, again.order.total), (first.order.id, first.order.total));
    assert_eq!(first.order.total.minor, 4000);
    let other_user = order::application::orders::PlaceOrder {
        user: user(2),
        key: "k".into(),
        items: vec![(order::application::ports::ProductRef::Id(kernel::ProductId(1)), 1.try_into().unwrap())],
        wait: NOW,
    };
    assert!(shop.desk.place(other_user).await.unwrap().created, "a key is its user's own");
}

#[tokio::test(start_paused = true)]
async fn a_key_used_for_other_items_is_refused_and_changes_nothing() {
    let shop = Shop::new();
    let first = shop.settle("k").await;
    for items in [&[(1, 2)][..], &[(2, 1)], &[(1, 1), (2, 1)]] {
        assert!(matches!(shop.place_items("k", items, NOW).await, Err(OrderError::KeyReused)), "{items:?}");
    }
    assert_eq!(shop.desk.get(first.id).await.unwrap(), first);
    assert_eq!(shop.world.units(), 99);
}

#[tokio::test(start_paused = true)]
async fn a_key_comes_again_while_the_catalogue_is_down_and_is_answered_with_its_order() {
    let shop = Shop::new();
    let first = shop.settle("k").await;
    shop.world.set_catalogue_down(true);
    let again = shop.place("k", 1, NOW).await.unwrap();
    assert_eq!((again.order, again.created), (first, false));
    assert!(matches!(shop.place_items("k", &[(1, 2)], NOW).await, Err(OrderError::KeyReused)));
}

#[tokio::test(start_paused = true)]
async fn without_prices_there_is_no_order() {
    let shop = Shop::new();
    let answer = shop.place_items("k", &[(1, 1), (5000, 1)], NOW).await;
    assert!(matches!(answer, Err(OrderError::Quote(QuoteError::NoSuchProduct(_)))));
    shop.world.set_catalogue_down(true);
    assert!(matches!(shop.place("k", 1, NOW).await, Err(OrderError::Quote(QuoteError::Unavailable(_)))));
    assert!(shop.desk.list(None, Default::default(), 9).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_is_answered_the_moment_its_order_ends() {
    for (fault, status) in [(Fault::SlowReply(SECOND), Status::Confirmed), (Fault::Declined, Status::Cancelled)] {
        let shop = Shop::new();
        shop.world.next(Step::ProcessPayment, &[fault]);
        shop.world.next(Step::CommitStock, &[Fault::SlowReply(4 * SECOND)]);
        let started = Instant::now();
        let placed = shop.place("k", 1, 30 * SECOND).await.unwrap();
        assert_eq!(placed.order.status, status);
        assert!(started.elapsed() <= SECOND, "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_waited_long_enough_is_told_how_far_it_is() {
    let shop = Shop::new();
    shop.world.next(Step::ProcessPayment, &[Fault::SlowReply(4 * SECOND)]);
    let started = Instant::now();
    let placed = shop.place("k", 1, 2 * SECOND).await.unwrap();
    assert_eq!(placed.order.status, Status::Reserved);
    assert_eq!(started.elapsed().as_secs(), 2);
    let again = shop.place("k", 1, 30 * SECOND).await.unwrap();
    assert_eq!((again.order.status, again.created), (Status::Confirmed, false));
    assert_eq!(started.elapsed().as_secs(), 4, "who asks again waits for the same end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_its_order_on_its_way() {
    let shop = Shop::new();
    shop.world.next(Step::ReserveStock, &[Fault::SlowReply(2 * SECOND)]);
    assert!(tokio::time::timeout(SECOND, shop.place("k", 1, 30 * SECOND)).await.is_err());
    let order = shop.desk.list(None, Default::default(), 9).await.unwrap().pop().unwrap();
    assert_eq!(shop.settled(order.id).await.status, Status::Confirmed);
}

fn event(kind: &str, aggregate: impl ToString) -> Message {
    let event = Event {
        aggregate: aggregate.to_string(),
        version: 1,
        kind: kind.into(),
        data: "{}".into(),
        occurred_at: Default::default(),
        traceparent: None,
    };
    Message { stream: PAYMENTS, sequence: 1, event, deliveries: 1 }
}

#[tokio::test(start_paused = true)]
async fn an_event_wakes_the_unknown_step_before_its_due_time() {
    for (step, kind) in [(Step::ReserveStock, "StockReserved"), (Step::ProcessPayment, "PaymentProcessed")] {
        let shop = Shop::new();
        shop.world.next(step, &[Fault::Ongoing(20 * SECOND)]);
        let id = shop.start("k").await;
        shop.world.called(step, 1).await;
        tokio::time::sleep(SECOND).await;
        let news = WakeOrders { driver: shop.driver.clone(), ignored: Ignored::default() };
        for other in ["PaymentRefunded", "StockReleased", "StockCommitted", "Restocked"] {
            news.handle(&event(other, id)).await.unwrap();
        }
        news.handle(&event(kind, "restock-7")).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(shop.attempts(id, step).len(), 1, "news of other steps and of no order wake nobody");

        let started = Instant::now();
        news.handle(&event(kind, id)).await.unwrap();
        assert_eq!(shop.settled(id).await.status, Status::Confirmed);
        assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_after_the_end_is_ignored_and_counted() {
    let shop = Shop::new();
    let order = shop.settle("k").await;
    let news = WakeOrders { driver: shop.driver.clone(), ignored: Ignored::default() };
    let metrics = Metrics::new("order");
    metrics.register(|registry| news.ignored.register(registry));
    for kind in ["PaymentProcessed", "PaymentFailed", "StockReserved", "StockReleased", "StockCommitted"] {
        for _ in 0..2 {
            news.handle(&event(kind, order.id)).await.unwrap();
        }
    }
    assert_eq!(shop.orders.next_due().await.unwrap(), None);
    assert_eq!(shop.settled(order.id).await, order);
    let counted = counts(&metrics, "order_events_ignored_total");
    assert_eq!(counted, [r#"service="order",why="after_end" 10"#]);

    shop.world.next(Step::ReserveStock, &[Fault::Ongoing(20 * SECOND)]);
    let waiting = shop.start("waits").await;
    shop.world.called(Step::ReserveStock, 2).await;
    tokio::time::sleep(SECOND).await;
    news.handle(&event("PaymentProcessed", waiting)).await.unwrap();
    news.handle(&event("StockReserved", waiting)).await.unwrap();
    news.handle(&event("StockReserved", OrderId::derive("shop", user(9), "never placed"))).await.unwrap();
    let counted = counts(&metrics, "order_events_ignored_total");
    let expected = [("after_end", 10), ("no_order", 1), ("not_awaited", 1)];
    let expected = expected.map(|(why, count)| format!(r#"service="order",why="{why}" {count}"#));
    assert_eq!(counted, expected, "what wakes its order is not ignored");
}

/// The labels and values of a counter, sorted.
fn counts(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.render();
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let mut counts: Vec<String> = lines.map(|line| line.replace('}', "")).collect();
    counts.sort();
    counts
}

/// The answer to the payment comes when its order has been taken back and is at its end.
#[tokio::test(start_paused = true)]
async fn a_reply_after_the_end_is_ignored_and_counted() {
    let shop = Shop::new();
    let metrics = Metrics::new("order");
    metrics.register(|registry| shop.steps.register(registry));
    shop.world.next(Step::ProcessPayment, &[Fault::SlowReply(8 * SECOND)]);
    let id = shop.start("k").await;
    shop.world.called(Step::ProcessPayment, 1).await;
    shop.desk.cancel(id).await.unwrap();
    let order = shop.settled(id).await;
    assert_eq!((order.status, counts(&metrics, "saga_steps_overtaken_total")), (Status::Cancelled, vec![]));
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(counts(&metrics, "saga_steps_overtaken_total"), [r#"service="order",step="process_payment" 1"#]);
    assert_eq!(shop.settled(id).await, order);
}

#[tokio::test(start_paused = true)]
async fn a_key_never_makes_two_orders_whatever_is_remembered_of_it() {
    for keys in [Remembers::Keys, Remembers::Nothing, Remembers::Rumours] {
        let shop = Shop::open(&Setup { keys, ..Setup::new() });
        let place = || shop.place("k", 2, 5 * SECOND);
        let answers = tokio::join!(place(), place());
        let (one, other) = (answers.0.unwrap(), answers.1.unwrap());
        assert!(one.created != other.created && one.order.id == other.order.id, "{keys:?}");
        shop.settled(one.order.id).await;
        let again = place().await.unwrap();
        assert_eq!((again.created, again.order.status), (false, Status::Confirmed), "{keys:?}");
        let reused = shop.place("k", 3, NOW).await;
        assert!(matches!(reused, Err(OrderError::KeyReused)), "{keys:?}: {reused:?}");

        // The catalogue cannot say what the items are, the store can.
        shop.world.set_catalogue_down(true);
        assert!(!shop.place("k", 2, NOW).await.unwrap().created, "{keys:?}");
        assert!(matches!(shop.place("k", 3, NOW).await, Err(OrderError::KeyReused)), "{keys:?}");
        let new = shop.place("new", 1, NOW).await;
        assert!(matches!(new, Err(OrderError::Quote(QuoteError::Unavailable(_)))), "{keys:?}: {new:?}");
        shop.world.set_catalogue_down(false);
        assert!(shop.place("new", 1, NOW).await.unwrap().created, "{keys:?}: what failed may be tried again");
        assert_eq!(shop.desk.list(None, Default::default(), 9).await.unwrap().len(), 2, "{keys:?}");
    }
}
