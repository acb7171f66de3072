//! How this service reaches the world.

pub mod catalogue;
pub mod history;
pub mod memory;
pub mod payments;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod postgres;
pub mod redis;
pub mod rows;
pub mod shadow;
pub mod sqlite;
pub mod stock;
