//! The IO runtime that all services share: what the outside world lends them (clock, randomness,
//! sockets, storage), how they are served (gRPC, HTTP, drain), and how events leave them (outbox,
//! relay, event log). No service's noun appears here.
//!
//! Everything that could differ from run to run comes in through [`Env`], so that the same service
//! code runs on a real machine and inside the simulator.

pub mod auth;
pub mod chaos;
pub mod clock;
pub mod context;
pub mod env;
pub mod events;
pub mod expiring;
pub mod gather;
pub mod grpc;
pub mod hazard;
pub mod metrics;
pub mod net;
pub mod postgres;
pub mod redis;
pub mod rng;
pub mod serve;
pub mod settings;
pub mod sqlite;
pub mod store;

pub use clock::Clock;
pub use env::{Backing, Embedded, Env, Instruments, Servers};
pub use store::StoreError;
