//! Pure values that every service speaks of: money, identities, time. No IO, no clock, no
//! randomness, nothing that belongs to one service alone.

pub mod ids;
pub mod money;
pub mod time;

pub use ids::{OrderId, ProductId, Quantity, Sku, UserId};
pub use money::{Currency, Money};
pub use time::Timestamp;
