use async_trait::async_trait;
use eventlog::Event;
use kernel::{Money, OrderId, Timestamp, UserId};
use store::StoreError;

use crate::domain::payment::{Command, Payment, Refusal, Standing};

/// A payment after a command, and whether that command changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub payment: Payment,
    pub changed: bool,
}

/// A page of payments, by time of creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// `None`: everybody's.
    pub user: Option<UserId>,
    /// Only payments created later than this.
    pub after_created: Timestamp,
    pub limit: usize,
}

/// Where payments are kept, together with their outbox.
#[async_trait]
pub trait PaymentStore: Send + Sync + 'static {
    /// Executes the commands in the given order, one answer each. MUST decide by
    /// [`crate::domain::payment::decide`] on the latest committed state, which includes the commands
    /// before it in the batch, and MUST commit the payment together with its events before it
    /// answers; between reading and committing nobody else may write that payment. A refused command
    /// MUST NOT keep the others from being executed.
    ///
    /// # Errors
    /// When it is not known of each whether it was written: the same commands, given again, find out.
    async fn execute(&self, commands: &[Command]) -> Result<Vec<Result<Decided, Refusal>>, StoreError>;

    /// The payment of an order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn find(&self, order: OrderId) -> Result<Option<Payment>, StoreError>;

    /// What has happened to the payment of an order, oldest first: a handful of events at most; none if there is
    /// no payment.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn history(&self, order: OrderId) -> Result<Vec<Event>, StoreError>;

    /// Payments, oldest first, those of one moment by order id.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list(&self, listing: &Listing) -> Result<Vec<Payment>, StoreError>;
}

/// Why the provider did not say where a charge stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No answer, or none of use: the call may have had its effect.
    #[error("the payment provider did not answer: {0}")]
    Lost(String),
    /// It answered that the call makes no sense; it had no effect.
    #[error("the payment provider refused the call: {0}")]
    Refused(String),
}

/// The payment provider. Its key for a charge is the order. Every method MUST end within a bounded
/// time, and MUST be repeatable: the provider remembers keys for ever.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Charges once for each order, and not after `not_after`. MUST answer what the first call
    /// decided when it is repeated.
    ///
    /// # Errors
    /// `Lost` says nothing about whether money moved.
    async fn charge(&self, order: OrderId, amount: Money, not_after: Timestamp) -> Result<Standing, ProviderError>;

    /// Blocks every later charge of the order; of a captured one it MUST change nothing and answer
    /// that it is captured.
    ///
    /// # Errors
    /// When it is not known to be blocked.
    async fn void(&self, order: OrderId) -> Result<Standing, ProviderError>;

    /// Gives a captured charge back, once, and answers its reference.
    ///
    /// # Errors
    /// `Refused` when it was never captured; `Lost` when it is not known to be given back.
    async fn refund(&self, order: OrderId) -> Result<String, ProviderError>;

    /// Where the order's charge stands; `None` if the provider has never seen it. That is no
    /// promise: the charge may still be on its way.
    ///
    /// # Errors
    /// When there is no answer.
    async fn status(&self, order: OrderId) -> Result<Option<Standing>, ProviderError>;
}
