//! The runtime that all services share: what the outside world lends them (clock, randomness, sockets, keys), and how
//! they are served (gRPC, HTTP, drain), measured and broken on purpose. No service's noun appears here, and nothing
//! that is stored: that is what the crates `store` and `eventlog` add, which stand on this one.
//!
//! Everything that could differ from run to run comes in through [`Env`], so that the same service
//! code runs on a real machine and inside the simulator.
//!
//! A function that crates above wait for is no `async fn` where its body reaches a client of PostgreSQL, NATS or Redis,
//! or wires a service, but returns a boxed future. The body of an `async fn` is compiled again in each crate that awaits
//! it, and all that it calls with it; behind a box it is compiled once, where it stands.

pub mod auth;
pub mod chaos;
pub mod clock;
pub mod context;
pub mod env;
pub mod grpc;
pub mod hazard;
pub mod metrics;
pub mod net;
pub mod rng;
pub mod serve;
pub mod settings;

pub use clock::Clock;
pub use env::{Env, Instruments};
