//! The inventory service on PostgreSQL, NATS and Redis: the same tests as on the embedded adapters, and
//! what only servers do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/api.rs"]
mod api;
#[path = "../it/cache.rs"]
mod cache;
#[path = "../it/contract.rs"]
mod contract;
mod family;
#[path = "../it/harness.rs"]
mod harness;
#[path = "../it/lock.rs"]
mod lock;
mod optimistic;
mod overtaken;
#[cfg(feature = "planted-bugs")]
#[path = "../it/planted.rs"]
mod planted;
mod redis;
#[path = "../it/saga.rs"]
mod saga;
