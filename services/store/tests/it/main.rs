//! Group commit against its contract.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gather;
