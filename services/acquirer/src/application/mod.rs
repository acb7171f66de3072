//! The calls of the acquirer and what they need.

pub mod acquire;
pub mod mischief;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod ports;
