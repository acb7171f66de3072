//! `summary.json`: the run as data. Every other report is made from it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::{self, Verdict};
use super::threshold::ThresholdResult;
use crate::run::Conducted;
use crate::run::board::Entry;
use audit::Finding;
use audit::witness::Fate;
use load::recorder::Latency;
use order::domain::Step;
use scenario::Scenario;
use shop::World;
use shop::machine::Used;
use world::probe::observe::Breaker;

/// The version of the format. It changes when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    pub version: u32,
    pub scenario: ScenarioInfo,
    pub seed: u64,
    pub infra: World,
    /// What storage promises, in words: it bounds what a crash may lose.
    pub durability: String,
    /// The commit that the working folder stood at; `None` outside a repository.
    pub commit: Option<String>,
    pub shopctl: String,
    pub machine: String,
    pub settings: BTreeMap<String, String>,
    pub verdict: Verdict,
    pub exit_code: u8,
    pub startup_ms: f64,
    pub seeding_ms: f64,
    /// The shop's clock at the load's start, in microseconds since 1970.
    #[serde(default)]
    pub started_at_us: i64,
    /// From the load's start until everything had come to rest.
    pub duration_s: f64,
    pub load_s: f64,
    pub orders: Orders,
    /// Orders confirmed, over the load's time.
    pub throughput_per_s: f64,
    pub http: BTreeMap<String, Http>,
    pub steps: BTreeMap<String, StepSummary>,
    pub breaker: Breaker,
    /// Every fault, planned and by hand.
    #[serde(default)]
    pub faults: Vec<FaultResult>,
    /// The user ended the load before its time.
    #[serde(default)]
    pub stopped: bool,
    /// Somebody stepped in (a fault by hand, a pause): not comparable with other runs.
    #[serde(default)]
    pub manual: bool,
    /// How far cancelled orders had come, by reason.
    #[serde(default)]
    pub cancellations: Vec<Cancellation>,
    pub thresholds: Vec<ThresholdResult>,
    pub invariants: Vec<Finding>,
    pub resources: BTreeMap<String, Resources>,
    pub generator: Generator,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScenarioInfo {
    pub name: String,
    pub about: String,
    /// Of the file and the overrides: runs are comparable when it is equal.
    pub hash: String,
    pub warmup_s: f64,
}

/// Fates are disjoint and add up to `started`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Orders {
    pub started: u64,
    pub confirmed: u64,
    pub cancelled: u64,
    /// Cancelled orders by reason.
    pub cancelled_by: BTreeMap<String, u64>,
    pub rejected: u64,
    pub errors: u64,
    pub unknown: u64,
    /// Units of confirmed orders, by SKU.
    pub units_confirmed: BTreeMap<String, u64>,
}

/// Percentiles in microseconds; `None` without samples.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50_us: Option<u64>,
    pub p90_us: Option<u64>,
    pub p95_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub p999_us: Option<u64>,
    pub max_us: Option<u64>,
}

impl Percentiles {
    pub fn of(latency: &Latency) -> Self {
        let at = |percent| latency.percentile_us(percent);
        Self {
            p50_us: at(50.0),
            p90_us: at(90.0),
            p95_us: at(95.0),
            p99_us: at(99.0),
            p999_us: at(99.9),
            max_us: (latency.count() > 0).then(|| latency.histogram().max()),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Http {
    pub count: u64,
    pub failed: u64,
    /// Those of them in the percentiles: due after the warm-up.
    pub measured: u64,
    /// From the instant that the request was due.
    #[serde(flatten)]
    pub corrected: Percentiles,
    /// From the instant that it was sent: what a closed-loop tool would report.
    pub uncorrected: Percentiles,
}

/// Attempts of one saga step. Counts are of the whole run, percentiles of what came after the warm-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepSummary {
    pub count: u64,
    pub outcomes: BTreeMap<String, u64>,
    pub measured: u64,
    #[serde(flatten)]
    pub percentiles: Percentiles,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time over the orders that were started, in microseconds: of a role (a thread or a process)
    /// since its start, of a server with its children since the run began to measure it.
    pub cpu_us_per_order: Option<f64>,
    /// The most memory held, in megabytes: of a process its peak resident set; of a server with its
    /// children the largest sum that was seen of proportional set sizes, or of resident sets where the
    /// kernel does not tell those, which counts shared memory more than once. Threads have none.
    pub rss_mb: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Of one core, over the load's time.
    pub cpu_pct: Option<f64>,
    pub schedule_lag_p99_us: Option<u64>,
    pub dropped: u64,
    pub interrupted: u64,
}

/// What became of a fault. Seconds count from the load's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultResult {
    pub name: String,
    pub target: String,
    pub kind: String,
    pub parameters: BTreeMap<String, String>,
    /// Injected by hand.
    pub manual: bool,
    pub planned_at_s: Option<f64>,
    pub planned_for_s: Option<f64>,
    pub injected_at_s: Option<f64>,
    pub lifted_at_s: Option<f64>,
    /// The same on the shop's clock, in microseconds since 1970.
    pub injected_at_us: Option<i64>,
    pub lifted_at_us: Option<i64>,
    /// How many calls it touched.
    pub hits: u64,
    /// Why it could not be injected or lifted.
    pub failure: Option<String>,
}

/// Orders that were cancelled in a state for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// pending, reserved or paid: the state in which the abort was decided.
    pub from: String,
    pub reason: String,
    pub orders: u64,
}

