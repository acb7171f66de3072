//! Technology: gRPC inwards, SQLite outwards.

pub mod counters;
pub mod inbound;
pub mod outbound;
