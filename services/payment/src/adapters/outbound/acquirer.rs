//! The payment provider as the acquirer's gRPC service.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use chassis::grpc::PeerChannel;
use kernel::{Money, OrderId, Timestamp};
use proto::acquirer::v1 as wire;
use proto::acquirer::v1::acquirer_service_client::AcquirerServiceClient;
use tonic::{Code, Response, Status};

use crate::application::ports::{Provider, ProviderError};
use crate::domain::payment::{Settled, Standing};

pub struct Acquirer {
    client: AcquirerServiceClient<PeerChannel>,
    timeout: Duration,
}

impl Acquirer {
    /// `timeout` bounds each call, connecting included.
    pub fn new(channel: PeerChannel, timeout: Duration) -> Self {
        Self { client: AcquirerServiceClient::new(channel), timeout }
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>> + Send,
    ) -> Result<T, ProviderError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failure(&status)),
            Err(_) => Err(ProviderError::Lost(format!("no answer within {:?}", self.timeout))),
        }
    }
}

/// Only these two say that the provider understood the call and did nothing.
fn failure(status: &Status) -> ProviderError {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition => ProviderError::Refused(text),
        _ => ProviderError::Lost(text),
    }
}

/// `None` for a key that the provider has never seen.
fn standing(state: wire::KeyState, reference: String, reason: String) -> Option<Standing> {
    let settled = match state {
        wire::KeyState::Unspecified => return None,
        wire::KeyState::Captured => Settled::Captured,
        wire::KeyState::Declined => Settled::Declined,
        wire::KeyState::Voided => Settled::Voided,
        wire::KeyState::Refunded => Settled::Refunded,
    };
    Some(Standing { settled, reference, reason })
}

fn stateless() -> ProviderError {
    ProviderError::Lost("an answer without a state".to_owned())
}

#[async_trait]
impl Provider for Acquirer {
    async fn charge(&self, order: OrderId, amount: Money, not_after: Timestamp) -> Result<Standing, ProviderError> {
        let request = wire::ChargeRequest {
            key: order.to_string(),
            amount: Some(proto::common::v1::Money { minor: amount.minor, currency: amount.currency.to_string() }),
            not_after_us: not_after.as_micros(),
        };
        let answer = self.bounded(self.client.clone().charge(request)).await?;
        standing(answer.state(), answer.reference, answer.reason).ok_or_else(stateless)
    }

    async fn void(&self, order: OrderId) -> Result<Standing, ProviderError> {
        let request = wire::VoidRequest { key: order.to_string() };
        let answer = self.bounded(self.client.clone().void(request)).await?;
        standing(answer.state(), answer.reference, String::new()).ok_or_else(stateless)
    }

    async fn refund(&self, order: OrderId) -> Result<String, ProviderError> {
        let request = wire::RefundRequest { key: order.to_string() };
        Ok(self.bounded(self.client.clone().refund(request)).await?.reference)
    }

    async fn status(&self, order: OrderId) -> Result<Option<Standing>, ProviderError> {
        let request = wire::StatusRequest { key: order.to_string() };
        let answer = self.bounded(self.client.clone().status(request)).await?;
        Ok(standing(answer.state(), answer.reference, String::new()))
    }
}
