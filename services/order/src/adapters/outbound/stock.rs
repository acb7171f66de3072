//! The inventory service over gRPC.

use std::error::Error as _;

use async_trait::async_trait;
use chassis::grpc::PeerChannel;
use kernel::OrderId;
use proto::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{self as wire, CommitStockRequest, ReleaseStockRequest, ReserveStockRequest};
use tonic::Code;

use crate::application::ports::Stock;
use crate::domain::saga::Done;
use crate::domain::{CancelReason, Line, Reply};

pub struct GrpcStock {
    client: InventoryServiceClient<PeerChannel>,
}

impl GrpcStock {
    pub fn new(channel: PeerChannel) -> Self {
        Self { client: InventoryServiceClient::new(channel) }
    }
}

/// A participant's explanation is kept up to here.
const WHY_CHARACTERS_MAX: usize = 500;

/// Whatever went wrong, the effect may be there: no status of a saga operation is a refusal. What the
/// participant itself says about the request or about its own state will hardly change by asking again;
/// everything else may pass. A status with a source was made on this side, of a broken connection.
pub(super) fn failed(status: &tonic::Status) -> Reply {
    let why = format!("{:?}: {}", status.code(), status.message()).chars().take(WHY_CHARACTERS_MAX).collect();
    let definite = match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => true,
        // A token may have expired on the way, or the keys of a restarted shop may be others.
        Code::Unauthenticated
        | Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Unavailable => false,
    };
    if definite && status.source().is_none() { Reply::Broken { why } } else { Reply::Unknown { why } }
}

#[async_trait]
impl Stock for GrpcStock {
    async fn reserve(&self, order: OrderId, lines: &[Line]) -> Reply {
        let lines =
            lines.iter().map(|line| wire::Line { product_id: line.product_id.0, quantity: line.quantity.get() });
        let request = ReserveStockRequest { order_id: order.to_string(), lines: lines.collect() };
        match self.client.clone().reserve_stock(request).await {
            Ok(answer) => match answer.into_inner().outcome {
                Some(Outcome::Reserved(_)) => Reply::Done(Done::Plain),
                Some(Outcome::SoldOut(_)) => Reply::Refused(CancelReason::SoldOut),
                // Only a compensation blocks, and only an abort sends one: the order has moved on,
                // and the write that follows from this will be refused.
                Some(Outcome::Blocked(_)) => Reply::Refused(CancelReason::Unavailable),
                None => Reply::Unknown { why: "the inventory service answered nothing".into() },
            },
            Err(status) => failed(&status),
        }
    }

    async fn release(&self, order: OrderId) -> Reply {
        let request = ReleaseStockRequest { order_id: order.to_string() };
        match self.client.clone().release_stock(request).await {
            Ok(answer) => Reply::Done(Done::Released { had_reservation: answer.into_inner().had_reservation }),
            Err(status) => failed(&status),
        }
    }

    async fn commit(&self, order: OrderId) -> Reply {
        match self.client.clone().commit_stock(CommitStockRequest { order_id: order.to_string() }).await {
            Ok(_) => Reply::Done(Done::Plain),
            Err(status) => failed(&status),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tonic::Status;

    use super::*;

    fn is_broken(status: &Status) -> bool {
        matches!(failed(status), Reply::Broken { .. })
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let definite = [3, 5, 6, 7, 9, 11, 12, 13, 15].map(Code::from_i32);
        for number in 0..=16 {
            let code = Code::from_i32(number);
            assert_eq!(is_broken(&Status::new(code, "why")), definite.contains(&code), "{code:?}");
        }
    }

    #[test]
    fn a_connection_that_breaks_is_no_answer_of_the_participant() {
        let mut status = Status::internal("h2 protocol error");
        assert!(is_broken(&status));
        status.set_source(Arc::new(std::io::Error::other("reset")));
        assert!(!is_broken(&status));
    }

    #[test]
    fn a_long_explanation_is_cut() {
        let Reply::Broken { why } = failed(&Status::internal("x".repeat(10_000))) else { panic!("it is definite") };
        assert_eq!(why.len(), WHY_CHARACTERS_MAX);
    }
}
