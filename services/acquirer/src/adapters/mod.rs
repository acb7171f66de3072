//! Technology: gRPC inwards, SQLite outwards.

pub mod inbound;
pub mod outbound;
