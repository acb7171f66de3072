//! Payments and the circuit breaker as pure values: no IO, no clock, no randomness.

pub mod breaker;
pub mod payment;
