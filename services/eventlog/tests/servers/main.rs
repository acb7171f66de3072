//! JetStream, and the outbox on PostgreSQL, against the same contracts, on real servers, which are killed and come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/contract.rs"]
mod contract;
mod event_log;
mod refill;
mod relay;
#[path = "../it/relay_contract.rs"]
mod relay_contract;
mod window;
#[allow(dead_code, reason = "the embedded family needs more of it")]
#[path = "../it/world.rs"]
mod world;
