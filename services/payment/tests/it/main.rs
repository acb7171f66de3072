//! Payment over real gRPC with a real acquirer; its use cases over a provider that misbehaves on
//! request; the contract of its store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod fakes;
mod family;
mod faults;
mod harness;
mod histories;
mod moments;
mod service;
mod staff;
