//! The chassis against its contracts: serving over sockets, faults over HTTP, and the architecture of the crates that
//! stand on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod architecture;
mod chaos;
mod nouns;
mod serving;
mod world;
