//! `acquirer.v1.AcquirerService`. Only services may call it.

use std::sync::Arc;

use chassis::auth::Caller;
use kernel::{Money, Timestamp};
use proto::acquirer::v1 as wire;
use proto::acquirer::v1::acquirer_service_server::AcquirerService;
use tonic::{Request, Response, Status};

use crate::application::acquire::{Acquirer, AcquirerError};
use crate::domain::charge::{Key, Refusal, State};

pub struct Handler {
    acquirer: Arc<Acquirer>,
}

impl Handler {
    pub fn new(acquirer: Arc<Acquirer>) -> Self {
        Self { acquirer }
    }
}

impl From<State> for wire::KeyState {
    fn from(state: State) -> Self {
        match state {
            State::Captured => Self::Captured,
            State::Declined => Self::Declined,
            State::Voided => Self::Voided,
            State::Refunded => Self::Refunded,
        }
    }
}

impl From<AcquirerError> for Status {
    fn from(error: AcquirerError) -> Self {
        match error {
            AcquirerError::Refused(refusal @ Refusal::OtherAmount { .. }) => {
                Self::invalid_argument(refusal.to_string())
            }
            AcquirerError::Refused(refusal @ Refusal::NeverCaptured) => Self::failed_precondition(refusal.to_string()),
            AcquirerError::Busy => Self::resource_exhausted(error.to_string()),
            AcquirerError::CutOff | AcquirerError::Down | AcquirerError::AnswerLost => {
                Self::unavailable(error.to_string())
            }
            AcquirerError::Failed => Self::internal(error.to_string()),
            AcquirerError::Store(error) => error.into(),
        }
    }
}

fn key_of(text: &str) -> Result<Key, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("key: {error}")))
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

#[tonic::async_trait]
impl AcquirerService for Handler {
    async fn charge(&self, request: Request<wire::ChargeRequest>) -> Result<Response<wire::ChargeResponse>, Status> {
        Caller::of(&request).require_service()?;
        let request = request.into_inner();
        let (key, amount) = (key_of(&request.key)?, amount_of(request.amount)?);
        if request.not_after_us <= 0 {
            return Err(Status::invalid_argument("not_after_us: must be a time after 1970"));
        }
        let charge = self.acquirer.charge(key, amount, Timestamp::from_micros(request.not_after_us)).await?;
        let state = wire::KeyState::from(charge.state).into();
        Ok(Response::new(wire::ChargeResponse { state, reference: charge.key.reference(), reason: charge.reason }))
    }

    async fn void(&self, request: Request<wire::VoidRequest>) -> Result<Response<wire::VoidResponse>, Status> {
        Caller::of(&request).require_service()?;
        let charge = self.acquirer.void(key_of(&request.get_ref().key)?).await?;
        let state = wire::KeyState::from(charge.state).into();
        Ok(Response::new(wire::VoidResponse { state, reference: charge.key.reference() }))
    }

    async fn refund(&self, request: Request<wire::RefundRequest>) -> Result<Response<wire::RefundResponse>, Status> {
        Caller::of(&request).require_service()?;
        let charge = self.acquirer.refund(key_of(&request.get_ref().key)?).await?;
        Ok(Response::new(wire::RefundResponse { reference: charge.key.reference() }))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusResponse>, Status> {
        Caller::of(&request).require_service()?;
        let found = self.acquirer.status(&key_of(&request.get_ref().key)?).await?;
        let answer = found.map(|charge| wire::StatusResponse {
            state: wire::KeyState::from(charge.state).into(),
            reference: charge.key.reference(),
        });
        Ok(Response::new(answer.unwrap_or_default()))
    }
}
