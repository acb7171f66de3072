//! The gateway over real sockets: HTTP in front, fake services over gRPC behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod fakes;
mod harness;
mod orders;
mod protocol;
mod resources;
