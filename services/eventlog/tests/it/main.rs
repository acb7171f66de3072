//! The embedded event log, the consumer loop and the relay against their contracts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod consume;
mod contract;
mod event_log;
mod relay;
mod relay_contract;
mod world;

/// How the log's contract is timed: see [`contract::Times`]. Here time is paused, and nothing is late.
const TIMES: contract::Times =
    contract::Times { ack_wait: std::time::Duration::from_millis(400), woken: std::time::Duration::from_millis(100) };
