//! The simulated courier's contract on SQLite, and its manners.

use std::time::Duration;

use notification::application::ports::MessageProvider;
use notification::domain::Channel;

use crate::contract::{accepted, all, message};
use crate::harness::{MANNERS, Setup};

#[test]
fn the_simulated_courier_keeps_the_contract() {
    let mut setup = Setup::new();
    setup.process(async |shop| {
        let other = shop.another_courier();
        all(shop.courier.clone(), other).await;
    });
}

#[test]
fn an_acceptance_outlives_the_process() {
    let mut setup = Setup::new();
    let batch = [message("durable/1", Channel::Email)];
    let first = setup.process(async |shop| accepted(&*shop.courier, &batch).await);
    let again = setup.process(async |shop| accepted(&*shop.courier, &batch).await);
    assert_eq!(first, again);
}

#[test]
fn a_courier_that_fails_half_of_the_time_may_have_accepted_and_never_accepts_twice() {
    let mut setup = Setup::new();
    setup.manners.failure_rate = 0.5;
    setup.process(async |shop| {
        let (mut lost_answers, mut never_received) = (0, 0);
        for number in 0..100 {
            let one = message(&format!("o{number}/1"), Channel::Email);
            if shop.courier.send(std::slice::from_ref(&one)).await[0].is_ok() {
                continue;
            }
            let before = shop.ledger().into_iter().find(|line| line.event_id == one.event_id.as_str());
            match before {
                Some(_) => lost_answers += 1,
                None => never_received += 1,
            }
            let accepted = loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if let Ok(accepted) = shop.courier.send(std::slice::from_ref(&one)).await.remove(0) {
                    break accepted;
                }
            };
            if let Some(line) = before {
                assert_eq!(accepted.at.as_micros(), line.accepted_at, "the first acceptance stands");
            }
        }
        assert_eq!(shop.ledger().len(), 100);
        for count in [lost_answers, never_received] {
            assert!((10..=40).contains(&count), "{lost_answers} answers lost, {never_received} never received");
        }
    });
}

#[test]
fn a_call_takes_its_time_out_of_the_range() {
    let mut setup = Setup::new();
    setup.process(async |shop| {
        for number in 0..20 {
            let started = tokio::time::Instant::now();
            shop.courier.send(&[message(&format!("slow/{number}"), Channel::Email)]).await;
            // The timer's grain is a millisecond, and the two halves are waited for one after the other.
            let took = started.elapsed();
            let grain = Duration::from_millis(2);
            assert!((MANNERS.latency.low..=MANNERS.latency.high + grain).contains(&took), "{took:?}");
        }
    });
}
