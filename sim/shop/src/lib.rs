//! The registry of the shop's roles, and what else the instrument stands on: [`fault`] says what can break, [`http`] is
//! the client that reaches the shop, [`machine`] what Linux tells of its processes.

pub mod fault;
pub mod http;
pub mod machine;
mod roles;

use serde::{Deserialize, Serialize};

pub use roles::{
    Needs, REGISTRY, ROLES, Role, STREAMS, TARGETS, build, check, databases, described_settings, needs, role, variable,
};

/// The port, in a simulation, on which every host serves its role.
pub const MAIN_PORT: u16 = 7000;
/// The port, in a simulation, with `/metrics` and what else operators read.
pub const OPS_PORT: u16 = 7001;

/// Which world a run was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Real time, SQLite, in-process event log.
    Embedded,
    /// Real time, on private PostgreSQL, JetStream and Redis.
    Local,
    /// Real time, on servers that the operator runs.
    External,
    /// Virtual time: CPU costs nothing, so latencies are not judged.
    Simulated,
}
