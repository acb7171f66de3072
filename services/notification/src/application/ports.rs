use async_trait::async_trait;
use kernel::{OrderId, Timestamp, UserId};
use store::StoreError;

use crate::domain::{OutgoingMessage, Recipient};

/// The provider's word that it has a message and will deliver it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// When it had the message for the first time.
    pub at: Timestamp,
}

/// The provider did not say that it has the message. It may have it all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message provider did not answer: {0}")]
pub struct ProviderError(pub String);

/// The mail and SMS provider. It knows a message by its event id and its channel.
#[async_trait]
pub trait MessageProvider: Send + Sync + 'static {
    /// Hands messages over, one answer each, in order. MUST accept each (event id, channel) once for
    /// ever: a repetition MUST be answered with the first acceptance and change nothing, whatever else
    /// it says. A message that fails MUST NOT keep the others from being accepted. MUST end within a
    /// bounded time.
    async fn send(&self, batch: &[OutgoingMessage]) -> Vec<Result<Accepted, ProviderError>>;
}

/// Why a customer's address is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    #[error("the user service does not answer: {0}")]
    Unavailable(String),
}

/// Who customers are.
#[async_trait]
pub trait Recipients: Send + Sync + 'static {
    /// Where a customer is reached. An answer may be some minutes old. MUST end within a bounded time.
    ///
    /// # Errors
    /// `NoSuchUser` is final; after `Unavailable` the same question may be asked again.
    async fn of(&self, user: UserId) -> Result<Recipient, RecipientError>;
}

/// Who placed an order.
#[async_trait]
pub trait Buyers: Send + Sync + 'static {
    /// `None` if the order's beginning is not known.
    ///
    /// # Errors
    /// When that cannot be looked up.
    async fn of(&self, order: OrderId) -> Result<Option<UserId>, StoreError>;
}
