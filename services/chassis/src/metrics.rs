//! What `/metrics` shows, in the Prometheus text format. Names are stable.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Latency buckets from 100 µs to about 13 s, doubling.
pub fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

/// From 1 to 256 commands, doubling.
fn batch_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    store: String,
}

/// One role's registry, with the families that every role has.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    rpcs: Family<RpcLabels, Histogram, fn() -> Histogram>,
    commits: Family<CommitLabels, Histogram, fn() -> Histogram>,
    batches: Family<StoreLabels, Histogram, fn() -> Histogram>,
    waiting: Family<StoreLabels, Gauge>,
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
        let batches = Family::new_with_constructor(batch_histogram as fn() -> Histogram);
        registry.register("store_batch_commands", "Commands that were written together, by store", batches.clone());
        let waiting = Family::default();
        registry.register("store_waiting_commands", "Commands that wait for the batch after this one", waiting.clone());
        Self { registry: Arc::new(Mutex::new(registry)), rpcs, commits, batches, waiting }
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

    /// A writer took `commands` together and left `waiting`.
    pub fn gathered(&self, store: &str, commands: usize, waiting: usize) {
        let labels = StoreLabels { store: store.to_owned() };
        self.batches.get_or_create(&labels).observe(commands as f64);
        self.waiting.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
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
