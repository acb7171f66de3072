//! The whole shop, a process for each role on real servers, under customers who order without a pause, in two
//! ways: with group commit and with a transaction for each write; watching itself and not.

use std::collections::BTreeMap;

use chassis::Instruments;
use store::gather::BATCH_MAX;

use super::{Comparison, Round, Side, VERSION, cpu_ratio, ratio};
use experiment::report::Summary;
use scenario::{Known, Scenario};
use shop::machine;

/// What both sides play.
const THROUGHPUT: &str = include_str!("../../../scenarios/throughput.yaml");

/// Two ways to run the shop, of which one is to be better.
pub struct Contest {
    pub name: &'static str,
    about: &'static str,
    pub sides: [Way; 2],
}

/// A way to run it.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub name: &'static str,
    /// The most writes of one transaction, and the most events that a relay has on their way.
    pub batch_max: usize,
    pub instruments: Instruments,
}

const USUAL: Way = Way { name: "batched", batch_max: BATCH_MAX, instruments: Instruments::On };

/// What group commit is worth.
pub const GROUP_COMMIT: Contest = Contest {
    name: "throughput",
    about: " `unbatched` has a transaction for each write, and publishes one event at a time.",
    sides: [USUAL, Way { name: "unbatched", batch_max: 1, ..USUAL }],
};

/// What it costs to watch.
pub const INSTRUMENTS: Contest = Contest {
    name: "instruments",
    about: " `measured` is as every run is: requests are traced through every call, row and event, roles keep their metrics, \
            every attempt of a saga step goes into its histograms, and a watcher reads those twice a second and checks now \
            and then that no unit is missing. `bare` does without all of it. Customers take their own times on both sides, \
            and each role counts what only it has (such as log-ins). Nobody scrapes `/metrics`.",
    sides: [Way { name: "measured", ..USUAL }, Way { name: "bare", instruments: Instruments::Off, ..USUAL }],
};

impl Way {
    fn settings(self) -> BTreeMap<String, String> {
        let instruments = if self.instruments == Instruments::On { "on" } else { "off" };
        BTreeMap::from([
            ("--batch-max".to_owned(), self.batch_max.to_string()),
            ("instruments".to_owned(), instruments.to_owned()),
        ])
    }
}

/// How long, and how many of each.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub rounds: u32,
    pub seconds: u32,
    pub buyers: u32,
}

/// The load of one turn.
///
/// # Errors
/// When the scenario that this program brings along cannot be played that way.
pub fn scenario(known: &Known, extent: Extent, round: u32) -> Result<Scenario, String> {
    let Extent { seconds, buyers, .. } = extent;
    let warmup = if seconds > 4 { 2 } else { 0 };
    let overrides = [
        ("seed", round.to_string()),
        ("warmup", format!("{warmup}s")),
        ("load.customers.duration", format!("{seconds}s")),
        ("load.customers.vus", buyers.to_string()),
    ];
    let overrides = overrides.map(|(path, value)| (path.to_owned(), value));
    scenario::parse(THROUGHPUT, "throughput", &overrides, known).map_err(|errors| errors.to_string())
}

/// What a run of it came to.
pub fn round(summary: &Summary, cpu_us: &BTreeMap<String, u64>) -> Round {
    let orders = &summary.orders;
    let latency = summary.http.get("order").map(|http| http.corrected.clone()).unwrap_or_default();
    let millis = |micros: Option<u64>| micros.unwrap_or_default() as f64 / 1e3;
    let each = |used: &u64| ratio(*used as f64, orders.confirmed as f64);
    Round {
        seconds: summary.load_s,
        done: orders.confirmed,
        failed: orders.started - orders.confirmed,
        per_second: summary.throughput_per_s,
        p50_ms: millis(latency.p50_us),
        p99_ms: millis(latency.p99_us),
        cpu_us: cpu_us.iter().map(|(part, used)| (part.clone(), each(used))).collect(),
    }
}

/// What is wrong with the books of a run.
pub fn broken(side: &str, summary: &Summary) -> Vec<String> {
    let violated = summary.invariants.iter().filter(|finding| finding.violations > 0);
    violated.map(|finding| format!("{side}: {}: {}", finding.name, finding.examples.join("; "))).collect()
}

/// Why the figures of a run whose books are right are to be doubted.
pub fn doubtful(side: &str, summary: &Summary) -> Option<String> {
    let broken = summary.invariants.iter().any(|finding| finding.violations > 0);
    (!broken && summary.exit_code != 0).then(|| format!("{side}: a run of it exited {}", summary.exit_code))
}

/// What the turns came to.
#[derive(Default)]
pub struct Turns {
    pub rounds: [Vec<Round>; 2],
    pub broken: Vec<String>,
    pub doubtful: Vec<String>,
}

/// Everything that the turns came to.
pub fn comparison(contest: &Contest, extent: Extent, turns: Turns, commit: Option<String>) -> Comparison {
    let Extent { rounds, seconds, buyers } = extent;
    let Contest { name, about, sides } = *contest;
    let [first, second] = turns.rounds;
    let side = |way: Way, rounds| Side::of(way.name, way.settings(), rounds);
    let sides = [side(sides[0], first), side(sides[1], second)];
    let [first, second] = &sides;
    let ratio = ratio(first.per_second, second.per_second);
    Comparison {
        version: VERSION,
        name,
        about: format!(
            "{buyers} customers order without a pause for {seconds} s a round, over HTTP, one unit of one of 100 products \
             each time. Every role is a process of its own, on a private PostgreSQL that waits for the disk, NATS JetStream and \
             Redis; each round has a fresh shop. What is counted are whole orders: confirmed, and in the end found right by all \
             invariants. CPU is that of everybody, customers, servers and whoever watches too, from the first order until \
             everything has come to rest.{about}"
        ),
        machine: machine::machine(),
        commit,
        command: format!("shopctl bench {name} --rounds {rounds} --seconds {seconds} --buyers {buyers}"),
        unit: "confirmed orders",
        cpu_ratio: cpu_ratio(&sides),
        sides,
        ratio,
        broken: turns.broken,
        doubtful: turns.doubtful,
    }
}
