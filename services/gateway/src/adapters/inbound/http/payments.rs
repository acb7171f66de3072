//! Payments, to look at and to give back.

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use proto::payment::v1 as payment;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{OptionalJson, Params, PaymentPath, Segment, SignedIn, Staff, cursor, limit};
use super::problem::Problem;
use super::wire::{MoneyJson, Timeline, TimelineQuery, non_empty, time};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(super) struct PaymentJson {
    #[schema(format = "uuid")]
    order_id: String,
    /// `null` for a payment that was blocked before it had one.
    amount: Option<MoneyJson>,
    /// `intent`, `captured`, `declined`, `voided`, `refunded` or `blocked`.
    state: String,
    /// What the payment provider calls the charge; `null` until it has answered.
    acquirer_reference: Option<String>,
    /// The member of staff who had the money given back; `null` for anybody else's refund.
    #[schema(format = "uuid")]
    refunded_by: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What has happened to one payment, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentHistory)]
pub(super) struct PaymentHistoryJson {
    #[schema(format = "uuid")]
    order_id: String,
    events: Vec<PaymentEventJson>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentEvent)]
pub(super) struct PaymentEventJson {
    version: i64,
    r#type: String,
    #[schema(format = DateTime)]
    occurred_at: String,
    /// The event's facts.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl TryFrom<payment::HistoryEvent> for PaymentEventJson {
    type Error = Problem;
    fn try_from(event: payment::HistoryEvent) -> Result<Self, Problem> {
        let data = serde_json::from_str(&event.data_json)
            .map_err(|_| Problem::broken_answer("an event whose data is not JSON"))?;
        Ok(Self { version: event.version, r#type: event.r#type, occurred_at: time(event.occurred_at_us), data })
    }
}

impl TryFrom<payment::Payment> for PaymentJson {
    type Error = Problem;
    fn try_from(payment: payment::Payment) -> Result<Self, Problem> {
        Ok(Self {
            order_id: payment.order_id,
            amount: payment.amount.map(|amount| Some(amount).try_into()).transpose()?,
            state: payment.state,
            acquirer_reference: non_empty(payment.acquirer_reference),
            refunded_by: non_empty(payment.refunded_by),
            created_at: time(payment.created_at_us),
            updated_at: time(payment.updated_at_us),
        })
    }
}

/// The caller's payments, oldest first; for staff everybody's, or one user's.
#[utoipa::path(get, operation_id = "listPayments", path = "/payments", tag = "payments", params(TimelineQuery), responses(
    (status = 200, description = "A page of payments", body = Timeline<PaymentJson>),
))]
pub(super) async fn list(
    State(gateway): State<Shared>,
    caller: SignedIn,
    Params(query): Params<TimelineQuery>,
) -> Result<Response, Problem> {
    let (user_id, limit) = (caller.listing_of(query.user_id)?, limit(query.limit.as_deref())?);
    let after_created_us = cursor("after", query.after.as_deref())?;
    let request = gateway.clients.request(payment::ListPaymentsRequest { user_id, after_created_us, limit });
    let payments = gateway.clients.payments.clone().list_payments(request).await?.into_inner().payments;
    let last_us = payments.last().map(|payment| payment.created_at_us);
    let items: Result<Vec<_>, _> = payments.into_iter().map(PaymentJson::try_from).collect();
    Ok(Reply(Timeline::new(items?, limit, last_us)).into_response())
}

/// The payment of an order, for its owner and for staff.
#[utoipa::path(get, operation_id = "getPayment", path = "/payments/{order}", tag = "payments", params(PaymentPath), responses(
    (status = 200, description = "The payment", body = PaymentJson),
))]
pub(super) async fn read(State(gateway): State<Shared>, _: SignedIn, order: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(payment::GetPaymentRequest { order_id: order.order()? });
    let payment = gateway.clients.payments.clone().get_payment(request).await?.into_inner();
    Ok(Reply(PaymentJson::try_from(payment)?).into_response())
}

/// What has happened to an order's payment, for its owner and for staff.
#[utoipa::path(get, operation_id = "getPaymentHistory", path = "/payments/{order}/history", tag = "payments", params(PaymentPath), responses(
    (status = 200, description = "Its events", body = PaymentHistoryJson),
))]
pub(super) async fn history(State(gateway): State<Shared>, _: SignedIn, order: Segment) -> Result<Response, Problem> {
    let order_id = order.order()?;
    let request = gateway.clients.request(payment::GetPaymentHistoryRequest { order_id: order_id.clone() });
    let events = gateway.clients.payments.clone().get_payment_history(request).await?.into_inner().events;
    let events: Result<Vec<_>, _> = events.into_iter().map(PaymentEventJson::try_from).collect();
    Ok(Reply(PaymentHistoryJson { order_id, events: events? }).into_response())
}

/// How much is given back: everything. There is nothing to choose yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object without fields")]
#[schema(as = Refund)]
pub(super) struct Refund {}

/// Gives the money of a captured payment back, all of it.
///
/// Staff only; repeatable: money that went back already is answered with 200 as well. The order stays as it is, its
/// units too. After 503 or 504 it is not known whether the money went back; the same call, made again, finds out.
#[utoipa::path(post, operation_id = "refundPayment", path = "/payments/{order}/refund", tag = "payments", params(PaymentPath), request_body = Option<Refund>, responses(
    (status = 200, description = "The payment, given back", body = PaymentJson),
    (status = 409, description = "Nothing was captured (`not-possible-now`)"),
))]
pub(super) async fn refund(
    State(gateway): State<Shared>,
    _: Staff,
    order: Segment,
    // Read so that an amount is not overlooked, and everything given back.
    _: OptionalJson<Refund>,
) -> Result<Response, Problem> {
    let request = gateway.clients.request(payment::RefundByStaffRequest { order_id: order.order()? });
    let payment = gateway.clients.payments.clone().refund_by_staff(request).await?.into_inner();
    Ok(Reply(PaymentJson::try_from(payment)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_that_was_blocked_before_it_had_an_amount_is_shown_without_one() {
        let blocked = payment::Payment { state: "blocked".into(), ..payment::Payment::default() };
        let shown = serde_json::to_value(PaymentJson::try_from(blocked).ok()).unwrap();
        assert_eq!((&shown["state"], &shown["amount"]), (&"blocked".into(), &serde_json::Value::Null));
    }
}