/// What the world adds to what was conducted.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    pub durability: String,
    pub commit: Option<String>,
    pub machine: String,
    pub startup_ms: f64,
    /// What each role used, be it a thread or a process, and each server.
    pub used: BTreeMap<String, Used>,
    /// Roles that ended by themselves, each in a line.
    pub died: Vec<String>,
    pub generator_cpu_us: Option<u64>,
    pub rss_mb: Option<f64>,
}

impl Summary {
    /// The whole summary; pure.
    pub fn of(scenario: &Scenario, conducted: &Conducted, world: World, around: Circumstances) -> Self {
        let thresholds = judge::thresholds(scenario, conducted, world);
        let verdict = judge::verdict(scenario, conducted, &thresholds, &around.died, world);
        let orders = orders(conducted);
        let load_s = conducted.load_took.as_secs_f64();
        Self {
            version: VERSION,
            scenario: ScenarioInfo {
                name: scenario.name.clone(),
                about: scenario.about.clone(),
                hash: scenario.hash.clone(),
                warmup_s: scenario.warmup.as_secs_f64(),
            },
            seed: scenario.seed,
            infra: world,
            durability: around.durability.clone(),
            commit: around.commit.clone(),
            shopctl: env!("CARGO_PKG_VERSION").to_owned(),
            machine: around.machine.clone(),
            settings: scenario.shop.settings.clone(),
            exit_code: verdict.exit_code,
            verdict,
            startup_ms: around.startup_ms,
            seeding_ms: conducted.seeded_in.as_secs_f64() * 1e3,
            started_at_us: conducted.started_at.as_micros(),
            duration_s: conducted.took.as_secs_f64(),
            load_s,
            throughput_per_s: if load_s > 0.0 { orders.confirmed as f64 / load_s } else { 0.0 },
            http: http(conducted),
            steps: steps(conducted),
            breaker: conducted.breaker.clone(),
            faults: conducted.faults.iter().map(|entry| fault(entry, conducted.started_at.as_micros())).collect(),
            stopped: conducted.stopped,
            manual: conducted.manual,
            cancellations: cancellations(conducted),
            thresholds,
            invariants: judge::invariants(scenario, conducted).cloned().collect(),
            resources: resources(&around, orders.started),
            generator: Generator {
                cpu_pct: around.generator_cpu_us.map(|us| us as f64 / 1e4 / load_s.max(1e-9)),
                schedule_lag_p99_us: conducted.totals.schedule_lag.percentile_us(99.0),
                dropped: conducted.totals.dropped,
                interrupted: conducted.totals.interrupted,
            },
            orders,
        }
    }

    /// A moment of the shop's clock, in seconds since the load's start.
    pub fn since_start_s(&self, at_us: i64) -> f64 {
        (at_us - self.started_at_us) as f64 / 1e6
    }

    /// # Errors
    /// When it cannot be written as JSON, which does not happen.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| error.to_string())
    }
}

/// Its moments are those of the shop's clock, as the breaker's transitions are.
fn fault(entry: &Entry, started_at_us: i64) -> FaultResult {
    let seconds = |at: Duration| at.as_secs_f64();
    let since_start = |at_us: i64| (at_us - started_at_us) as f64 / 1e6;
    FaultResult {
        name: entry.fault.name.clone(),
        target: entry.fault.target.name.to_owned(),
        kind: entry.fault.kind.name.to_owned(),
        parameters: entry.fault.written.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        manual: entry.planned.is_none(),
        planned_at_s: entry.planned.map(|(at, _)| seconds(at)),
        planned_for_s: entry.planned.map(|(_, lasts)| seconds(lasts)),
        injected_at_s: entry.injected_at_us.map(since_start),
        lifted_at_s: entry.lifted_at_us.map(since_start),
        injected_at_us: entry.injected_at_us,
        lifted_at_us: entry.lifted_at_us,
        hits: entry.hits,
        failure: entry.failure.clone(),
    }
}

