//! How this service reaches the world.

pub mod catalogue;
pub mod history;
pub mod payments;
pub mod postgres;
pub mod rows;
pub mod sqlite;
pub mod stock;
