//! What the order service needs of the world.

use std::time::Duration;

use async_trait::async_trait;
use kernel::{Money, OrderId, ProductId, Sku, Timestamp, UserId};
use store::StoreError;

use crate::domain::{Line, Order, OrderEvent, Outcome, Reply, Status, Step, Tries};

/// An order as stored, with what guards the next write to it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub order: Order,
    /// Raised by whoever takes the order over; a write under an older epoch is refused.
    pub epoch: i64,
    /// Of the current step.
    pub tries: Tries,
    /// The trace that the order began in.
    pub traceparent: Option<String>,
    /// When another may claim it; `None` when nothing is left to do.
    pub due_at: Option<Timestamp>,
}

/// One attempt of a step, to be stored with the order's next commit.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub step: Step,
    /// From 1.
    pub number: u32,
    pub outcome: Outcome,
    pub started_at: Timestamp,
    /// `None` for a step that is itself the commit that stores this.
    pub took: Option<Duration>,
    /// What the participant said, where it says more than the outcome.
    pub detail: Option<String>,
}

/// A new order: its creation event and the fingerprint of its items.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub id: OrderId,
    pub created: OrderEvent,
    pub fingerprint: String,
    pub at: Timestamp,
    /// When the driver is overdue with it and another may claim it.
    pub due_at: Timestamp,
}

/// What became of a new order.
#[derive(Debug, Clone)]
pub enum Created {
    New(Stored),
    /// The id was there before; `fingerprint` is what it was made of.
    Existed {
        order: Stored,
        fingerprint: String,
    },
}

/// Events to append to an order.
#[derive(Debug, Clone)]
pub struct Commit {
    pub id: OrderId,
    /// The order after the events.
    pub order: Order,
    /// The version before the events.
    pub expected_version: i64,
    pub epoch: i64,
    pub events: Vec<OrderEvent>,
    pub at: Timestamp,
    pub attempts: Vec<Attempt>,
    /// `None` when nothing is left to do.
    pub due_at: Option<Timestamp>,
}

/// "Not now": the order's current step is to be tried again at `due_at`.
#[derive(Debug, Clone)]
pub struct Postpone {
    pub id: OrderId,
    pub epoch: i64,
    pub tries: Tries,
    pub attempts: Vec<Attempt>,
    pub due_at: Timestamp,
    /// The step whose outcome is not known, so that an event about it may wake the order at once.
    pub unknown_step: Option<Step>,
}

/// What the news that a step has an outcome is to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// The order waits for it.
    Awaited,
    /// The order is not at its end and does not wait for it: the step has been answered, or is under way.
    NotAwaited,
    /// Nothing is left to do about the order.
    AfterEnd,
    /// There is no such order.
    OfNoOrder,
}

/// Where a listing by time goes on: behind what came at `at` with this id; without one, behind all that
/// came at `at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct After {
    pub at: Timestamp,
    pub id: Option<OrderId>,
}

/// An order that does not get on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    pub id: OrderId,
    pub user: UserId,
    pub status: Status,
    /// What was tried last, how often in a row, and what the participant said.
    pub step: Step,
    pub attempts: u32,
    pub detail: Option<String>,
    /// The order's last event: since then it has not got on.
    pub since: Timestamp,
    /// `None` for one that waits for an operator.
    pub due_at: Option<Timestamp>,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// From 1 for each order.
    pub sequence: i64,
    /// Of the owner who made it.
    pub epoch: i64,
    pub attempt: Attempt,
}

/// Orders: events, their projection and the work that is due, in one store.
#[async_trait]
pub trait Orders: Send + Sync + 'static {
    /// Stores each new order with its first event. MUST answer `Existed` instead when the id is
    /// taken, and MUST then change nothing.
    async fn create(&self, batch: &[NewOrder]) -> Vec<Result<Created, StoreError>>;

    /// Appends events, rewrites the projection and stores the attempts, atomically for each order.
    /// MUST refuse with `Conflict` when the version or the epoch is no longer the expected one.
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StoreError>>;

    /// Takes the order over: as [`Orders::commit`] under `commit.epoch`, but the epoch after it is
    /// one higher, so that the former owner's writes are refused.
    async fn take_over(&self, commit: &Commit) -> Result<i64, StoreError>;

    /// Stores the attempts and the next due time. MUST refuse with `Conflict` under an old epoch.
    async fn postpone(&self, batch: &[Postpone]) -> Vec<Result<(), StoreError>>;

    /// Claims up to `most` orders that are due: raises their epoch and moves their due time on by
    /// `lease`, so that nobody else claims them meanwhile, not even when news of their step comes.
    async fn claim_due(&self, now: Timestamp, lease: Duration, most: usize) -> Result<Vec<Stored>, StoreError>;

    /// When the next order becomes due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Makes the order due now if `step` is recorded as unknown; answers what that news is to the order.
    async fn wake(&self, id: OrderId, step: Step, now: Timestamp) -> Result<News, StoreError>;

    async fn get(&self, id: OrderId) -> Result<Option<Stored>, StoreError>;

    /// Oldest first, then by id; of one user or of all.
    async fn list(&self, user: Option<UserId>, after: After, most: usize) -> Result<Vec<Order>, StoreError>;

    /// Orders that wait for an operator, and those with a compensation or the sale to do that has ended
    /// unknown `unknown_min` times or more; by [`Stuck::since`], oldest first, then by id. Not those in a
    /// forward step, which is given up some day. MUST NOT look at every order to find them.
    async fn stuck(&self, unknown_min: u32, after: After, most: usize) -> Result<Vec<Stuck>, StoreError>;

    /// Makes the order due now and forgets its tries; raises the epoch, so that an attempt under way
    /// is not written over that. MUST refuse with `Conflict` when nothing is left to do or `epoch` is
    /// no longer the order's.
    async fn retry(&self, id: OrderId, epoch: i64, now: Timestamp) -> Result<(), StoreError>;

    /// The attempts of an order's steps with a sequence above `after`, oldest first.
    async fn attempts(&self, id: OrderId, after: i64, most: usize) -> Result<Vec<Recorded>, StoreError>;
}

