//! What can come between the three moments of a payment, and its compensation in all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::{Currency, Money, OrderId};
use payment::application::pay::{Outcome, PayError, Payments};
use payment::application::ports::{Decided, Listing, PaymentStore};
use payment::domain::breaker::{Forced, State as BreakerState};
use payment::domain::payment::{Action, Command, Kind, Payment, Refusal, Settled, State, Terms};
use store::StoreError;
use tokio::time::Instant;

use crate::contract::{EURO, events_of, folds_to_the_payment, order, user};
use crate::fakes::{Desk, Pause, WINDOW};
use crate::harness::PATIENCE;

const ALMOST: Duration = Duration::from_millis(1);

impl Desk {
    pub async fn pay(&self, number: u128) -> Outcome {
        self.payments.process(order(number), user(1), EURO).await.unwrap()
    }

    /// Pays in a task of its own and waits until the charge stands at its pause.
    pub async fn pay_and_pause(&self, pause: Pause) -> tokio::task::JoinHandle<Outcome> {
        self.provider.set_pause(pause);
        let payments = self.payments.clone();
        let paying = tokio::spawn(async move { payments.process(order(1), user(1), EURO).await.unwrap() });
        self.provider.a_charge_waits().await;
        paying
    }

    pub async fn state(&self) -> Option<State> {
        self.store.find(order(1)).await.unwrap().map(|payment| payment.state)
    }

    pub async fn kinds(&self) -> Vec<Kind> {
        let events = events_of(&*self.outbox, order(1)).await;
        folds_to_the_payment(&events, self.store.find(order(1)).await.unwrap().as_ref());
        events.into_iter().map(|event| event.kind).collect()
    }
}

pub fn captured() -> Outcome {
    Outcome::Captured { reference: format!("ref-{}", order(1)) }
}

fn declined(reason: &str) -> Outcome {
    Outcome::Declined { reason: reason.to_owned() }
}

fn is_ongoing(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Ongoing { .. })
}

#[tokio::test]
async fn a_repetition_answers_what_the_first_call_decided() {
    for (declines, expected) in [(false, captured()), (true, declined("declined"))] {
        let desk = Desk::open().await;
        desk.provider.set_declines(declines);
        assert_eq!(desk.pay(1).await, expected);
        desk.provider.set_declines(!declines);
        assert_eq!(desk.pay(1).await, expected);
        assert_eq!(desk.provider.charge_calls(), 1);
    }
}

#[tokio::test]
async fn concurrent_duplicates_make_one_charge_and_hear_one_answer() {
    let desk = Desk::open().await;
    let first = desk.pay_and_pause(Pause::BeforeTheLedger).await;
    let again = desk.payments.clone();
    let again = tokio::spawn(async move { again.process(order(1), user(1), EURO).await.unwrap() });
    tokio::task::yield_now().await;
    desk.provider.set_pause(Pause::Nowhere);
    assert_eq!(first.await.unwrap(), captured());
    assert_eq!(again.await.unwrap(), captured());
    assert_eq!(desk.provider.charge_calls(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_asking_again() {
    let desk = Desk::open().await;
    desk.provider.set_loses_answers(true);
    let first = desk.pay(1).await;
    assert_eq!(first, Outcome::Ongoing { retry_after: Duration::from_millis(250) });
    desk.provider.set_loses_answers(false);
    assert_eq!(desk.pay(1).await, captured());
    assert_eq!(desk.provider.lines(), (1, 0));
}

#[tokio::test]
async fn a_charge_that_never_arrived_stays_open_until_its_time_is_over() {
    let desk = Desk::open().await;
    desk.provider.set_down(true);
    assert!(is_ongoing(&desk.pay(1).await));
    desk.provider.set_down(false);
    desk.clock.advance(WINDOW);
    assert!(is_ongoing(&desk.pay(1).await), "it could still arrive");
    desk.clock.advance(ALMOST);
    assert_eq!(desk.pay(1).await, declined("expired"));
    assert_eq!(desk.pay(1).await, declined("expired"));
    assert_eq!(desk.provider.standing_of(order(1)), Some(Settled::Voided));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentFailed]);
}

#[tokio::test]
async fn an_expired_charge_that_had_arrived_is_captured() {
    let desk = Desk::open().await;
    desk.provider.set_loses_answers(true);
    assert!(is_ongoing(&desk.pay(1).await));
    desk.clock.advance(WINDOW + ALMOST);
    assert!(is_ongoing(&desk.pay(1).await), "a void without an answer decides nothing");
    desk.provider.set_loses_answers(false);
    assert_eq!(desk.pay(1).await, captured());
    assert_eq!(desk.provider.lines(), (1, 0));
}

#[tokio::test]
async fn a_charge_that_comes_too_late_is_declined() {
    let desk = Desk::open().await;
    let paying = desk.pay_and_pause(Pause::BeforeTheLedger).await;
    desk.clock.advance(WINDOW + ALMOST);
    desk.provider.set_pause(Pause::Nowhere);
    assert_eq!(paying.await.unwrap(), declined("too_late"));
    assert_eq!(desk.provider.lines(), (0, 0));
}

#[tokio::test]
async fn after_a_crash_before_the_call_one_waits_for_the_window_to_close() {
    let desk = Desk::open().await;
    let at = chassis::Clock::now(&*desk.clock);
    let terms = Terms { user: user(1), amount: EURO, not_after: at.plus(WINDOW) };
    desk.store.execute(&[Command { order: order(1), action: Action::Intend(terms), at }]).await.unwrap();
    assert!(is_ongoing(&desk.pay(1).await));
    desk.clock.advance(WINDOW + ALMOST);
    assert_eq!(desk.pay(1).await, declined("expired"));
    assert_eq!(desk.provider.charge_calls(), 0);
}

#[tokio::test]
async fn after_a_crash_between_the_charge_and_its_result_the_result_is_found() {
    let mut desk = Desk::open().await;
    let paying = desk.pay_and_pause(Pause::AfterTheLedger).await;
    desk.restart().await;
    assert_eq!(desk.pay(1).await, captured());
    assert_eq!(desk.provider.lines(), (1, 0));
    // The one from before the crash comes late and changes nothing.
    desk.provider.set_pause(Pause::Nowhere);
    assert_eq!(paying.await.unwrap(), captured());
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed]);
}

