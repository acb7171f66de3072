//! What `/metrics` shows, in the Prometheus text format. Names are stable.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Latency buckets from 100 µs to about 13 s, doubling.
pub fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    method: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommitLabels {
    store: String,
    what: String,
}

/// One role's registry, with the families that every role has.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    rpcs: Family<RpcLabels, Histogram, fn() -> Histogram>,
    commits: Family<CommitLabels, Histogram, fn() -> Histogram>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub fn new(role: &'static str) -> Self {
        let mut registry = Registry::with_labels([("service".into(), role.into())].into_iter());
        let rpcs = Family::new_with_constructor(latency_histogram as fn() -> Histogram);
        registry.register(
            "rpc_server_duration_seconds",
            "Time from a request's arrival to its answer, by method and status",
            rpcs.clone(),
        );
        let commits = Family::new_with_constructor(latency_histogram as fn() -> Histogram);
        registry.register(
            "store_commit_duration_seconds",
            "Time that a write transaction took, by store and purpose",
            commits.clone(),
        );
        Self { registry: Arc::new(Mutex::new(registry)), rpcs, commits }
    }

    /// Adds a role's own metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn rpc(&self, method: &str, code: &str, took: Duration) {
        let labels = RpcLabels { method: method.to_owned(), code: code.to_owned() };
        self.rpcs.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn commit(&self, store: &str, what: &str, took: Duration) {
        let labels = CommitLabels { store: store.to_owned(), what: what.to_owned() };
        self.commits.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The text that a scrape gets.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
