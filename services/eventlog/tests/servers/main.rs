//! JetStream, and the outbox on PostgreSQL, against the same contracts, on real servers, which are killed and come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/contract.rs"]
mod contract;
mod event_log;
mod refill;
mod relay;
#[path = "../it/relay_contract.rs"]
mod relay_contract;
mod window;
#[allow(dead_code, reason = "the embedded family needs more of it")]
#[path = "../it/world.rs"]
mod world;

/// How the log's contract is timed: see [`contract::Times`]. Here time is real. On a busy machine some of it passes
/// between a delivery and its acknowledgement; and who is not woken hears of something at the next heartbeat, two
/// seconds after the last one.
const TIMES: contract::Times =
    contract::Times { ack_wait: std::time::Duration::from_millis(1_200), woken: std::time::Duration::from_millis(800) };