fn cancellations(conducted: &Conducted) -> Vec<Cancellation> {
    let counted = conducted.audit.cancellations.iter();
    let counted = counted.map(|((from, reason), orders)| Cancellation {
        from: from.clone(),
        reason: reason.clone(),
        orders: *orders,
    });
    counted.collect()
}

fn orders(conducted: &Conducted) -> Orders {
    let fates = judge::fates(conducted);
    let of = |fate: Fate| fates.get(&fate).copied().unwrap_or_default();
    let mut orders = Orders {
        started: fates.values().sum(),
        confirmed: of(Fate::Confirmed),
        cancelled: of(Fate::Cancelled),
        rejected: of(Fate::Rejected),
        errors: of(Fate::Errors),
        unknown: of(Fate::Unknown),
        ..Orders::default()
    };
    for known in conducted.witness.orders.values() {
        match known.fate() {
            (Fate::Cancelled, reason) => {
                *orders.cancelled_by.entry(reason.unwrap_or_else(|| "unsaid".into())).or_default() += 1;
            }
            (Fate::Confirmed, _) => {
                for item in &known.items {
                    *orders.units_confirmed.entry(item.sku.clone()).or_default() += u64::from(item.quantity);
                }
            }
            _ => {}
        }
    }
    orders
}

fn http(conducted: &Conducted) -> BTreeMap<String, Http> {
    let named = conducted.totals.requests.iter().map(|(name, requests)| {
        let http = Http {
            count: requests.count,
            failed: requests.failed,
            measured: requests.corrected.count(),
            corrected: Percentiles::of(&requests.corrected),
            uncorrected: Percentiles::of(&requests.uncorrected),
        };
        ((*name).to_owned(), http)
    });
    named.collect()
}

fn steps(conducted: &Conducted) -> BTreeMap<String, StepSummary> {
    let ran = Step::ALL.into_iter().filter_map(|step| {
        let name = step.as_str();
        let all = conducted.steps.merged(|candidate, _| candidate == name)?;
        let measured = conducted.steps_measured.merged(|candidate, _| candidate == name);
        let measured = measured.map(Latency::from_histogram).unwrap_or_default();
        let outcomes = conducted.steps.0.iter().filter(|((candidate, _), _)| candidate == name);
        let summary = StepSummary {
            count: all.len(),
            outcomes: outcomes.map(|((_, outcome), histogram)| (outcome.clone(), histogram.len())).collect(),
            measured: measured.count(),
            percentiles: Percentiles::of(&measured),
        };
        Some((name.to_owned(), summary))
    });
    ran.collect()
}

fn resources(around: &Circumstances, started: u64) -> BTreeMap<String, Resources> {
    let per_order = |us: u64| (started > 0).then(|| us as f64 / started as f64);
    let used = around.used.iter().map(|(name, used)| {
        let resources = Resources { cpu_us_per_order: used.cpu_us.and_then(per_order), rss_mb: used.peak_mb };
        (name.clone(), resources)
    });
    let mut resources: BTreeMap<String, Resources> = used.collect();
    if around.rss_mb.is_some() {
        let within = around.used.values().filter(|used| used.within).filter_map(|used| used.cpu_us);
        let total = within.sum::<u64>() + around.generator_cpu_us.unwrap_or_default();
        let whole = Resources { cpu_us_per_order: per_order(total), rss_mb: around.rss_mb };
        resources.insert("shopctl".into(), whole);
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_as_processes_stand_beside_this_process_and_threads_within_it() {
        let used = |cpu_us, within: bool| Used {
            cpu_us: Some(cpu_us),
            peak_mb: (!within).then_some(20.0),
            within,
            held_mb: None,
        };
        let around = Circumstances {
            used: [("order", used(300, true)), ("payment", used(500, false))]
                .map(|(name, used)| (name.to_owned(), used))
                .into(),
            generator_cpu_us: Some(100),
            rss_mb: Some(50.0),
            ..Circumstances::default()
        };
        let resources = resources(&around, 100);
        let of = |name: &str| (resources[name].cpu_us_per_order, resources[name].rss_mb);
        assert_eq!(of("order"), (Some(3.0), None));
        assert_eq!(of("payment"), (Some(5.0), Some(20.0)));
        assert_eq!(of("shopctl"), (Some(4.0), Some(50.0)));
    }
}
