//! What can be done with the catalogue, and what that needs of the outside world.

mod catalogue;
pub mod ports;

pub use catalogue::{Catalogue, CatalogueError};
