//! What the outside world lends a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::auth::Keys;
use crate::clock::SharedClock;
use crate::context::Tracer;
use crate::events::EventLog;
use crate::events::counted::CountedLog;
use crate::events::exposed::ExposedLog;
use crate::events::jetstream::JetStreamLog;
use crate::hazard::Hazards;
use crate::metrics::Metrics;
use crate::net::Network;
use crate::rng::Seeds;
use crate::sqlite::Storage;

/// Everything a service may use that is not its own: one value a role, made by whoever starts it.
#[derive(Clone)]
pub struct Env {
    /// The name the service goes by in logs, metrics and traces.
    pub role: &'static str,
    pub clock: SharedClock,
    /// This role's own scope of random streams.
    pub seeds: Seeds,
    pub tracer: Tracer,
    pub network: Arc<dyn Network>,
    /// Role → `host:port` of its gRPC port.
    pub peers: Arc<BTreeMap<&'static str, String>>,
    /// Role → `host:port` of its ops port.
    pub ops: Arc<BTreeMap<&'static str, String>>,
    /// Whether faults may be injected. Otherwise the interface for it does not exist.
    pub chaos: bool,
    pub keys: Keys,
    pub backing: Backing,
    pub metrics: Metrics,
    /// Cancelled when the service is to drain and stop.
    pub shutdown: CancellationToken,
}

impl Env {
    /// The event log, for this service.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn event_log(&self) -> Result<Arc<dyn EventLog>, StartError> {
        let log = match &self.backing {
            Backing::Embedded(embedded) => embedded.log.clone(),
            Backing::Servers(servers) => {
                let log = Arc::new(JetStreamLog::connect(servers, self.role).await?);
                ExposedLog::over(log, self.role, &servers.hazards)
            }
        };
        Ok(CountedLog::over(log, &self.metrics))
    }

    /// What may befall this service where it runs: nothing, but in a simulated world, or in a process that is
    /// to die.
    pub fn hazards(&self) -> Hazards {
        self.network.hazards()
    }

    /// The address of a peer.
    ///
    /// # Errors
    /// When whoever started this service did not say where that role is.
    pub fn peer(&self, role: &str) -> Result<&str, StartError> {
        self.peers
            .get(role)
            .map(String::as_str)
            .ok_or_else(|| StartError(format!("{}: no address was given for the {role} service", self.role)))
    }
}

/// Whether a shop watches itself. It always does, but where somebody measures what that costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Instruments {
    #[default]
    On,
    /// No traces, no histograms and none of the metrics that every role has.
    Off,
}

impl Instruments {
    pub fn tracer(self, seeds: &Seeds) -> Tracer {
        match self {
            Self::On => Tracer::new(seeds),
            Self::Off => Tracer::off(),
        }
    }

    pub fn metrics(self, role: &'static str) -> Metrics {
        match self {
            Self::On => Metrics::new(role),
            Self::Off => Metrics::off(role),
        }
    }
}

/// Which of the two adapter families a service is built with.
#[derive(Clone)]
pub enum Backing {
    Embedded(Embedded),
    Servers(Servers),
}

/// SQLite files and an in-process event log.
#[derive(Clone)]
pub struct Embedded {
    pub storage: Storage,
    pub log: Arc<dyn EventLog>,
}

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
    /// What may befall whoever writes there.
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

/// Why a service could not start, in one line for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl From<crate::StoreError> for StartError {
    fn from(error: crate::StoreError) -> Self {
        Self(error.to_string())
    }
}
