//! The gateway's own rules: pure and synchronous.

pub mod keys;
pub mod prefer;
pub mod window;
