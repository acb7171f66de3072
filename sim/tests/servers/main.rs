//! The shop as processes on real PostgreSQL, NATS and Redis.
//!
//! `cargo test -p shopctl --test servers`; plain `cargo test` leaves this out, because it needs the
//! three servers' programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod processes;
mod serve;
