//! Telling customers.

pub mod notify;
pub mod ports;
