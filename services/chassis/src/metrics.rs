//! What `/metrics` shows, in the Prometheus text format. Names are stable.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConsumerLabels {
    stream: &'static str,
    consumer: &'static str,
}

/// A store's connections at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// In use.
    pub busy: u32,
    pub idle: u32,
    /// As many as there may be.
    pub max: u32,
}

type Look = Box<dyn Fn() -> Connections + Send + Sync>;

/// Looks at the connections of every store at each scrape.
#[derive(Clone, Default)]
struct Pools(Arc<Mutex<BTreeMap<&'static str, Look>>>);

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen: Vec<_> = pools.iter().map(|(store, look)| (*store, look())).collect();
        if seen.is_empty() {
            return Ok(());
        }
        let help = "Connections to the store's database, by what they do";
        let mut gauges = encoder.encode_descriptor("store_connections", help, None, MetricType::Gauge)?;
        for (store, Connections { busy, idle, .. }) in &seen {
            for (state, count) in [("busy", busy), ("idle", idle)] {
                ConstGauge::new(i64::from(*count))
                    .encode(gauges.encode_family(&[("store", *store), ("state", state)])?)?;
            }
        }
        let help = "Connections that there may be to the store's database";
        let mut gauges = encoder.encode_descriptor("store_connections_max", help, None, MetricType::Gauge)?;
        for (store, Connections { max, .. }) in &seen {
            ConstGauge::new(i64::from(*max)).encode(gauges.encode_family(&[("store", *store)])?)?;
        }
        Ok(())
    }
}

/// What was looked up in a cache, by whether it was there.
#[derive(Clone)]
pub struct CacheCounters {
    hit: Counter,
    miss: Counter,
}

impl CacheCounters {
    /// Under `name`; `what` is looked up there, for people.
    pub fn register(metrics: &Metrics, name: &'static str, what: &str) -> Self {
        let family = Family::<ResultLabel, Counter>::default();
        // Both are shown as zero until they happen, so that a rate over them has a beginning.
        let counter = |result| family.get_or_create(&ResultLabel { result }).clone();
        let counters = Self { hit: counter("hit"), miss: counter("miss") };
        metrics
            .register(|registry| registry.register(name, format!("{what} looked up in the cache, by result"), family));
        counters
    }

    pub fn count(&self, hit: bool) {
        if hit {
            self.hit.inc()
        } else {
            self.miss.inc()
        };
    }
}

/// One role's registry, with the families that every role has.
#[derive(Clone)]
pub struct Metrics {
    on: bool,
    registry: Arc<Mutex<Registry>>,
    rpcs: Family<RpcLabels, Histogram, fn() -> Histogram>,
    commits: Family<CommitLabels, Histogram, fn() -> Histogram>,
    batches: Family<StoreLabels, Histogram, fn() -> Histogram>,
    waiting: Family<StoreLabels, Gauge>,
    published: Family<StreamLabels, Counter>,
    consumed: Family<ConsumerLabels, Counter>,
    pools: Pools,
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
        let (published, consumed, pools) = (Family::default(), Family::default(), Pools::default());
        let help = "Events that the event log has taken from here, those that it had already included";
        registry.register("events_published", help, published.clone());
        registry.register("events_consumed", "Events that a consumer here is done with", consumed.clone());
        registry.register_collector(Box::new(pools.clone()));
        let registry = Arc::new(Mutex::new(registry));
        Self { on: true, registry, rpcs, commits, batches, waiting, published, consumed, pools }
    }

    /// The same families, in which nothing is ever measured: to measure against.
    pub fn off(role: &'static str) -> Self {
        Self { on: false, ..Self::new(role) }
    }

    /// Whether anything is measured. A role's own histograms ask; a counter costs less than to ask is worth.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Adds a role's own metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn rpc(&self, method: &str, code: &str, took: Duration) {
        if !self.on {
            return;
        }
        let labels = RpcLabels { method: method.to_owned(), code: code.to_owned() };
        self.rpcs.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn commit(&self, store: &str, what: &str, took: Duration) {
        if !self.on {
            return;
        }
        let labels = CommitLabels { store: store.to_owned(), what: what.to_owned() };
        self.commits.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A writer took `commands` together and left `waiting`.
    pub fn gathered(&self, store: &str, commands: usize, waiting: usize) {
        if !self.on {
            return;
        }
        let labels = StoreLabels { store: store.to_owned() };
        self.batches.get_or_create(&labels).observe(commands as f64);
        self.waiting.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// The event log has taken `events` more.
    pub fn published(&self, stream: &'static str, events: u64) {
        if !self.on {
            return;
        }
        self.published.get_or_create(&StreamLabels { stream }).inc_by(events);
    }

    /// `consumer` is done with `events` more; 0 of them shows it from the beginning.
    pub fn consumed(&self, stream: &'static str, consumer: &'static str, events: u64) {
        if !self.on {
            return;
        }
        self.consumed.get_or_create(&ConsumerLabels { stream, consumer }).inc_by(events);
    }

    /// Has every scrape look at the connections of `store`; of one that was opened again, at the new ones.
    pub fn connections(&self, store: &'static str, look: impl Fn() -> Connections + Send + Sync + 'static) {
        self.pools.0.lock().unwrap_or_else(PoisonError::into_inner).insert(store, Box::new(look));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_sees_the_connections_of_that_moment() {
        let metrics = Metrics::new("house");
        assert!(!metrics.render().contains("store_connections"), "there is no store");
        let busy = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let seen = busy.clone();
        metrics.connections("house_db", move || {
            let busy = seen.load(std::sync::atomic::Ordering::Relaxed);
            Connections { busy, idle: 4 - busy, max: 11 }
        });
        busy.store(3, std::sync::atomic::Ordering::Relaxed);
        let text = metrics.render();
        for line in [
            r#"store_connections{service="house",store="house_db",state="busy"} 3"#,
            r#"store_connections{service="house",store="house_db",state="idle"} 1"#,
            r#"store_connections_max{service="house",store="house_db"} 11"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_off_measures_nothing() {
        let text_after = |metrics: Metrics| {
            metrics.rpc("Do", "Ok", Duration::from_millis(1));
            metrics.commit("house_db", "create", Duration::from_millis(1));
            metrics.gathered("house_db", 3, 1);
            metrics.published("THINGS", 2);
            metrics.consumed("THINGS", "notify", 2);
            metrics.render()
        };
        let (on, off) = (text_after(Metrics::new("house")), text_after(Metrics::off("house")));
        for sample in
            ["_seconds_count{", "store_batch_commands_count{", "events_published_total{", "events_consumed_total{"]
        {
            assert!(on.contains(sample) && !off.contains(sample), "{sample}\n{off}");
        }
    }

    #[test]
    fn hits_and_misses_are_there_before_anybody_looked_anything_up() {
        let metrics = Metrics::new("house");
        let counters = CacheCounters::register(&metrics, "thing_cache_requests", "Things");
        counters.count(true);
        let text = metrics.render();
        for line in [
            r#"thing_cache_requests_total{service="house",result="hit"} 1"#,
            r#"thing_cache_requests_total{service="house",result="miss"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
