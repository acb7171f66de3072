//! The books: what the services and the acquirer wrote down, read through one port.

use async_trait::async_trait;
use eventlog::Event;
use store::StoreError;
use tokio::time::Duration;

/// A product's stock, and what its reservations add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StockRow {
    pub product_id: i64,
    pub available: i64,
    pub reserved: i64,
    pub sold: i64,
    /// Units of reservations that are held, and that are sold.
    pub held_by_orders: i64,
    pub sold_to_orders: i64,
    /// Units that came in, by restocks of every kind.
    pub restocked: i64,
    /// Those of them that the seeder brought.
    pub seeded: i64,
    /// There are reservations or restocks of it, but no stock row.
    pub missing: bool,
}

/// A payment as the payment service has it. One that was blocked before any intent has no terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    pub state: String,
    pub user_id: Option<String>,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
}

/// A line of the acquirer's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerLine {
    /// capture, decline, void, refund.
    pub kind: String,
    /// `None` for the void of a key that was never charged.
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
}

/// An order's projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub id: String,
    pub user_id: String,
    pub status: String,
    pub cancel_reason: Option<String>,
    pub total_minor: i64,
    pub currency: String,
    pub lines: String,
    pub version: i64,
    pub stock_committed: bool,
}

/// A message that the mail and SMS provider accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedMessage {
    /// `<STREAM>/<aggregate>/<version>`.
    pub event_id: String,
    pub channel: String,
}

/// What customers were told about one order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// What the provider accepted under the order's id.
    pub accepted: Vec<AcceptedMessage>,
    /// Ids of events that the notification service gave up on.
    pub given_up: Vec<String>,
}

/// One order in all books.
#[derive(Debug, Clone)]
pub struct OrderBook {
    pub row: OrderRow,
    /// From the order service's own event store.
    pub events: Vec<Event>,
    /// The same order in the event log.
    pub stream: Vec<Event>,
    pub payment: Option<PaymentRow>,
    pub payment_events: Vec<Event>,
    pub payment_stream: Vec<Event>,
    pub inventory_events: Vec<Event>,
    pub inventory_stream: Vec<Event>,
    pub ledger: Vec<LedgerLine>,
    /// The acquirer's own summary of the key.
    pub charge_state: Option<String>,
    /// (product, quantity, state), by product.
    pub reservations: Vec<(i64, i64, String)>,
    /// `None` in books of a shop that told its customers nothing.
    pub notices: Option<Notices>,
}

/// How many ids without an order are kept of each sort.
pub const ORPHANS_MAX: usize = 100;

/// Things in the books that belong to no order.
#[derive(Debug, Clone, Default)]
pub struct Orphans {
    /// Ids that something is stored under (a payment, a charge, a ledger line, a reservation, an
    /// event) without an order, the first [`ORPHANS_MAX`].
    pub ids: Vec<String>,
    /// Ids that a message was accepted under without an order, the first [`ORPHANS_MAX`].
    pub told: Vec<String>,
}

/// What is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Orders that have not ended, or whose units are not yet sold; not those for an operator.
    pub orders: u64,
    /// Outbox rows not yet known to be in the event log.
    pub unpublished: u64,
    /// But for those of orders that wait for an operator.
    pub held_reservations: u64,
    /// Messages of the event log that a consumer is not done with yet, counted for each consumer.
    pub unacknowledged: u64,
}

impl InFlight {
    pub fn is_quiet(self) -> bool {
        self == Self::default()
    }
}

/// Something that the cache holds of a product or of its stock, beside what the database says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its key in the cache.
    pub key: String,
    /// How long it has to live; `None`: it never expires.
    pub expires_in: Option<Duration>,
    pub held: Held,
    /// The row; read after the entry, so that it is never the older one of two moments. `None`: there is none.
    pub stored: Option<Versioned>,
}

/// What stands under a key of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Value(Versioned),
    /// Nothing but a version: older ones are not to be stored.
    Floor(i64),
    /// The name of another key.
    Elsewhere,
    Unreadable,
}

/// What was said of something, and as of which of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    pub version: i64,
    /// In words that are equal when the facts are.
    pub says: String,
}

/// Read access to everything that was written down.
#[async_trait]
pub trait Books: Send + Sync {
    /// Every product, by id; `seeder` is the scenario whose first units are told apart.
    async fn stock(&self, seeder: &str) -> Result<Vec<StockRow>, StoreError>;
    /// Up to `most` orders whose id comes after `after`, by id.
    async fn orders(&self, after: &str, most: usize) -> Result<Vec<OrderBook>, StoreError>;
    async fn orphans(&self) -> Result<Orphans, StoreError>;
    async fn in_flight(&self) -> Result<InFlight, StoreError>;
    /// What the shared cache holds of products and their stock, at most [`CACHE_ENTRIES_MAX`] entries; `None`
    /// in books of a shop whose services keep their caches to themselves.
    async fn cached(&self) -> Result<Option<Vec<CacheEntry>>, StoreError>;
}

/// How many entries of the cache an audit looks at.
pub const CACHE_ENTRIES_MAX: usize = 100_000;
