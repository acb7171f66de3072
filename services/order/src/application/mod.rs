//! Use cases, and the ports they need.

pub mod driver;
pub mod orders;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod ports;
pub mod rebuild;
pub mod retries;
pub mod steps;
pub mod trade;
pub mod waiters;
