//! Use cases, and the ports they need.

pub mod driver;
pub mod orders;
pub mod ports;
pub mod rebuild;
pub mod retries;
pub mod steps;
pub mod waiters;
