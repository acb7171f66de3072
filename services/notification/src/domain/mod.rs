//! What customers are told, and how. No IO.

pub mod notification;

pub use notification::{Channel, EventId, News, OutgoingMessage, Recipient, What, compose};
