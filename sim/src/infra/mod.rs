//! The servers that a shop of the second adapter family stands on.
//!
//! - [`external`]: somebody else's, named by `DATABASE_URL`, `NATS_URL` and `REDIS_URL`.

pub mod external;
