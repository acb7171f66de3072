//! The order service on PostgreSQL, NATS JetStream and Redis, really started.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/contract.rs"]
mod contract;
#[allow(dead_code, reason = "shared with the tests of the embedded family, which use more of it")]
#[path = "../it/harness.rs"]
mod harness;
#[path = "../it/keys.rs"]
mod keys;
#[allow(dead_code, reason = "shared with the tests of the embedded family, which use more of it")]
#[path = "../it/peers.rs"]
mod peers;
mod postgres;
#[path = "../it/rebuild.rs"]
mod rebuild;
mod service;
#[allow(dead_code, reason = "shared with the tests of the embedded family, which use more of it")]
#[path = "../it/site.rs"]
mod site;
#[allow(dead_code, reason = "shared with the tests of the embedded family, which use more of it")]
#[path = "../it/world.rs"]
mod world;
