//! The outside: gRPC comes in; SQLite and the cache go out.

pub mod inbound;
pub mod outbound;
