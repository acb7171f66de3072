//! The inventory service over gRPC.

use async_trait::async_trait;
use chassis::grpc::PeerChannel;
use kernel::OrderId;
use proto::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{self as wire, CommitStockRequest, ReleaseStockRequest, ReserveStockRequest};

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

/// Whatever went wrong, the effect may be there: no status of a saga operation is a refusal.
pub(super) fn unknown(status: &tonic::Status) -> Reply {
    Reply::Unknown { why: format!("{:?}: {}", status.code(), status.message()) }
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
            Err(status) => unknown(&status),
        }
    }

    async fn release(&self, order: OrderId) -> Reply {
        let request = ReleaseStockRequest { order_id: order.to_string() };
        match self.client.clone().release_stock(request).await {
            Ok(answer) => Reply::Done(Done::Released { had_reservation: answer.into_inner().had_reservation }),
            Err(status) => unknown(&status),
        }
    }

    async fn commit(&self, order: OrderId) -> Reply {
        match self.client.clone().commit_stock(CommitStockRequest { order_id: order.to_string() }).await {
            Ok(_) => Reply::Done(Done::Plain),
            Err(status) => unknown(&status),
        }
    }
}
