//! What staff decide: giving the money of a captured payment back.

use chassis::auth::Role;
use payment::application::pay::PayError;
use payment::domain::payment::{Kind, Refusal, State};
use proto::payment::v1::{GetPaymentHistoryRequest, RefundByStaffRequest};
use tonic::Code;

use crate::contract::{order, user};
use crate::fakes::Desk;
use crate::harness::start;
use crate::moments::captured;
use crate::service::{FAST, pay, refund, state};

#[tokio::test]
async fn money_goes_back_once_however_often_staff_ask() {
    let desk = Desk::open().await;
    assert_eq!(desk.pay(1).await, captured());
    for staff in [7, 8] {
        let payment = desk.payments.refund_by_staff(order(1), user(staff)).await.unwrap();
        assert_eq!((payment.state, payment.refunded_by), (State::Refunded, Some(user(7))));
    }
    assert_eq!(desk.provider.lines(), (1, 1));
    let [.., wanted, done] = desk.kinds().await[..] else { panic!("too few events") };
    assert_eq!((wanted, done), (Kind::PaymentRefundRequested, Kind::PaymentRefunded));
}

#[tokio::test]
async fn who_wanted_it_is_written_down_before_the_provider_is_asked_and_asking_again_finishes_it() {
    let mut desk = Desk::open().await;
    desk.pay(1).await;
    desk.provider.set_loses_answers(true);
    let lost = desk.payments.refund_by_staff(order(1), user(7)).await;
    assert!(matches!(lost, Err(PayError::Provider(_))), "{lost:?}");
    assert_eq!(desk.kinds().await.last(), Some(&Kind::PaymentRefundRequested));
    desk.restart().await;
    desk.provider.set_loses_answers(false);
    let payment = desk.payments.refund_by_staff(order(1), user(8)).await.unwrap();
    assert_eq!((payment.state, payment.refunded_by), (State::Refunded, Some(user(7))));
    assert_eq!(desk.provider.lines(), (1, 1));
}

#[tokio::test]
async fn a_compensation_after_staffs_refund_finds_the_money_returned() {
    let desk = Desk::open().await;
    desk.pay(1).await;
    desk.payments.refund_by_staff(order(1), user(7)).await.unwrap();
    assert!(desk.payments.refund(order(1)).await.unwrap());
    assert_eq!(desk.provider.lines(), (1, 1));
}

#[tokio::test]
async fn what_was_never_captured_is_not_given_back_and_not_blocked_either() {
    let desk = Desk::open().await;
    let refused = desk.payments.refund_by_staff(order(1), user(7)).await;
    assert!(matches!(refused, Err(PayError::Refused(Refusal::Unknown))), "{refused:?}");
    assert_eq!(desk.pay(1).await, captured(), "a mistake of staff's does not block the payment");
}

#[tokio::test]
async fn only_people_on_the_staff_refund_and_the_owner_reads_the_history() {
    let running = start(&[FAST]).await;
    pay(&mut running.client(), 1).await;
    let request = || RefundByStaffRequest { order_id: order(1).to_string() };
    let as_service = running.client().refund_by_staff(request()).await.unwrap_err();
    assert_eq!(as_service.code(), Code::PermissionDenied, "a service has no name to write down");
    let mut client = running.client_of_caller();
    assert_eq!(client.refund_by_staff(request()).await.unwrap_err().code(), Code::Unauthenticated);
    let owner = running.context_of(user(1), Role::Customer);
    let refused = owner.clone().scope(client.refund_by_staff(request())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let staff = running.context_of(user(9), Role::Staff);
    let payment = staff.clone().scope(client.refund_by_staff(request())).await.unwrap().into_inner();
    assert_eq!((payment.state, payment.refunded_by), ("refunded".to_owned(), user(9).to_string()));
    let none = RefundByStaffRequest { order_id: order(2).to_string() };
    let unknown = staff.clone().scope(client.refund_by_staff(none)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let history = || GetPaymentHistoryRequest { order_id: order(1).to_string() };
    let events = owner.scope(client.get_payment_history(history())).await.unwrap().into_inner().events;
    let kinds: Vec<&str> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(kinds, ["PaymentIntended", "PaymentProcessed", "PaymentRefundRequested", "PaymentRefunded"]);
    let stranger = running.context_of(user(2), Role::Customer);
    let refused = stranger.scope(client.get_payment_history(history())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_declined_payment_has_nothing_to_give_back() {
    let running = start(&[FAST, ("acquirer.decline_rate", "1")]).await;
    pay(&mut running.client(), 1).await;
    let staff = running.context_of(user(9), Role::Staff);
    let request = RefundByStaffRequest { order_id: order(1).to_string() };
    let refused = staff.scope(running.client_of_caller().refund_by_staff(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("declined"), "{}", refused.message());
    assert!(!refund(&mut running.client(), 1).await.unwrap());
    assert_eq!(state(&mut running.client(), 1).await, Ok("declined".to_owned()));
}
