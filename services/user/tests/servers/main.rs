//! The user service on PostgreSQL and Redis: the contracts of the ports, and the service over gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../it/contract.rs"]
mod contract;

#[path = "../it/accounts.rs"]
mod accounts;
mod adapters;
#[path = "../it/bulk.rs"]
mod bulk;
#[path = "../it/events.rs"]
mod events;
mod family;
#[path = "../it/harness.rs"]
mod harness;
#[path = "../it/lockout.rs"]
mod lockout;
mod outage;
