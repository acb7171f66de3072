//! The process is killed in the middle of a saga and another one opens the same files.

use std::time::Duration;

use order::domain::{Order, Status, Step, saga};

use crate::harness::{Setup, Shop};
use crate::world::Fault;

const SECOND: Duration = Duration::from_secs(1);
const FORWARD: [Step; 3] = [Step::ReserveStock, Step::ProcessPayment, Step::CommitStock];
const BACKWARD: [Step; 2] = [Step::RefundPayment, Step::ReleaseStock];

/// Kills the process in `step`, and lets the next one carry the order to its end.
fn killed_in(step: Step, fault: Fault) -> (Setup, Order) {
    let mut setup = Setup::new();
    if BACKWARD.contains(&step) {
        setup.world.next(Step::ProcessPayment, &[Fault::ReplyLost; 4]);
    }
    setup.world.next(step, &[fault]);
    let id = setup.process(async |shop: Shop| {
        let id = shop.start("k").await;
        shop.world.called(step, 1).await;
        id
    });
    let order = setup.process(async |shop: Shop| shop.settled(id).await);
    (setup, order)
}

#[test]
fn an_order_goes_on_from_the_step_its_process_was_killed_in() {
    for step in FORWARD {
        for fault in [Fault::HangBefore, Fault::HangAfter] {
            let (setup, order) = killed_in(step, fault);
            assert_eq!(order.status, Status::Confirmed, "{step} {fault:?}");
            for other in FORWARD {
                let asked = setup.world.calls(order.id).iter().filter(|called| **called == other).count();
                assert_eq!(asked, if other == step { 2 } else { 1 }, "{step} {fault:?}: what is done is not redone");
            }
        }
    }
}

#[test]
fn a_compensation_goes_on_from_where_its_process_was_killed() {
    for step in BACKWARD {
        for fault in [Fault::HangBefore, Fault::HangAfter] {
            let (setup, order) = killed_in(step, fault);
            assert_eq!(order.status, Status::Cancelled, "{step} {fault:?}");
            assert_eq!(setup.world.effects(order.id), ["reserved", "captured", "refunded", "released"]);
            for other in BACKWARD {
                let asked = setup.world.calls(order.id).iter().filter(|called| **called == other).count();
                assert_eq!(asked, if other == step { 2 } else { 1 }, "{step} {fault:?}: what is done is not redone");
            }
        }
    }
}

#[test]
fn an_order_that_was_only_written_down_is_carried_out() {
    let mut setup = Setup::new();
    let id = setup.process(async |shop: Shop| shop.start("k").await);
    assert!(setup.world.calls(id).is_empty(), "killed before the first call");
    assert_eq!(setup.process(async |shop: Shop| shop.settled(id).await).status, Status::Confirmed);
}

#[test]
fn an_order_whose_process_is_killed_in_every_step_still_ends_with_each_effect_once() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for steps in [&FORWARD[..], &BACKWARD[..]] {
            let mut setup = Setup::new();
            if steps == BACKWARD {
                setup.world.next(Step::ProcessPayment, &[Fault::ReplyLost; 4]);
            }
            for step in steps {
                setup.world.next(*step, &[fault, fault]);
            }
            let id = setup.process(async |shop: Shop| shop.start("k").await);
            // Each life is a little longer than a lease: it finds the order due, and hangs.
            while setup.process(async |shop: Shop| {
                tokio::time::sleep(6 * SECOND).await;
                saga::next_step(&shop.orders.get(id).await.unwrap().unwrap().order).is_some()
            }) {}
            for step in steps {
                let asked = setup.world.calls(id).iter().filter(|called| *called == step).count();
                assert_eq!(asked, 3, "{step} {fault:?}: twice killed, once done");
            }
            setup.process(async |shop: Shop| shop.settled(id).await);
        }
    }
}

#[test]
fn a_retry_that_was_due_in_a_killed_process_is_due_in_the_next_one() {
    let mut setup = Setup::new();
    setup.world.next(Step::ProcessPayment, &[Fault::Ongoing(20 * SECOND)]);
    let id = setup.process(async |shop: Shop| {
        let id = shop.start("k").await;
        shop.world.called(Step::ProcessPayment, 1).await;
        tokio::time::sleep(SECOND).await;
        id
    });
    setup.process(async |shop: Shop| {
        tokio::time::sleep(15 * SECOND).await;
        assert_eq!(shop.world.calls(id).len(), 2, "not before its time");
        shop.driver.wake(id, Step::ProcessPayment).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(shop.desk.get(id).await.unwrap().status, Status::Confirmed, "unless an event says so");
        shop.settled(id).await;
    });
}

#[test]
fn a_process_that_is_told_to_stop_finishes_what_it_has_begun() {
    let mut setup = Setup { claims: false, ..Setup::new() };
    setup.world.next(Step::ReserveStock, &[Fault::SlowReply(SECOND)]);
    setup.process(async |shop: Shop| {
        let shutdown = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(shop.driver.clone().run(shutdown.clone()));
        let id = shop.start("k").await;
        shop.world.called(Step::ReserveStock, 1).await;
        shutdown.cancel();
        running.await.unwrap();
        assert_eq!(shop.desk.get(id).await.unwrap().status, Status::Confirmed);
    });
}
