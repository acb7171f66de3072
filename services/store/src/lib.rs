//! What services keep, in both adapter families: SQLite files or PostgreSQL databases, maps with expiry or Redis, and
//! the group commit in front of a writer. Every storage port shares one error, [`StoreError`]. No service's noun
//! appears here, and nothing of the event log, whose crate stands on this one.

pub mod error;
pub mod expiring;
pub mod gather;
pub mod postgres;
pub mod redis;
pub mod servers;
pub mod sqlite;

pub use self::error::StoreError;
pub use self::servers::Servers;
