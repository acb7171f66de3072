//! The gateway over real sockets: HTTP in front, fake services over gRPC behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod contract;

mod access;
mod api;
mod embedded;
mod fakes;
mod family;
mod harness;
mod hostile;
mod orders;
mod protocol;
mod resources;
