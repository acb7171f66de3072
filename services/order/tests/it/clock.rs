//! A wall clock that jumps: nothing is due early, nothing comes too late.

use std::time::Duration;

use order::domain::{CancelReason, Status, Step};
use tokio::time::Instant;

use crate::harness::{Setup, Shop};
use crate::world::Fault;

const SECOND: Duration = Duration::from_secs(1);
const HOUR_S: i64 = 3600;

#[tokio::test(start_paused = true)]
async fn an_order_with_time_left_is_not_aborted_by_a_clock_that_jumps_forwards() {
    for fault in [Fault::Ongoing(SECOND), Fault::RequestLost] {
        for step in [Step::ReserveStock, Step::ProcessPayment] {
            let shop = Shop::new();
            shop.world.next(step, &[fault; 2]);
            let id = shop.start("k").await;
            shop.world.called(step, 1).await;
            shop.clock.jump(HOUR_S);
            assert_eq!(shop.settled(id).await.status, Status::Confirmed, "{step} {fault:?}");
        }
    }
}

/// Its time is 30 s, however the clock jumps meanwhile.
#[tokio::test(start_paused = true)]
async fn an_order_is_too_old_after_its_deadline_however_the_clock_jumps() {
    for by in [HOUR_S, -HOUR_S] {
        let shop = Shop::new();
        shop.world.always(Step::ProcessPayment, Fault::Ongoing(SECOND));
        let started = Instant::now();
        let id = shop.start("k").await;
        tokio::time::sleep(5 * SECOND).await;
        shop.clock.jump(by);
        assert_eq!(shop.settled(id).await.cancel_reason, Some(CancelReason::Unavailable), "{by} s");
        let took = started.elapsed();
        assert!((30 * SECOND..40 * SECOND).contains(&took), "{by} s: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_made_when_it_is_due_however_the_clock_jumps() {
    for by in [HOUR_S, -HOUR_S] {
        let shop = Shop::new();
        shop.world.next(Step::ProcessPayment, &[Fault::Ongoing(10 * SECOND)]);
        let started = Instant::now();
        let id = shop.start("k").await;
        shop.world.called(Step::ProcessPayment, 1).await;
        tokio::time::sleep(SECOND).await;
        shop.clock.jump(by);
        shop.world.called(Step::ProcessPayment, 2).await;
        let took = started.elapsed();
        shop.settled(id).await;
        assert!((10 * SECOND..12 * SECOND).contains(&took), "{by} s: {took:?}");
    }
}

/// Over a restart there is nothing but the wall clock: what another life has stored is judged by it.
#[test]
fn a_new_process_takes_the_wall_clock_at_its_word() {
    let mut setup = Setup::new();
    setup.world.always(Step::ProcessPayment, Fault::Ongoing(SECOND));
    let id = setup.process(async |shop: Shop| {
        let id = shop.start("k").await;
        shop.world.called(Step::ProcessPayment, 1).await;
        tokio::time::sleep(SECOND).await;
        shop.clock.jump(HOUR_S);
        id
    });
    setup.process(async |shop: Shop| {
        let started = Instant::now();
        assert_eq!(shop.settled(id).await.cancel_reason, Some(CancelReason::Unavailable));
        assert!(started.elapsed() < 10 * SECOND, "{:?}", started.elapsed());
    });
}
