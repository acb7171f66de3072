//! What is known about one order.
//!
//! Events are kept as their names and JSON: an event of a newer shop is told by its name instead of
//! hiding the story.

use kernel::{Money, Timestamp};
use order::domain::Line;
use serde_json::Value;
use tokio::time::Duration;

use audit::witness::Record;
use world::probe::observe::Transition;

/// Everything that one source shows.
#[derive(Debug, Clone)]
pub struct Facts {
    pub order: OrderFacts,
    /// The order's own events, by version.
    pub events: Vec<Happened>,
    /// In the order they were stored; `None` if the source does not show them.
    pub attempts: Option<Vec<Attempt>>,
    /// The other services' books; `None` over HTTP.
    pub behind: Option<Behind>,
    /// What its client saw; `None` without a record of the run.
    pub client: Option<Client>,
    pub faults: Vec<Fault>,
    /// The circuit breaker's transitions in the whole run, oldest first.
    pub breaker: Vec<Transition>,
    /// What the reader of the story has to know about the source.
    pub notes: Vec<String>,
}

/// The order as its projection has it.
#[derive(Debug, Clone)]
pub struct OrderFacts {
    pub id: String,
    /// Empty if the source does not say.
    pub user: String,
    pub status: String,
    pub cancel_reason: Option<String>,
    pub lines: Vec<Line>,
    pub total: Money,
    /// Raised by each take-over; `None` if the source does not say.
    pub epoch: Option<i64>,
    pub created_at: Timestamp,
    /// When somebody has to look at it again.
    pub due_at: Option<Timestamp>,
}

/// An event of the order, its payment or its stock.
#[derive(Debug, Clone)]
pub struct Happened {
    pub version: i64,
    pub kind: String,
    pub data: Value,
    pub at: Timestamp,
    /// Its sequence in its stream; `None` if it is not known to be there.
    pub published: Option<i64>,
}

/// One attempt of a saga step.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub step: String,
    /// From 1 for each step.
    pub number: u32,
    /// done, refused, ongoing, unknown.
    pub outcome: String,
    /// Of the owner who made it.
    pub epoch: i64,
    pub started_at: Timestamp,
    /// `None` where the step is the commit that stored the attempt.
    pub took: Option<Duration>,
    pub detail: Option<String>,
}

impl Attempt {
    pub fn ended_at(&self) -> Timestamp {
        self.started_at.plus(self.took.unwrap_or_default())
    }

    /// Answered for certain, one way or the other.
    pub fn is_decided(&self) -> bool {
        matches!(self.outcome.as_str(), "done" | "refused")
    }
}

/// What stands in the books behind the order service.
#[derive(Debug, Clone, Default)]
pub struct Behind {
    pub payment: Vec<Happened>,
    pub inventory: Vec<Happened>,
    pub ledger: Vec<LedgerLine>,
    pub reservations: Vec<Reservation>,
    /// `None` if the shop sends none.
    pub messages: Option<Vec<Message>>,
}

/// A line of the acquirer's ledger.
#[derive(Debug, Clone)]
pub struct LedgerLine {
    pub sequence: i64,
    /// capture, decline, void, refund.
    pub kind: String,
    pub amount: Option<Money>,
    pub at: Timestamp,
}

/// Units of one product, and what became of them.
#[derive(Debug, Clone)]
pub struct Reservation {
    pub product_id: i64,
    pub quantity: i64,
    /// held, released, sold.
    pub state: String,
}

/// A message that the courier accepted.
#[derive(Debug, Clone)]
pub struct Message {
    pub event_id: String,
    pub channel: String,
    pub recipient: String,
    /// Empty for an SMS.
    pub subject: String,
    pub body: String,
    pub at: Timestamp,
}

/// The witness's record of the key that made the order.
#[derive(Debug, Clone)]
pub struct Client {
    pub key: String,
    /// In the order they were written.
    pub seen: Vec<(Timestamp, Record)>,
    /// The record counts from the load's start, which is known to within so much on the shop's clock.
    pub within: Duration,
}

/// A fault of the run.
#[derive(Debug, Clone)]
pub struct Fault {
    pub name: String,
    pub target: String,
    pub kind: String,
    pub from: Timestamp,
    /// `None`: it was never lifted.
    pub until: Option<Timestamp>,
}

impl Fault {
    /// Whether it was active at some moment from `from` to `until`.
    pub fn touches(&self, from: Timestamp, until: Timestamp) -> bool {
        self.from <= until && self.until.is_none_or(|lifted| lifted > from)
    }
}
