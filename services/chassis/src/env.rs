//! What the outside world lends a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::auth::Keys;
use crate::clock::SharedClock;
use crate::context::Tracer;
use crate::hazard::Hazards;
use crate::metrics::Metrics;
use crate::net::Network;
use crate::rng::Seeds;

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
    pub metrics: Metrics,
    /// Cancelled when the service is to drain and stop.
    pub shutdown: CancellationToken,
}

impl Env {
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

/// Why a service could not start, in one line for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);