/// A store in which another instance always writes between this one's reading and its writing.
struct Outrun(Arc<dyn PaymentStore>, AtomicBool);

#[async_trait]
impl PaymentStore for Outrun {
    async fn execute(&self, commands: &[Command]) -> Result<Vec<Result<Decided, Refusal>>, StoreError> {
        if !self.1.swap(true, Ordering::Relaxed) {
            self.0.execute(commands).await?;
        }
        self.0.execute(commands).await
    }
    async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError> {
        self.0.find(order).await
    }
    async fn history(&self, order: OrderId) -> Result<Vec<eventlog::Event>, StoreError> {
        self.0.history(order).await
    }
    async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError> {
        self.0.list(listing).await
    }
}

#[tokio::test]
async fn an_intent_of_another_instance_is_not_charged_by_this_one() {
    let desk = Desk::open().await;
    let store = Arc::new(Outrun(desk.store.clone(), AtomicBool::new(false)));
    let payments = Payments::new(store, desk.provider.clone(), desk.breaker.clone(), desk.clock.clone(), WINDOW);
    assert!(is_ongoing(&payments.process(order(1), user(1), EURO).await.unwrap()));
    assert_eq!(desk.provider.charge_calls(), 0);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_stop_the_payment() {
    let desk = Desk::open().await;
    let paying = desk.pay_and_pause(Pause::BeforeTheLedger).await;
    paying.abort();
    assert!(paying.await.is_err());
    desk.provider.set_pause(Pause::Nowhere);
    let deadline = Instant::now() + PATIENCE;
    while desk.state().await != Some(State::Captured) {
        assert!(Instant::now() < deadline, "the payment was abandoned");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stopping_waits_for_the_payments_under_way_and_begins_no_new_one() {
    let desk = Desk::open().await;
    let paying = desk.pay_and_pause(Pause::BeforeTheLedger).await;
    let payments = desk.payments.clone();
    let finishing = tokio::spawn(async move { payments.finish().await });
    tokio::task::yield_now().await;
    assert!(!finishing.is_finished());
    assert!(matches!(desk.payments.process(order(2), user(1), EURO).await, Err(PayError::Busy)));
    desk.provider.set_pause(Pause::Nowhere);
    assert_eq!(paying.await.unwrap(), captured());
    finishing.await.unwrap();
}

#[tokio::test]
async fn a_compensation_that_comes_first_blocks_its_late_action() {
    let desk = Desk::open().await;
    assert!(!desk.payments.refund(order(1)).await.unwrap());
    assert_eq!(desk.pay(1).await, Outcome::Blocked);
    assert!(!desk.payments.refund(order(1)).await.unwrap());
    assert_eq!(desk.provider.charge_calls(), 0);
    assert_eq!(desk.kinds().await, [Kind::PaymentBlocked]);
}

#[tokio::test]
async fn an_abort_between_the_intent_and_the_charge_leaves_no_charge() {
    let desk = Desk::open().await;
    let paying = desk.pay_and_pause(Pause::BeforeTheLedger).await;
    assert!(!desk.payments.refund(order(1)).await.unwrap());
    assert_eq!(desk.state().await, Some(State::Voided));
    desk.provider.set_pause(Pause::Nowhere);
    assert_eq!(paying.await.unwrap(), Outcome::Blocked);
    assert_eq!(desk.provider.lines(), (0, 0));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentVoided]);
}

#[tokio::test]
async fn an_abort_between_the_charge_and_its_result_gives_the_money_back() {
    let desk = Desk::open().await;
    let paying = desk.pay_and_pause(Pause::AfterTheLedger).await;
    assert!(desk.payments.refund(order(1)).await.unwrap());
    desk.provider.set_pause(Pause::Nowhere);
    assert_eq!(paying.await.unwrap(), Outcome::Blocked, "the late result does not undo the refund");
    assert_eq!(desk.provider.lines(), (1, 1));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed, Kind::PaymentRefunded]);
}

