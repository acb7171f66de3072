//! Products, pure and synchronous.

mod product;
mod search;
mod text;

pub use product::{Draft, Product, ProductChange, ProductError};
pub use search::{Search, Shelf};
pub use text::{Category, Name};
