//! Who is calling, whether the call is admitted, and what things are called that clients left
//! unnamed.

pub mod admission;
pub mod authentication;
pub mod names;
pub mod ports;
