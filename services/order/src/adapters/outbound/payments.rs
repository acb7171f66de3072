//! The payment service over gRPC.

use std::time::Duration;

use async_trait::async_trait;
use chassis::grpc::PeerChannel;
use kernel::{Money, OrderId, UserId};
use proto::common::v1 as common;
use proto::payment::v1::payment_service_client::PaymentServiceClient;
use proto::payment::v1::process_payment_response::Outcome;
use proto::payment::v1::{ProcessPaymentRequest, RefundPaymentRequest};

use super::stock::failed;
use crate::application::ports::Payments;
use crate::domain::saga::Done;
use crate::domain::{CancelReason, Reply};

pub struct GrpcPayments {
    client: PaymentServiceClient<PeerChannel>,
}

impl GrpcPayments {
    pub fn new(channel: PeerChannel) -> Self {
        Self { client: PaymentServiceClient::new(channel) }
    }
}

fn meaning(outcome: Option<Outcome>) -> Reply {
    match outcome {
        Some(Outcome::Captured(captured)) => Reply::Done(Done::Paid { reference: captured.acquirer_reference }),
        // The bank was never asked in time: not the customer's fault, so not `declined`.
        Some(Outcome::Declined(refusal)) if refusal.never_asked => Reply::Refused(CancelReason::Unavailable),
        Some(Outcome::Declined(_)) => Reply::Refused(CancelReason::Declined),
        // The breaker is open and this request wrote no intent; one sent before it may do so yet. A
        // compensation came first (`Blocked`) only when this order has been aborted; the write that
        // follows will be refused.
        Some(Outcome::Unavailable(_) | Outcome::Blocked(_)) => Reply::Refused(CancelReason::Unavailable),
        Some(Outcome::Ongoing(ongoing)) => {
            Reply::Ongoing { retry_after: Duration::from_millis(ongoing.retry_after_ms.min(10_000).into()) }
        }
        None => Reply::Unknown { why: "the payment service answered nothing".into() },
    }
}

#[async_trait]
impl Payments for GrpcPayments {
    async fn process(&self, order: OrderId, user: UserId, amount: Money) -> Reply {
        let request = ProcessPaymentRequest {
            order_id: order.to_string(),
            user_id: user.to_string(),
            amount: Some(common::Money { minor: amount.minor, currency: amount.currency.to_string() }),
        };
        match self.client.clone().process_payment(request).await {
            Ok(answer) => meaning(answer.into_inner().outcome),
            Err(status) => failed(&status),
        }
    }

    async fn refund(&self, order: OrderId) -> Reply {
        match self.client.clone().refund_payment(RefundPaymentRequest { order_id: order.to_string() }).await {
            Ok(answer) => Reply::Done(Done::Refunded { money_returned: answer.into_inner().money_returned }),
            Err(status) => failed(&status),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::payment::v1::Declined;

    use super::*;

    #[test]
    fn only_what_the_bank_decided_is_declined_whatever_the_reason_is_called() {
        for (never_asked, reason) in [(false, CancelReason::Declined), (true, CancelReason::Unavailable)] {
            let declined = Declined { reason: "expired".into(), never_asked };
            assert_eq!(meaning(Some(Outcome::Declined(declined))), Reply::Refused(reason));
        }
    }
}
