//! What the use cases need from outside. The comments are contracts that every adapter keeps.

use async_trait::async_trait;
use kernel::{OrderId, ProductId, Timestamp};
use store::StoreError;

use crate::domain::{OrderLines, Refusal, ReleaseOutcome, ReserveOutcome, Restock, Stock};

/// Hold these lines for the order.
#[derive(Debug, Clone)]
pub struct ReserveOrder {
    pub order_id: OrderId,
    pub lines: OrderLines,
    pub at: Timestamp,
}

/// Give back what the order holds.
#[derive(Debug, Clone)]
pub struct ReleaseOrder {
    pub order_id: OrderId,
    pub at: Timestamp,
}

/// Sell what the order holds.
#[derive(Debug, Clone)]
pub struct CommitOrder {
    pub order_id: OrderId,
    pub at: Timestamp,
}

/// Add units.
#[derive(Debug, Clone)]
pub struct RestockProduct {
    pub restock: Restock,
    pub at: Timestamp,
}

/// Why a command was not carried out. Nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StockStoreError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a command was answered, and the stock rows as it left them; none for a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    pub outcome: T,
    pub changed: Vec<Stock>,
}

/// One answer for each command of a batch, in its order.
pub type Answers<T> = Vec<Result<Answer<T>, StockStoreError>>;

/// The books: stock, reservations, the barrier and the outbox.
///
/// Every command that changes something MUST write its idempotency key, the work and its event in
/// one transaction, and MUST be answered as it was the first time when it is repeated, also when
/// the repetition is concurrent or in the same batch. Commands of one batch MUST be decided in
/// their order, each seeing what those before it did; stock rows MUST be changed in the order of
/// product ids. A row MUST change only from the version it was decided on, and `available` only if
/// it suffices. A command that fails or is refused MUST NOT stop the others of its batch.
///
/// A caller may go away at any await: then the command MUST be done wholly or not at all.
#[async_trait]
pub trait StockStore: Send + Sync + 'static {
    /// Holds each order whole or not at all. MUST answer `Blocked` and change nothing once the
    /// order was released.
    async fn reserve(&self, batch: &[ReserveOrder]) -> Answers<ReserveOutcome>;

    /// Gives back what an order holds. Of an order that never reserved it MUST block the
    /// reservation that may still come. MUST refuse with `Committed` what is sold.
    async fn release(&self, batch: &[ReleaseOrder]) -> Answers<ReleaseOutcome>;

    /// Sells what an order holds. MUST refuse with `NothingHeld` if that is nothing.
    async fn commit(&self, batch: &[CommitOrder]) -> Answers<()>;

    /// Adds units, for each restock id once; a product without a row gets one. A repetition MUST be
    /// answered with the stock as it is now; one that names another product or quantity MUST be
    /// refused with `OtherRestock`.
    async fn restock(&self, batch: &[RestockProduct]) -> Answers<Stock>;

    /// The committed stock of a product; `None` if it was never restocked.
    async fn stock(&self, product_id: ProductId) -> Result<Option<Stock>, StoreError>;
}

/// Recent stock figures, to spare the store queries. Only ever a hint: nothing is decided on it.
/// A cache that fails MUST behave as one that is empty.
#[async_trait]
pub trait StockCache: Send + Sync + 'static {
    /// MUST answer `None` for what was put longer ago than the cache's time to live.
    async fn get(&self, product_id: ProductId) -> Option<Stock>;

    /// MUST ignore each figure that is older (by version) than the one it holds: puts overtake each
    /// other.
    async fn put(&self, stocks: &[Stock]);
}

/// Lets restocks of one product take turns, instead of failing on each other's version. Advisory:
/// the store decides, with whatever predicates and locks it has of its own, so a turn that ends too
/// early, or that two have at once, harms nothing.
#[async_trait]
pub trait RestockLock: Send + Sync + 'static {
    /// Waits for the turn, which lasts until the guard is dropped, or until a holder that does not come
    /// back has had it for long enough. Who takes turns with nobody, because the lock cannot be asked,
    /// MUST be given the turn without it: what is advisory must not be what stops a restock.
    ///
    /// # Errors
    /// MUST answer `Unavailable` after a bounded wait for somebody else's turn to end.
    async fn turn(&self, product_id: ProductId) -> Result<RestockTurn, StoreError>;
}

/// A turn; dropping it ends it.
pub struct RestockTurn {
    _guard: Box<dyn Send>,
}

impl RestockTurn {
    pub fn new(guard: impl Send + 'static) -> Self {
        Self { _guard: Box::new(guard) }
    }
}
