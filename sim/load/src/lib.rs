//! The load generator: it plays shoppers on a schedule and notes what they saw.
//!
//! The model is open: every request has an instant at which it is *due*, and its latency runs from
//! there, also when the generator or the server was late. The uncorrected figure is kept beside it.

pub mod api;
pub mod clock;
pub mod generator;
pub mod journey;
pub mod recorder;
