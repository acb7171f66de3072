//! `payment.v1.PaymentService`. The two saga operations are for services, a refund on request is for
//! staff; reading is for the owner and for staff.

use std::sync::Arc;

use chassis::auth::Caller;
use eventlog::Event;
use kernel::{Money, OrderId, Timestamp, UserId};
use proto::payment::v1 as wire;
use proto::payment::v1::payment_service_server::PaymentService;
use proto::payment::v1::process_payment_response::Outcome as WireOutcome;
use tonic::{Request, Response, Status};

use crate::adapters::counters::PaymentCounters;
use crate::application::pay::{Outcome, PayError, Payments};
use crate::application::ports::Listing;
use crate::domain::payment::{Payment, Refusal, never_asked};

const PAGE_DEFAULT: u32 = 20;
const PAGE_MAX: u32 = 100;

pub struct Handler {
    payments: Arc<Payments>,
    counters: PaymentCounters,
}

impl Handler {
    pub fn new(payments: Arc<Payments>, counters: PaymentCounters) -> Self {
        Self { payments, counters }
    }

    /// The payment of an order, if the caller may see it.
    async fn seen_by(&self, caller: &Caller, order: &str) -> Result<Payment, Status> {
        if *caller == Caller::Anonymous {
            return Err(Status::unauthenticated("sign in first"));
        }
        let payment = self.payments.find(order_of(order)?).await?;
        let payment = payment.ok_or_else(|| Status::not_found("this order has no payment"))?;
        match payment.terms {
            Some(terms) => caller.require_owner_or_staff(terms.user)?,
            // Nobody's yet: blocked before anybody asked for it.
            None => caller.require_staff()?,
        }
        Ok(payment)
    }
}

impl From<PayError> for Status {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Refused(Refusal::OtherTerms) => {
                Self::invalid_argument("amount, user_id: this order's payment was first asked for with others")
            }
            PayError::Refused(refusal @ Refusal::NotCaptured(_)) => Self::failed_precondition(refusal.to_string()),
            PayError::Refused(Refusal::Unknown) => Self::not_found("this order has no payment"),
            PayError::Refused(refusal) => Self::internal(refusal.to_string()),
            PayError::Provider(_) => Self::unavailable("the payment provider is unavailable, try later"),
            PayError::Busy | PayError::CutOff => Self::unavailable(error.to_string()),
            PayError::Store(error) => error.into(),
        }
    }
}

impl From<Outcome> for wire::ProcessPaymentResponse {
    fn from(outcome: Outcome) -> Self {
        let outcome = match outcome {
            Outcome::Captured { reference } => WireOutcome::Captured(wire::Captured { acquirer_reference: reference }),
            Outcome::Declined { reason } => {
                WireOutcome::Declined(wire::Declined { never_asked: never_asked(&reason), reason })
            }
            Outcome::Unavailable => {
                WireOutcome::Unavailable(wire::Unavailable { message: "payment service unavailable".to_owned() })
            }
            Outcome::Ongoing { retry_after } => {
                let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
                WireOutcome::Ongoing(wire::Ongoing { retry_after_ms })
            }
            Outcome::Blocked => WireOutcome::Blocked(wire::Blocked {}),
        };
        Self { outcome: Some(outcome) }
    }
}

impl From<Payment> for wire::Payment {
    fn from(payment: Payment) -> Self {
        Self {
            order_id: payment.order.to_string(),
            user_id: payment.terms.map(|terms| terms.user.to_string()).unwrap_or_default(),
            amount: payment.terms.map(|terms| proto::common::v1::Money {
                minor: terms.amount.minor,
                currency: terms.amount.currency.to_string(),
            }),
            state: payment.state.as_str().to_owned(),
            acquirer_reference: payment.reference,
            refunded_by: payment.refunded_by.map(|staff| staff.to_string()).unwrap_or_default(),
            created_at_us: payment.created_at.as_micros(),
            updated_at_us: payment.updated_at.as_micros(),
        }
    }
}

fn order_of(text: &str) -> Result<OrderId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("order_id: {error}")))
}

fn user_of(text: &str) -> Result<UserId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("user_id: {error}")))
}

