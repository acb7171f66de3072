//! The payment service on PostgreSQL and NATS: what it does on the embedded family it does here, and it
//! survives a database that goes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/contract.rs"]
mod contract;
#[path = "../it/fakes.rs"]
mod fakes;
mod family;
#[path = "../it/faults.rs"]
mod faults;
#[path = "../it/harness.rs"]
mod harness;
mod lost;
#[path = "../it/moments.rs"]
mod moments;
mod overtaken;
#[path = "../it/service.rs"]
mod service;
#[path = "../it/staff.rs"]
mod staff;
mod wire;