/// Which idempotency keys were used, remembered for a bounded time. A hint: for a key that is new, as
/// nearly all are, it spares the store a look. It decides nothing: the store refuses a second order under a
/// key, and says of which items the first one was, whatever is remembered here.
#[async_trait]
pub trait IdempotencyKeys: Send + Sync + 'static {
    /// Notes that an order is being placed under the key that `id` stands for; answers whether the key may
    /// have been used before. MUST answer `true` when it cannot tell.
    async fn used(&self, id: OrderId) -> bool;
}

/// An event as the event log has it.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where in the log.
    pub sequence: i64,
    pub id: OrderId,
    pub version: i64,
    pub event: OrderEvent,
    pub at: Timestamp,
    pub traceparent: Option<String>,
}

/// An order as its events in the log say it is.
#[derive(Debug, Clone)]
pub struct Folded {
    pub order: Order,
    /// The trace of its first event.
    pub traceparent: Option<String>,
}

/// What a rebuild found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    pub orders: u64,
    /// Orders that had no row.
    pub missing: u64,
    /// Rows that were not what their order's events say.
    pub differing: u64,
    /// Rows of orders that there are no events of.
    pub stray: u64,
}

/// Orders about which the event log and the store's own events disagree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disagreement {
    /// The log lacks events that the store has.
    pub behind: u64,
    /// The log has events that the store lacks.
    pub ahead: u64,
    /// One of them.
    pub example: Option<String>,
}

/// The projection of orders, as far as it can be made anew.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// Begins with nothing; what an interrupted rebuild has left is dropped. MUST refuse with `Conflict`
    /// while another rebuild is under way, in this process or another.
    async fn begin(&self) -> Result<Box<dyn Shadow>, StoreError>;
}

/// The projection that is to take the place of the one in use. Dropped, it changes nothing.
#[async_trait]
pub trait Shadow: Send {
    /// Writes orders, over what was written about them before. What no event says is taken over from the
    /// row in use. Where there is none: an order with work to do is due at `now`, under an epoch above any
    /// that somebody could hold.
    async fn write(&mut self, orders: &[Folded], now: Timestamp) -> Result<(), StoreError>;

    /// Compares what was written with the store's own events, those from before `before` alone: the others
    /// may be on their way to the log.
    async fn disagreement(&mut self, before: Timestamp) -> Result<Disagreement, StoreError>;

    /// Puts the shadow in the place of the projection in use, in one transaction, in which nobody else writes
    /// orders: those that have events the log does not have up to `sequence` are caught up from the store's
    /// own, and what no event says is taken over once more. MUST leave the table as the migrations made it.
    async fn swap(self: Box<Self>, sequence: i64, now: Timestamp) -> Result<Rebuilt, StoreError>;

    /// Leaves nothing behind.
    async fn discard(self: Box<Self>) -> Result<(), StoreError>;
}

/// A product by either of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProductRef {
    Id(ProductId),
    Sku(Sku),
}

/// A product and its price now.
#[derive(Debug, Clone)]
pub struct Quote {
    pub product_id: ProductId,
    pub sku: Sku,
    pub price: Money,
}

/// Why there are no prices.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuoteError {
    #[error("{0}")]
    NoSuchProduct(String),
    #[error("the product service is unavailable: {0}")]
    Unavailable(String),
}

/// The product service.
#[async_trait]
pub trait Catalogue: Send + Sync + 'static {
    /// MUST answer one quote for each reference, in order.
    async fn quote(&self, products: &[ProductRef]) -> Result<Vec<Quote>, QuoteError>;
}

/// The inventory service, as a saga participant. Nothing here fails: what cannot be known is a
/// reply of its own.
#[async_trait]
pub trait Stock: Send + Sync + 'static {
    async fn reserve(&self, order: OrderId, lines: &[Line]) -> Reply;
    async fn release(&self, order: OrderId) -> Reply;
    async fn commit(&self, order: OrderId) -> Reply;
}

/// The payment service, as a saga participant.
#[async_trait]
pub trait Payments: Send + Sync + 'static {
    async fn process(&self, order: OrderId, user: UserId, amount: Money) -> Reply;
    async fn refund(&self, order: OrderId) -> Reply;
}

/// An entry of an order's history.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub version: i64,
    pub kind: String,
    pub data: String,
    pub at: Timestamp,
}

/// The event log, as far as histories and rebuilds need it.
#[async_trait]
pub trait History: Send + Sync + 'static {
    async fn of(&self, id: OrderId) -> Result<Vec<HistoryEntry>, StoreError>;

    /// The events of all orders behind the sequence `after`, in the log's order, `most` at most; none at
    /// the log's end.
    async fn page(&self, after: i64, most: usize) -> Result<Vec<Logged>, StoreError>;

    /// All events of one order, in the log's order.
    async fn events(&self, id: OrderId) -> Result<Vec<Logged>, StoreError>;
}
