//! Faults: told to the roles through their ops ports ([`api`]), injected and lifted on time by the
//! [`conductor`], and remembered on the [`board`].

pub mod api;
pub mod board;
pub mod conductor;
