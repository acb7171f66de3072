//! What needs real servers: `cargo test -p shopctl --test servers`. Plain `cargo test` leaves it out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod doctor;
mod external;
mod infra;
mod processes;
mod serve;
