//! PostgreSQL and Redis as services use them, on real servers, which are killed and come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod postgres;
mod redis;
mod world;
