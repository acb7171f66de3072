//! What an order is and what may happen to it: pure and synchronous.

pub mod budget;
pub mod order;
pub mod saga;

pub use order::{CancelReason, Compensation, Line, Order, OrderEvent, Rejected, Status};
pub use saga::{Outcome, Reply, Step, Tries};
