//! Payments, to look at.

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use proto::payment::v1 as payment;
use serde::Serialize;

use super::Shared;
use super::extract::{Params, SignedIn, cursor, limit};
use super::problem::Problem;
use super::wire::{MoneyJson, Timeline, TimelineQuery, non_empty, time};

#[derive(Debug, Serialize)]
struct PaymentJson {
    order_id: String,
    /// Absent for a payment that was blocked before it had one.
    amount: Option<MoneyJson>,
    state: String,
    acquirer_reference: Option<String>,
    created_at: String,
    updated_at: String,
}

impl TryFrom<payment::Payment> for PaymentJson {
    type Error = Problem;
    fn try_from(payment: payment::Payment) -> Result<Self, Problem> {
        Ok(Self {
            order_id: payment.order_id,
            amount: payment.amount.map(|amount| Some(amount).try_into()).transpose()?,
            state: payment.state,
            acquirer_reference: non_empty(payment.acquirer_reference),
            created_at: time(payment.created_at_us),
            updated_at: time(payment.updated_at_us),
        })
    }
}

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
