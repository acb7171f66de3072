//! The product service on PostgreSQL and Redis: the contracts of the ports, and the service over gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "../it/contract.rs"]
mod contract;

mod adapters;
#[path = "../it/cache.rs"]
mod cache;
#[path = "../it/catalogue.rs"]
mod catalogue;
mod family;
#[path = "../it/harness.rs"]
mod harness;
mod outage;
#[path = "../it/search.rs"]
mod search;
