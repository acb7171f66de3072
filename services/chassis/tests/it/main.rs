//! The chassis against its contracts: serving over sockets, and faults over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod serving;
mod world;
