//! Where the servers of the second adapter family are, and how a shop uses them.

use chassis::hazard::Hazards;

/// PostgreSQL, NATS JetStream and Redis. Each service connects by itself, on its own runtime.
#[derive(Clone, PartialEq, Eq)]
pub struct Servers {
    /// `postgres://user:password@host:port`; the database's name is the service's own.
    pub postgres: String,
    /// `nats://token@host:port`.
    pub nats: String,
    /// `redis://:password@host:port`.
    pub redis: String,
    /// Sets shops on the same servers apart: it goes before the names of databases, streams, subjects
    /// and keys. Lower-case letters, digits and `_`; usually empty.
    pub namespace: String,
    /// Whether databases, tables and streams that are missing are to be created.
    pub create: bool,
    /// Most writes of one transaction, and most events that a relay has on their way; 1 for each by itself, to
    /// measure against. Usually [`crate::gather::BATCH_MAX`].
    pub batch_max: usize,
    /// What may befall a writer there.
    pub hazards: Hazards,
}

impl Servers {
    /// The name of a service's database here.
    pub fn database(&self, name: &str) -> String {
        match self.namespace.as_str() {
            "" => name.to_owned(),
            namespace => format!("{namespace}_{name}"),
        }
    }
}

/// The URLs hold secrets.
impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers")
            .field("namespace", &self.namespace)
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}
