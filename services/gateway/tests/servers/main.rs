//! The gateway with its counters in Redis: the contract of the port, and the gateway over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../it/contract.rs"]
mod contract;

#[path = "../it/access.rs"]
mod access;
mod adapters;
#[allow(dead_code)]
#[path = "../it/fakes.rs"]
mod fakes;
mod family;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
mod outage;
