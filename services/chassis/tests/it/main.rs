//! The chassis against its contracts: the event log, the consumer loop, the relay, and serving over sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod consume;
mod contract;
mod event_log;
mod gather;
mod relay;
mod relay_contract;
mod serving;
mod world;
