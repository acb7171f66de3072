//! The user service over real gRPC on a real port, with SQLite files in a temporary folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod contract;

mod accounts;
mod bulk;
mod embedded;
mod events;
mod family;
mod harness;
mod lockout;
