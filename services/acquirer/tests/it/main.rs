//! The acquirer over real gRPC, and the contract of its ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod harness;
mod service;
