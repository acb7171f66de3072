//! The acquirer over real gRPC, with and without faults, and the contract of its ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod family;
mod faults;
mod harness;
mod service;
mod times;
