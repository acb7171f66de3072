//! The inventory service over real gRPC, and its store against the port's contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod contract;
mod harness;
#[cfg(feature = "planted-bugs")]
mod planted;
mod saga;
mod sqlite;
