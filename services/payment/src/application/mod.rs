//! The use cases of payment and what they need of the world.

pub mod breaker;
pub mod pay;
pub mod ports;
