//! The embedded event log, the consumer loop and the relay against their contracts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod consume;
mod contract;
mod event_log;
mod relay;
mod relay_contract;
mod world;
