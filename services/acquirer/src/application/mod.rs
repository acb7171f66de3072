//! The calls of the acquirer and what they need.

pub mod acquire;
pub mod mischief;
pub mod ports;
