//! The acquirer on PostgreSQL: what it does on SQLite it does here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/contract.rs"]
mod contract;
mod family;
#[path = "../it/faults.rs"]
mod faults;
#[path = "../it/harness.rs"]
mod harness;
mod overtaken;
#[path = "../it/service.rs"]
mod service;
