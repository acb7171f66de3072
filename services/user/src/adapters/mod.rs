//! The outside: gRPC comes in; SQLite, argon2 and the cache go out.

pub mod inbound;
pub mod outbound;
