//! The shop as processes on real PostgreSQL, NATS and Redis.
//!
//! `cargo test -p shopctl --test servers`; plain `cargo test` leaves this out, because it needs the
//! three servers' programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod books;
#[allow(dead_code, reason = "the tests without servers use the rest of it")]
#[path = "../it/harness.rs"]
mod harness;
mod moved;
mod processes;
mod serve;
#[allow(dead_code, reason = "the tests without servers use the rest of it")]
#[path = "../it/tamperings.rs"]
mod tamperings;
