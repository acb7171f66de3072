//! Pure values that every service speaks of: money, identities, roles, time. No IO, no clock, no
//! randomness, nothing that belongs to one service alone.

pub mod ids;
pub mod money;
pub mod role;
pub mod time;

pub use ids::{OrderId, ProductId, Quantity, Sku, UserId};
pub use money::{Currency, Money};
pub use role::Role;
pub use time::Timestamp;
