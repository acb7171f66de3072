//! The use cases, and the ports through which they reach the world.

pub mod ports;
mod stock_keeping;

pub use stock_keeping::{StockKeeping, StockQueryError};
