//! The whole shop, a process for each role on real servers, under customers who order without a pause: with group
//! commit, and with a transaction for each write.

use std::collections::BTreeMap;

use chassis::gather::BATCH_MAX;

use super::{Comparison, Round, Side, VERSION, ratio};
use crate::report::Summary;
use crate::run::resources;
use crate::scenario::{self, Known, Scenario};

/// What both sides play.
const THROUGHPUT: &str = include_str!("../../../scenarios/throughput.yaml");
/// One side of `throughput`: its name, and the most writes of one transaction.
pub const SIDES: [(&str, usize); 2] = [("batched", BATCH_MAX), ("unbatched", 1)];

/// The load of one turn.
///
/// # Errors
/// When the scenario that this program brings along cannot be played that way.
pub fn scenario(known: &Known, seconds: u32, buyers: u32, round: u32) -> Result<Scenario, String> {
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
pub fn round(summary: &Summary) -> Round {
    let orders = &summary.orders;
    let latency = summary.http.get("order").map(|http| http.corrected.clone()).unwrap_or_default();
    let millis = |micros: Option<u64>| micros.unwrap_or_default() as f64 / 1e3;
    let cpu = summary.resources.iter().filter_map(|(part, used)| Some((part.clone(), used.cpu_us_per_order?)));
    Round {
        seconds: summary.load_s,
        done: orders.confirmed,
        failed: orders.started - orders.confirmed,
        per_second: summary.throughput_per_s,
        p50_ms: millis(latency.p50_us),
        p99_ms: millis(latency.p99_us),
        cpu_us: cpu.collect(),
    }
}

/// What is wrong with the books of a run, or with the run: its figures mean nothing then.
pub fn broken(side: &str, summary: &Summary) -> Vec<String> {
    let violated = summary.invariants.iter().filter(|finding| finding.violations > 0);
    let mut wrong: Vec<String> =
        violated.map(|finding| format!("{side}: {}: {}", finding.name, finding.examples.join("; "))).collect();
    if wrong.is_empty() && summary.exit_code != 0 {
        wrong.push(format!("{side}: the run exited {}", summary.exit_code));
    }
    wrong
}

/// Everything that the turns came to.
pub fn comparison(
    rounds: [Vec<Round>; 2],
    broken: Vec<String>,
    (seconds, buyers): (u32, u32),
    command: String,
    commit: Option<String>,
) -> Comparison {
    let side = |(name, batch_max): (&'static str, usize), rounds| {
        Side::of(name, BTreeMap::from([("--batch-max".to_owned(), batch_max.to_string())]), rounds)
    };
    let [first, second] = rounds;
    let [batched, unbatched] = SIDES;
    let sides = [side(batched, first), side(unbatched, second)];
    let [first, second] = &sides;
    let ratio = ratio(first.per_second, second.per_second);
    Comparison {
        version: VERSION,
        name: "throughput",
        about: format!(
            "{buyers} customers order without a pause for {seconds} s a round, over HTTP, one unit of one of 100 products \
             each time. Every role is a process of its own, on a private PostgreSQL that waits for the disk, NATS JetStream and \
             Redis; each round has a fresh shop. What is counted are whole orders: confirmed, and in the end found right by all \
             invariants. CPU is that of everybody, customers and servers too, seeding and start included."
        ),
        machine: resources::machine(),
        commit,
        command,
        unit: "confirmed orders",
        sides,
        ratio,
        broken,
    }
}
