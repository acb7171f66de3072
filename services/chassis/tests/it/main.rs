//! The chassis against its contracts: the event log, the consumer loop, the relay, serving over sockets, and the
//! architecture of the crates that stand on it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod architecture;
mod chaos;
mod consume;
mod contract;
mod event_log;
mod gather;
mod relay;
mod relay_contract;
mod serving;
mod world;
