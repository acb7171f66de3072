//! The product service over real gRPC on a real port, with SQLite files in a temporary folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cache;
mod catalogue;
mod harness;
mod search;