#[tokio::test]
async fn a_captured_payment_is_given_back_once_and_a_late_action_is_refused() {
    let desk = Desk::open().await;
    desk.pay(1).await;
    let refunds = (0..5).map(|_| {
        let payments = desk.payments.clone();
        tokio::spawn(async move { payments.refund(order(1)).await.unwrap() })
    });
    for refund in refunds.collect::<Vec<_>>() {
        assert!(refund.await.unwrap(), "duplicates answer what the first one did");
    }
    assert_eq!(desk.pay(1).await, Outcome::Blocked);
    assert_eq!(desk.provider.lines(), (1, 1));
    assert_eq!(desk.kinds().await, [Kind::PaymentIntended, Kind::PaymentProcessed, Kind::PaymentRefunded]);
}

#[tokio::test]
async fn a_declined_payment_has_nothing_to_give_back() {
    let desk = Desk::open().await;
    desk.provider.set_declines(true);
    desk.pay(1).await;
    assert!(!desk.payments.refund(order(1)).await.unwrap());
    assert_eq!(desk.state().await, Some(State::Declined));
}

#[tokio::test]
async fn a_compensation_is_late_while_the_provider_is_down_and_done_when_it_is_back() {
    for captured_first in [true, false] {
        let desk = Desk::open().await;
        desk.provider.set_loses_answers(!captured_first);
        desk.pay(1).await;
        desk.provider.set_loses_answers(false);
        desk.provider.set_down(true);
        let before = desk.state().await;
        assert!(matches!(desk.payments.refund(order(1)).await, Err(PayError::Provider(_))));
        assert_eq!(desk.state().await, before);
        desk.provider.set_down(false);
        assert!(desk.payments.refund(order(1)).await.unwrap());
        assert_eq!(desk.provider.lines(), (1, 1));
    }
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_not_made_twice() {
    let desk = Desk::open().await;
    desk.pay(1).await;
    desk.provider.set_loses_answers(true);
    assert!(desk.payments.refund(order(1)).await.is_err());
    desk.provider.set_loses_answers(false);
    assert!(desk.payments.refund(order(1)).await.unwrap());
    assert_eq!(desk.provider.lines(), (1, 1));
}

#[tokio::test]
async fn an_open_breaker_refuses_before_an_intent_is_written() {
    let desk = Desk::open().await;
    desk.breaker.force(Some(Forced::Open));
    assert_eq!(desk.pay(1).await, Outcome::Unavailable);
    assert_eq!(desk.state().await, None);
    assert_eq!(desk.provider.charge_calls(), 0);
}

#[tokio::test]
async fn an_open_breaker_stops_neither_known_answers_nor_compensations() {
    let desk = Desk::open().await;
    desk.provider.set_loses_answers(true);
    desk.pay(1).await;
    desk.provider.set_loses_answers(false);
    desk.breaker.force(Some(Forced::Open));
    assert_eq!(desk.pay(1).await, captured());
    assert!(desk.payments.refund(order(1)).await.unwrap());
}

#[tokio::test]
async fn lost_answers_open_the_breaker_and_it_tells_how() {
    let desk = Desk::open().await;
    desk.provider.set_down(true);
    for number in 1..=4 {
        assert!(is_ongoing(&desk.pay(number).await));
    }
    assert_eq!(desk.pay(5).await, Outcome::Unavailable);
    let snapshot = desk.breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.counts), (BreakerState::Open, [0, 1, 0]));
    assert_eq!(snapshot.transitions[0].why, "4 of 4 calls failed");
}

#[tokio::test]
async fn declines_do_not_open_the_breaker() {
    let desk = Desk::open().await;
    desk.provider.set_declines(true);
    for number in 1..=20 {
        assert_eq!(desk.pay(number).await, declined("declined"));
    }
    assert_eq!(desk.breaker.snapshot().state, BreakerState::Closed);
}

#[tokio::test]
async fn the_memory_of_transitions_is_bounded() {
    let desk = Desk::open().await;
    for _ in 0..200 {
        desk.breaker.force(Some(Forced::Open));
        desk.breaker.force(Some(Forced::Closed));
    }
    let snapshot = desk.breaker.snapshot();
    assert_eq!((snapshot.transitions.len(), snapshot.counts), (256, [200, 200, 0]));
}

#[tokio::test]
async fn an_order_is_not_paid_with_two_amounts() {
    let desk = Desk::open().await;
    desk.pay(1).await;
    let other = desk.payments.process(order(1), user(1), Money::new(101, Currency::EUR)).await;
    assert!(matches!(other, Err(PayError::Refused(Refusal::OtherTerms))));
    let other = desk.payments.process(order(1), user(2), EURO).await;
    assert!(matches!(other, Err(PayError::Refused(Refusal::OtherTerms))));
}
