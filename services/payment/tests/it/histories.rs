//! Any history of payments, compensations and misfortune ends with books that agree.

use std::time::Duration;

use payment::application::pay::Outcome;
use payment::domain::payment::{Settled, State};
use proptest::prelude::*;

use crate::contract::{EURO, events_of, folds_to_the_payment, order, user};
use crate::fakes::{Desk, Pause, WINDOW};

#[derive(Debug, Clone)]
enum Op {
    Pay,
    Refund,
    Return,
    Restart,
    Pause(Pause),
    Down(bool),
    LoseAnswers(bool),
    Decline(bool),
    Wait(Duration),
}

fn any_op() -> impl Strategy<Value = Op> {
    let pauses = vec![Pause::Nowhere, Pause::BeforeTheLedger, Pause::AfterTheLedger];
    prop_oneof![
        6 => Just(Op::Pay),
        2 => Just(Op::Refund),
        1 => Just(Op::Return),
        1 => Just(Op::Restart),
        2 => prop::sample::select(pauses).prop_map(Op::Pause),
        1 => any::<bool>().prop_map(Op::Down),
        1 => any::<bool>().prop_map(Op::LoseAnswers),
        1 => any::<bool>().prop_map(Op::Decline),
        2 => (0..2_u32).prop_map(|halves| Op::Wait(WINDOW * halves / 2 + Duration::from_millis(1))),
    ]
}

/// Whether a compensation was asked for, and whether one was answered as done.
#[derive(Debug, Clone, Copy, Default)]
struct Compensation {
    asked: bool,
    done: bool,
}

/// Plays the history on one order.
async fn play(desk: &mut Desk, ops: Vec<Op>) -> Compensation {
    let mut under_way = Vec::new();
    let mut compensation = Compensation::default();
    for op in ops {
        let payments = desk.payments.clone();
        match op {
            Op::Pay => under_way.push(tokio::spawn(async move {
                payments.process(order(1), user(1), EURO).await.unwrap();
                false
            })),
            Op::Refund => {
                compensation.asked = true;
                under_way.push(tokio::spawn(async move { payments.refund(order(1)).await.is_ok() }));
            }
            // Staff may be refused, or told to ask again; what they began, a later call finishes.
            Op::Return => under_way.push(tokio::spawn(async move {
                let _ = payments.refund_by_staff(order(1), user(7)).await;
                false
            })),
            Op::Restart => desk.restart().await,
            Op::Pause(pause) => desk.provider.set_pause(pause),
            Op::Down(down) => desk.provider.set_down(down),
            Op::LoseAnswers(loses) => desk.provider.set_loses_answers(loses),
            Op::Decline(declines) => desk.provider.set_declines(declines),
            Op::Wait(time) => desk.clock.advance(time),
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    desk.provider.set_down(false);
    desk.provider.set_loses_answers(false);
    desk.provider.set_pause(Pause::Nowhere);
    for work in under_way {
        compensation.done |= work.await.unwrap();
    }
    compensation
}

async fn check(ops: Vec<Op>) {
    let mut desk = Desk::open().await;
    let compensation = play(&mut desk, ops).await;
    desk.clock.advance(WINDOW * 2);
    let outcome = desk.payments.process(order(1), user(1), EURO).await.unwrap();
    assert!(!matches!(outcome, Outcome::Ongoing { .. }), "nothing stays open for ever");
    // A late compensation is asked for again, one that was done is not.
    if compensation.asked && !compensation.done {
        desk.payments.refund(order(1)).await.unwrap();
    }

    let payment = desk.store.find(order(1)).await.unwrap();
    let payment = match payment {
        // Asked for and not answered: they ask again.
        Some(open) if open.refunded_by.is_some() && open.state == State::Captured => {
            Some(desk.payments.refund_by_staff(order(1), user(8)).await.unwrap())
        }
        other => other,
    };
    let (captures, refunds) = desk.provider.lines();
    assert!(captures <= 1 && refunds <= captures, "{captures} captures, {refunds} refunds");
    if compensation.asked {
        assert_eq!(captures, refunds, "a compensated order costs nothing");
    }
    let provider = desk.provider.standing_of(order(1));
    match payment.as_ref().map(|payment| payment.state) {
        Some(State::Captured) => assert_eq!(provider, Some(Settled::Captured)),
        Some(State::Refunded) => assert_eq!(provider, Some(Settled::Refunded)),
        Some(State::Declined | State::Voided) => {
            assert!(matches!(provider, Some(Settled::Declined | Settled::Voided)), "{provider:?}");
        }
        // Blocked, or refused by an open breaker: the provider was never asked.
        Some(State::Blocked) | None => assert_eq!(provider, None),
        Some(State::Intent) => panic!("an intent without a result"),
    }
    folds_to_the_payment(&events_of(&*desk.outbox, order(1)).await, payment.as_ref());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_books_agree_with_the_provider_whatever_happens(ops in prop::collection::vec(any_op(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(ops));
    }
}
