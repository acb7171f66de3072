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

/// How the log's contract is timed: see [`contract::Times`]. Here time is paused, and nothing is late.
const TIMES: contract::Times =
    contract::Times { ack_wait: std::time::Duration::from_millis(400), woken: std::time::Duration::from_millis(100) };