fn amount_of(amount: Option<proto::common::v1::Money>) -> Result<Money, Status> {
    let amount = amount.ok_or_else(|| Status::invalid_argument("amount: is missing"))?;
    if amount.minor <= 0 {
        return Err(Status::invalid_argument("amount: must be more than zero"));
    }
    let currency =
        amount.currency.parse().map_err(|error| Status::invalid_argument(format!("amount.currency: {error}")))?;
    Ok(Money::new(amount.minor, currency))
}

fn listing_of(request: &wire::ListPaymentsRequest) -> Result<Listing, Status> {
    let limit = match request.limit {
        0 => PAGE_DEFAULT,
        limit if limit <= PAGE_MAX => limit,
        _ => return Err(Status::invalid_argument(format!("limit: 1 to {PAGE_MAX} are allowed, 0 means the default"))),
    };
    let user = if request.user_id.is_empty() { None } else { Some(user_of(&request.user_id)?) };
    let after_created = Timestamp::from_micros(request.after_created_us);
    Ok(Listing { user, after_created, limit: limit as usize })
}

#[tonic::async_trait]
impl PaymentService for Handler {
    async fn process_payment(
        &self,
        request: Request<wire::ProcessPaymentRequest>,
    ) -> Result<Response<wire::ProcessPaymentResponse>, Status> {
        Caller::of(&request).require_service()?;
        let request = request.into_inner();
        let (order, user) = (order_of(&request.order_id)?, user_of(&request.user_id)?);
        let outcome = self.payments.process(order, user, amount_of(request.amount)?).await?;
        if outcome == Outcome::Unavailable {
            self.counters.unavailable();
        }
        Ok(Response::new(outcome.into()))
    }

    async fn refund_payment(
        &self,
        request: Request<wire::RefundPaymentRequest>,
    ) -> Result<Response<wire::RefundPaymentResponse>, Status> {
        Caller::of(&request).require_service()?;
        let money_returned = self.payments.refund(order_of(&request.get_ref().order_id)?).await?;
        Ok(Response::new(wire::RefundPaymentResponse { money_returned }))
    }

    async fn refund_by_staff(
        &self,
        request: Request<wire::RefundByStaffRequest>,
    ) -> Result<Response<wire::Payment>, Status> {
        let caller = Caller::of(&request);
        caller.require_staff()?;
        // A person decides this, so it is a person that the books name.
        let staff = caller.require_user()?;
        let payment = self.payments.refund_by_staff(order_of(&request.get_ref().order_id)?, staff).await?;
        Ok(Response::new(payment.into()))
    }

    async fn get_payment(&self, request: Request<wire::GetPaymentRequest>) -> Result<Response<wire::Payment>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(self.seen_by(&caller, &request.get_ref().order_id).await?.into()))
    }

    async fn get_payment_history(
        &self,
        request: Request<wire::GetPaymentHistoryRequest>,
    ) -> Result<Response<wire::GetPaymentHistoryResponse>, Status> {
        let caller = Caller::of(&request);
        let payment = self.seen_by(&caller, &request.get_ref().order_id).await?;
        let events = self.payments.history(payment.order).await?;
        let event = |event: Event| wire::HistoryEvent {
            version: event.version,
            r#type: event.kind,
            occurred_at_us: event.occurred_at.as_micros(),
            data_json: event.data,
        };
        Ok(Response::new(wire::GetPaymentHistoryResponse { events: events.into_iter().map(event).collect() }))
    }

    async fn list_payments(
        &self,
        request: Request<wire::ListPaymentsRequest>,
    ) -> Result<Response<wire::ListPaymentsResponse>, Status> {
        let caller = Caller::of(&request);
        if caller == Caller::Anonymous {
            return Err(Status::unauthenticated("sign in first"));
        }
        let listing = listing_of(request.get_ref())?;
        match listing.user {
            Some(user) => caller.require_owner_or_staff(user)?,
            None => caller.require_staff()?,
        }
        let payments = self.payments.list(&listing).await?.into_iter().map(wire::Payment::from).collect();
        Ok(Response::new(wire::ListPaymentsResponse { payments }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_whose_time_was_over_says_that_the_bank_was_never_asked() {
        for (reason, expected) in [("expired", true), ("too_late", true), ("declined", false), ("", false)] {
            let answer = wire::ProcessPaymentResponse::from(Outcome::Declined { reason: reason.to_owned() });
            let Some(WireOutcome::Declined(declined)) = answer.outcome else { panic!("{reason} is a decline") };
            assert_eq!((declined.reason.as_str(), declined.never_asked), (reason, expected));
        }
    }
}
