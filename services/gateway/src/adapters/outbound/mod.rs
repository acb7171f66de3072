//! What the gateway calls.

pub mod clients;
pub mod rate_limit;
pub mod redis;
