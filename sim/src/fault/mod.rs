//! Faults: one [`vocabulary`], with the crash [`points`] that it knows by name. They are told to the roles
//! through their ops ports ([`api`]) or done by a hand of the world, injected and lifted on time by the
//! [`conductor`], and remembered on the [`board`]; a [`swarm`] of them is drawn by a seed. A real process can die of a [`crash`].

pub mod api;
pub mod board;
pub mod conductor;
pub mod crash;
pub mod points;
pub mod swarm;
pub mod vocabulary;
