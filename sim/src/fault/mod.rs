//! Faults: told to the roles through their ops ports ([`api`]), injected and lifted on time by the
//! [`conductor`], and remembered on the [`board`]; a [`swarm`] of them is drawn by a seed.

pub mod api;
pub mod board;
pub mod conductor;
pub mod swarm;
