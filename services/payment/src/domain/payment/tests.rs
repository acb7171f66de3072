use super::*;
use kernel::Currency;
use proptest::prelude::*;

const EURO: Money = Money::new(100, Currency::EUR);
const NOT_AFTER: i64 = 50;

fn user(number: u128) -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(number))
}

fn order() -> OrderId {
    OrderId::derive("shop", user(1), "key")
}

fn intend(amount: Money) -> Action {
    Action::Intend(Terms { user: user(1), amount, not_after: Timestamp::from_micros(NOT_AFTER) })
}

fn said(settled: Settled, reason: &str, cause: Cause) -> Action {
    let standing = Standing { settled, reference: "acq_1".to_owned(), reason: reason.to_owned() };
    Action::Settle(standing, cause)
}

/// Runs the actions, the first at `from` and each a microsecond later, and answers what became of
/// it: the payment, its events and the refusals.
fn run(from: i64, actions: &[Action]) -> (Option<Payment>, Vec<Event>, Vec<Refusal>) {
    let (mut payment, mut events, mut refusals) = (None, Vec::new(), Vec::new());
    for (at, action) in (from..).zip(actions) {
        let command = Command { order: order(), action: action.clone(), at: Timestamp::from_micros(at) };
        match decide(payment.as_ref(), &command) {
            Ok(caused) => {
                for event in caused {
                    payment = Some(Payment::apply(payment.as_ref(), &event).unwrap());
                    events.push(event);
                }
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    (payment, events, refusals)
}

/// The kinds of the events, and the reason at the end.
fn check(from: i64, actions: &[Action], kinds: &[Kind], reason: &str) {
    let (payment, events, _) = run(from, actions);
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), kinds, "{actions:?}");
    assert_eq!(payment.unwrap().reason, reason, "{actions:?}");
}

#[test]
fn the_providers_word_settles_an_intent() {
    use Kind::{PaymentFailed, PaymentIntended, PaymentProcessed};
    let after = |settled, reason| [intend(EURO), said(settled, reason, Cause::Charge)];
    check(0, &after(Settled::Captured, ""), &[PaymentIntended, PaymentProcessed], "");
    check(0, &after(Settled::Declined, "stolen card"), &[PaymentIntended, PaymentFailed], "stolen card");
    check(0, &after(Settled::Declined, ""), &[PaymentIntended, PaymentFailed], "declined");
    check(0, &after(Settled::Voided, TOO_LATE), &[PaymentIntended, PaymentFailed], TOO_LATE);
}

#[test]
fn a_void_means_what_it_was_asked_for() {
    use Kind::{PaymentFailed, PaymentIntended, PaymentVoided};
    let after = |cause| [intend(EURO), said(Settled::Voided, "voided", cause)];
    check(0, &after(Cause::Compensation), &[PaymentIntended, PaymentVoided], "");
    check(NOT_AFTER, &after(Cause::Expiry), &[PaymentIntended, PaymentFailed], EXPIRED);
    check(0, &after(Cause::Charge), &[PaymentIntended, PaymentVoided], "");
    check(NOT_AFTER, &after(Cause::Charge), &[PaymentIntended, PaymentFailed], EXPIRED);
}

#[test]
fn money_given_back_before_the_capture_was_known_is_told_as_both() {
    use Kind::{PaymentIntended, PaymentProcessed, PaymentRefunded};
    let actions = [intend(EURO), said(Settled::Refunded, "", Cause::Compensation)];
    check(0, &actions, &[PaymentIntended, PaymentProcessed, PaymentRefunded], "");
}

#[test]
fn a_compensation_that_comes_first_blocks_the_late_action() {
    check(0, &[Action::Block, intend(EURO), Action::Block], &[Kind::PaymentBlocked], "");
}

#[test]
fn a_charges_late_answer_does_not_undo_the_refund() {
    let actions =
        [intend(EURO), said(Settled::Refunded, "", Cause::Compensation), said(Settled::Captured, "", Cause::Charge)];
    let (payment, _, refusals) = run(0, &actions);
    assert_eq!(payment.unwrap().state, State::Refunded);
    assert!(refusals.is_empty());
}

#[test]
fn one_order_is_never_asked_for_two_amounts() {
    let (_, events, refusals) = run(0, &[intend(EURO), intend(Money::new(101, Currency::EUR)), intend(EURO)]);
    assert_eq!(events.len(), 1);
    assert_eq!(refusals, [Refusal::OtherTerms]);
}

#[test]
fn money_that_moved_against_the_books_is_no_silent_matter() {
    let voided = [intend(EURO), said(Settled::Voided, "", Cause::Compensation)];
    let (_, _, refusals) = run(0, &[voided.as_slice(), &[said(Settled::Captured, "", Cause::Charge)]].concat());
    let expected = Refusal::Contradiction { state: State::Voided, settled: Settled::Captured };
    assert_eq!(refusals, [expected]);
}

#[test]
fn staff_ask_for_money_back_once_and_the_first_of_them_is_remembered() {
    use Kind::{PaymentIntended, PaymentProcessed, PaymentRefundRequested, PaymentRefunded};
    let wanted = |staff| Action::Return { staff: user(staff) };
    let done = said(Settled::Refunded, "", Cause::Compensation);
    let actions = [intend(EURO), said(Settled::Captured, "", Cause::Charge), wanted(7), wanted(8), done, wanted(9)];
    check(0, &actions, &[PaymentIntended, PaymentProcessed, PaymentRefundRequested, PaymentRefunded], "");
    let (payment, events, refusals) = run(0, &actions);
    assert_eq!(payment.unwrap().refunded_by, Some(user(7)));
    assert_eq!(events.last().unwrap().facts.refunded_by, Some(user(7)));
    assert_eq!(refusals, []);
}

#[test]
fn a_compensations_refund_is_nobodys_decision() {
    let refunded = said(Settled::Refunded, "", Cause::Compensation);
    let (payment, ..) = run(0, &[intend(EURO), refunded, Action::Return { staff: user(7) }]);
    let payment = payment.unwrap();
    assert_eq!((payment.state, payment.refunded_by), (State::Refunded, None));
}

#[test]
fn staff_get_back_only_what_was_captured() {
    let wanted = Action::Return { staff: user(7) };
    let declined = said(Settled::Declined, "", Cause::Charge);
    for (before, expected) in [
        (vec![], Refusal::Unknown),
        (vec![intend(EURO)], Refusal::NotCaptured(State::Intent)),
        (vec![intend(EURO), declined], Refusal::NotCaptured(State::Declined)),
        (vec![Action::Block], Refusal::NotCaptured(State::Blocked)),
    ] {
        let (_, events, refusals) = run(0, &[before.clone(), vec![wanted.clone()]].concat());
        assert_eq!((events.len(), refusals), (before.len(), vec![expected]), "{before:?}");
    }
}

#[test]
fn states_and_kinds_are_read_as_they_are_written() {
    for state in State::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    let settled = prop::sample::select(vec![Settled::Captured, Settled::Declined, Settled::Voided, Settled::Refunded]);
    let cause = prop::sample::select(vec![Cause::Charge, Cause::Expiry, Cause::Compensation]);
    prop_oneof![
        2 => (100..102_i64).prop_map(|minor| intend(Money::new(minor, Currency::EUR))),
        4 => (settled, cause).prop_map(|(settled, cause)| said(settled, "", cause)),
        1 => Just(Action::Block),
        1 => (7..9_u128).prop_map(|staff| Action::Return { staff: user(staff) }),
    ]
}

proptest! {
    #[test]
    fn only_legal_histories_exist_and_they_fold_to_the_payment(
        from in 0..2 * NOT_AFTER,
        actions in prop::collection::vec(any_action(), 0..12),
    ) {
        use Kind::{
            PaymentBlocked, PaymentFailed, PaymentIntended, PaymentProcessed, PaymentRefundRequested, PaymentRefunded,
            PaymentVoided,
        };
        let (payment, events, _) = run(from, &actions);
        let kinds: Vec<Kind> = events.iter().map(|event| event.kind).collect();
        let legal = matches!(
            kinds.as_slice(),
            []
                | [PaymentBlocked | PaymentIntended]
                | [PaymentIntended, PaymentProcessed | PaymentFailed | PaymentVoided]
                | [PaymentIntended, PaymentProcessed, PaymentRefunded | PaymentRefundRequested]
                | [PaymentIntended, PaymentProcessed, PaymentRefundRequested, PaymentRefunded]
        );
        prop_assert!(legal, "{kinds:?}");
        let mut folded = None;
        for event in &events {
            folded = Some(Payment::apply(folded.as_ref(), event).unwrap());
        }
        prop_assert_eq!(folded, payment);
    }

    #[test]
    fn an_event_out_of_place_is_refused_and_not_applied(
        actions in prop::collection::vec(any_action(), 0..6),
        kind in prop::sample::select(Kind::ALL.to_vec()),
    ) {
        let (payment, _, _) = run(0, &actions);
        let facts = first_event(
            &Command { order: order(), action: intend(EURO), at: Timestamp::default() },
            kind,
            None,
        );
        let legal = match payment.as_ref().map(|payment| payment.state) {
            // An intent without terms is refused as well.
            None => kind == Kind::PaymentBlocked,
            Some(State::Intent) => {
                matches!(kind, Kind::PaymentProcessed | Kind::PaymentFailed | Kind::PaymentVoided)
            }
            Some(State::Captured) if kind == Kind::PaymentRefundRequested => {
                payment.as_ref().is_some_and(|payment| payment.refunded_by.is_none())
            }
            Some(State::Captured) => kind == Kind::PaymentRefunded,
            Some(_) => false,
        };
        prop_assert_eq!(Payment::apply(payment.as_ref(), &facts).is_ok(), legal);
    }
}
