//! The streams of the event log that this service consumes. Services do not know each other: the names are the contract.

use eventlog::Stream;

/// What became of orders, and who placed them.
pub const ORDERS: Stream = Stream::new("ORDERS", "order");
/// What became of charges.
pub const PAYMENTS: Stream = Stream::new("PAYMENTS", "payment");

/// The streams that this service consumes.
pub const CONSUMED: [Stream; 2] = [ORDERS, PAYMENTS];
