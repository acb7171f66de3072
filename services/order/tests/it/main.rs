//! The order service: its store against the port's contract, its use cases against every failure
//! that a saga must survive, and the built service over real gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod contract;
mod grpc;
mod harness;
mod keys;
mod peers;
mod rebuild;
mod saga;
mod saga_cancel;
mod saga_crash;
mod saga_recovery;
mod site;
mod sqlite;
mod world;
