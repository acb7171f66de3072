//! What the inventory decides, as pure values: counts of one product, the lines of one order, what
//! one order has been told, and the events that tell of it.

mod event;
mod lines;
mod order;
mod restock;
mod stock;

pub use event::StockEvent;
pub use lines::{Line, LinesError, OrderLines};
pub use order::{Decision, OrderStock, Refusal, ReleaseOutcome, ReserveOutcome};
pub use restock::{Restock, RestockId, RestockIdError};
pub use stock::{Stock, StockError};
