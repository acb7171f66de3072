//! The technology around the hexagon.

pub mod inbound;
pub mod outbound;
pub mod streams;
