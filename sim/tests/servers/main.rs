//! What needs real servers: `cargo test -p shopctl --test servers`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod doctor;
mod external;
mod infra;
