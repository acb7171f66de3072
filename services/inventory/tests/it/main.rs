//! The inventory service over real gRPC, and its adapters against the contracts of their ports. The same
//! files are included by the tests on servers, where `family` is another one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod cache;
mod contract;
mod family;
mod harness;
mod lock;
mod meddled;
#[cfg(feature = "planted-bugs")]
mod planted;
mod saga;
