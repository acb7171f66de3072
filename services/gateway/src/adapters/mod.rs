//! The outside, one file a technology.

pub mod inbound;
pub mod outbound;
