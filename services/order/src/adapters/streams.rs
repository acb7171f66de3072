//! The streams of the event log that this service knows: its own, and those whose news it waits for. Services do not
//! know each other: the names of the others' streams are the contract.

use eventlog::Stream;

/// The stream that this service publishes to.
pub const ORDERS: Stream = Stream::new("ORDERS", "order");
/// What became of charges and refunds.
pub const PAYMENTS: Stream = Stream::new("PAYMENTS", "payment");
/// What became of reservations.
pub const INVENTORY: Stream = Stream::new("INVENTORY", "inventory");

/// The streams that this service consumes.
pub const CONSUMED: [Stream; 2] = [PAYMENTS, INVENTORY];
