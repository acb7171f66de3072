//! What the acquirer knows, without IO.

pub mod charge;
