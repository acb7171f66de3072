//! A shop that fills up: what an order costs there, against the number of orders that it has already.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::plot::{self, Panel, Series};
use super::{VERSION, cpu_us, meter, ratio, since};
use experiment::report::Summary;
use experiment::run::progress::{Event, Sink};
use load::recorder::Latency;
use scenario::{Known, Scenario};
use shop::machine::{self, Holdings, Meter};

/// Samples of a whole growth, evenly over the orders; bounds what is kept.
const SAMPLES: u64 = 100;
/// Rows of the table for people, of as many samples.
const ROWS: usize = 10;

const SCENARIO: &str = "\
version: 1
name: growth
about: customers order without a pause until the shop has as many orders as were asked for
seed: 1
shop:
  users: 10000
  catalog: { generate: 100, stock: 1000000 }
  settings: { gateway.rate_limit_per_minute: 10000000, acquirer.decline_rate: 0, acquirer.latency: 0ms..0ms }
load:
  customers:
    executor: shared-iterations
    vus: 64
    iterations: 1000000
    max_duration: 24h
    journey:
      - order: { items: [{ sku: any, quantity: 1 }] }
expect:
  thresholds:
    order_errors: [rate<0.001]
  invariants: all
graceful_stop: 30s
quiescence_timeout: 600s
";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub orders: u32,
    pub buyers: u32,
}

/// The load of a growth.
///
/// # Errors
/// When there are fewer orders than customers.
pub fn scenario(known: &Known, Extent { orders, buyers }: Extent) -> Result<Scenario, String> {
    if orders < buyers {
        return Err(format!("error: --orders is {orders}, fewer than the {buyers} of --buyers who share them"));
    }
    let overrides = [("load.customers.iterations", orders), ("load.customers.vus", buyers)];
    let overrides = overrides.map(|(path, value)| (path.to_owned(), value.to_string()));
    scenario::parse(SCENARIO, "growth", &overrides, known).map_err(|errors| errors.to_string())
}

/// A growth, as it was measured.
#[derive(Debug, Serialize)]
pub struct Growth {
    pub version: u32,
    pub name: &'static str,
    pub about: String,
    pub machine: String,
    /// Of the working folder, if it is a git checkout.
    pub commit: Option<String>,
    /// The command that measures it again.
    pub command: String,
    /// The first is of the moment before the first order.
    pub samples: Vec<Sample>,
    /// What was found wrong with the books; then the figures mean nothing.
    pub broken: Vec<String>,
    /// What speaks against the figures although the books are right.
    pub doubtful: Vec<String>,
}

/// The shop at one moment, and its orders since the sample before.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sample {
    /// Confirmed so far.
    pub orders: u64,
    /// Since the first order.
    pub seconds: f64,
    /// Confirmed orders since the sample before.
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time for each order since the sample before.
    pub cpu_us: BTreeMap<String, f64>,
    /// What each part holds.
    pub memory_mb: BTreeMap<String, f64>,
    /// What lies on the disk.
    pub disk_mb: BTreeMap<String, f64>,
}

/// Listens to a run, and takes a sample whenever enough orders have come.
#[derive(Clone)]
pub struct Sampler(Arc<Mutex<State>>);

struct State {
    /// Orders from one sample to the next.
    every: u64,
    told: fn(&Sample),
    meter: Meter,
    holdings: Arc<Holdings>,
    began: Option<Instant>,
    /// The load is: what comes now is the last of it.
    over: bool,
    /// Answered since the last sample.
    answered: Latency,
    confirmed: u64,
    /// Processor time at the last sample.
    cpu_us: BTreeMap<String, u64>,
    samples: Vec<Sample>,
}

impl Sampler {
    /// For a growth to as many orders; `told` hears of every sample.
    pub fn new(orders: u32, told: fn(&Sample)) -> Self {
        Self(Arc::new(Mutex::new(State {
            every: (u64::from(orders) / SAMPLES).max(1),
            told,
            meter: Meter::default(),
            holdings: Arc::default(),
            began: None,
            over: false,
            answered: Latency::default(),
            confirmed: 0,
            cpu_us: BTreeMap::new(),
            samples: Vec::new(),
        })))
    }

    /// What a run tells its events to. Ticks come from the watcher's thread, which may take its time.
    pub fn sink(&self) -> Sink {
        let state = self.0.clone();
        Arc::new(move |event| state.lock().unwrap_or_else(PoisonError::into_inner).hear(event))
    }

    pub fn samples(&self) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).samples.clone()
    }
}

impl State {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::ShopUp { holdings, .. } => {
                self.meter = meter(holdings);
                self.holdings = holdings.clone();
            }
            // Before the load: it takes a moment, and nobody waits for it then.
            Event::Seeded { .. } => self.sample(),
            Event::LoadStarts { .. } => self.began = Some(Instant::now()),
            Event::Tick(tick) => {
                self.answered.add(&tick.answered);
                self.confirmed = tick.fates.get("confirmed").copied().unwrap_or_default();
                let wanted = if self.over { 1 } else { self.every };
                self.sample_if(wanted);
            }
            Event::Settling => {
                self.over = true;
                self.sample_if(1);
            }
            _ => {}
        }
    }

    fn sample_if(&mut self, wanted: u64) {
        let last = self.samples.last().map_or(0, |sample| sample.orders);
        if self.confirmed >= last + wanted {
            self.sample();
        }
    }

    fn sample(&mut self) {
        let seconds = self.began.map_or(Duration::ZERO, |began| began.elapsed()).as_secs_f64();
        let cpu = cpu_us(&mut self.meter);
        let used = self.meter.used();
        let (last, last_seconds) = self.samples.last().map_or((0, 0.0), |sample| (sample.orders, sample.seconds));
        let orders = self.confirmed - last;
        let millis = |percent| self.answered.percentile_us(percent).unwrap_or_default() as f64 / 1e3;
        let each = |(part, used): (String, u64)| (part, ratio(used as f64, orders as f64));
        let mut sample = Sample {
            orders: self.confirmed,
            seconds,
            per_second: ratio(orders as f64, seconds - last_seconds),
            p50_ms: millis(50.0),
            p99_ms: millis(99.0),
            cpu_us: since(&self.cpu_us, cpu.clone()).into_iter().map(each).collect(),
            memory_mb: used.iter().filter_map(|(part, used)| Some((part.clone(), used.held_mb?))).collect(),
            disk_mb: self.holdings.folders.iter().map(|(name, path)| (name.clone(), machine::disk_mb(path))).collect(),
        };
        // The orders left over in the end are too few to tell how fast they were.
        if let Some(last) = self.samples.last().filter(|_| self.over && orders < self.every / 2) {
            let Sample { per_second, p50_ms, p99_ms, ref cpu_us, .. } = *last;
            sample = Sample { per_second, p50_ms, p99_ms, cpu_us: cpu_us.clone(), ..sample };
        }
        (self.told)(&sample);
        self.answered = Latency::default();
        self.cpu_us = cpu;
        self.samples.push(sample);
    }
}

impl Growth {
    pub fn of(
        Extent { orders, buyers }: Extent,
        samples: Vec<Sample>,
        broken: Vec<String>,
        doubtful: Vec<String>,
        commit: Option<String>,
    ) -> Self {
        Self {
            version: VERSION,
            name: "growth",
            about: format!(
                "{buyers} customers order without a pause, over HTTP, one unit of one of 100 products each time, until the shop \
                 has {orders} orders. Every role is a process of its own, on a private PostgreSQL that waits for the disk, NATS \
                 JetStream and Redis. Nothing is ever cleared away. In the end all invariants are checked on all of them. \
                 Speed, latency and CPU are those of the orders since the point before, a hundredth of all. Memory is what \
                 the roles' and servers' processes hold, without the customers' (`shopctl`, with its record of every order); \
                 PostgreSQL's cache of 256 MB is in it, and fills up. What an order leaves on the disk is counted since the \
                 first one, without PostgreSQL's log, which is used again when it has reached its 4 GB."
            ),
            machine: machine::machine(),
            commit,
            command: format!("shopctl bench growth --orders {orders} --buyers {buyers}"),
            samples,
            broken,
            doubtful,
        }
    }

    /// For people: the picture of that name, and a table of every tenth sample and of what each part holds.
    pub fn markdown(&self, picture: &str) -> String {
        let Self { name, about, machine, commit, command, broken, doubtful, .. } = self;
        let mut text = format!("# {name}\n\n{about}\n\n");
        let commit = commit.as_deref().unwrap_or("unknown");
        // Writing into a String does not fail.
        let _ = writeln!(text, "Command: `{command}` · commit {commit} · {machine}\n");
        for why in broken {
            let _ = writeln!(text, "**These figures mean nothing**: {why}\n");
        }
        for why in doubtful {
            let _ = writeln!(text, "**These figures are doubtful**: {why}\n");
        }
        let _ = writeln!(text, "![What an order costs against the orders there]({picture})\n");
        text.push_str("| orders there | a second | p50 | p99 | CPU each | memory | disk | of it each order |\n");
        text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        let rows = self.samples.len().div_ceil(ROWS).max(1);
        for sample in self.samples.iter().skip(1).rev().step_by(rows).collect::<Vec<_>>().into_iter().rev() {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.1} ms | {:.1} ms | {:.0} µs | {:.0} MB | {:.0} MB | {:.2} KB |",
                sample.orders,
                sample.per_second,
                sample.p50_ms,
                sample.p99_ms,
                sample.cpu_us.values().sum::<f64>(),
                shop_memory_mb(sample),
                sample.disk_mb.values().sum::<f64>(),
                self.disk_kb_each(sample, None)
            );
        }
        if let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) {
            text.push_str("\n| | memory at first | in the end | disk at first | in the end | each order |\n");
            text.push_str("|---|---:|---:|---:|---:|---:|\n");
            let mut names: Vec<&String> = last.memory_mb.keys().chain(last.disk_mb.keys()).collect();
            names.sort();
            names.dedup();
            for part in names {
                let of =
                    |from: &BTreeMap<String, f64>| from.get(part).map(|mb| format!("{mb:.0} MB")).unwrap_or_default();
                let each = last.disk_mb.contains_key(part).then(|| self.disk_kb_each(last, Some(part)));
                let each = each.map(|kb| format!("{kb:.2} KB")).unwrap_or_default();
                let _ = writeln!(
                    text,
                    "| {part} | {} | {} | {} | {} | {each} |",
                    of(&first.memory_mb),
                    of(&last.memory_mb),
                    of(&first.disk_mb),
                    of(&last.disk_mb)
                );
            }
        }
        text
    }

    /// What has come to the disk since the first order, for each: in all but the log, or in one folder.
    fn disk_kb_each(&self, sample: &Sample, folder: Option<&str>) -> f64 {
        let held = |sample: &Sample| -> f64 {
            let wanted = |name: &str| folder.map_or(name != POSTGRES_LOG, |folder| folder == name);
            let of = sample.disk_mb.iter().filter(|(name, _)| wanted(name));
            of.map(|(_, mb)| mb).sum()
        };
        let before = self.samples.first().map(held).unwrap_or_default();
        ratio((held(sample) - before) * 1024.0, sample.orders as f64)
    }

    /// The picture: latency, speed, processor, memory and disk against the orders that are there, as SVG.
    pub fn picture(&self) -> String {
        let samples = || self.samples.iter().skip(1);
        let line = |name: &str, value: &dyn Fn(&Sample) -> f64| Series {
            name: name.to_owned(),
            points: samples().map(|sample| (sample.orders as f64, value(sample))).collect(),
        };
        let parts = |of: fn(&Sample) -> &BTreeMap<String, f64>| -> Vec<String> {
            let last = self.samples.last().map(of).cloned().unwrap_or_default();
            let mut parts: Vec<(String, f64)> = last.into_iter().collect();
            parts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            parts.into_iter().map(|(name, _)| name).take(LARGEST).collect()
        };
        let each = |of: fn(&Sample) -> &BTreeMap<String, f64>, all: Series| -> Vec<Series> {
            let largest = parts(of)
                .into_iter()
                .map(|part| line(&part, &|sample| of(sample).get(&part).copied().unwrap_or_default()));
            std::iter::once(all).chain(largest).collect()
        };
        let disk = parts(|sample| &sample.disk_mb).into_iter().filter(|folder| folder != POSTGRES_LOG);
        let disk = disk.map(|folder| line(&folder, &|sample| self.disk_kb_each(sample, Some(&folder))));
        let panels = [
            Panel { title: "Confirmed orders a second", series: vec![line("confirmed", &|sample| sample.per_second)] },
            Panel {
                title: "POST orders, from due to answer, in ms",
                series: vec![line("p50", &|sample| sample.p50_ms), line("p99", &|sample| sample.p99_ms)],
            },
            Panel {
                title: "CPU for each order, in µs",
                series: each(|sample| &sample.cpu_us, line("all", &|sample| sample.cpu_us.values().sum())),
            },
            Panel {
                title: "Memory held, in MB",
                series: each(|sample| &sample.memory_mb, line("the shop", &shop_memory_mb)),
            },
            Panel {
                title: "Disk for each order since the first, without PostgreSQL's log, in KB",
                series: std::iter::once(line("all", &|sample| self.disk_kb_each(sample, None))).chain(disk).collect(),
            },
        ];
        plot::svg("What an order costs, against the orders that are there", "orders there", &panels)
    }
}

/// Parts with a line of their own; the others are only in the sum.
const LARGEST: usize = 5;
/// As [`Holdings`] has it.
const POSTGRES_LOG: &str = "postgres-wal";
/// Orders that no sample has may be this share of all: their first answer said that they were under way.
const UNSEEN_MAX: f64 = 0.001;

/// What everybody but the customers holds.
fn shop_memory_mb(sample: &Sample) -> f64 {
    sample.memory_mb.iter().filter(|(part, _)| *part != "shopctl").map(|(_, mb)| mb).sum()
}

/// Samples count the orders whose first answer said that they are confirmed; why they are not the figures of the run,
/// if others were confirmed later.
pub fn unseen(samples: &[Sample], summary: &Summary) -> Option<String> {
    let (seen, all) = (samples.last().map_or(0, |sample| sample.orders), summary.orders.confirmed);
    let off = seen.abs_diff(all) as f64 > all as f64 * UNSEEN_MAX;
    off.then(|| format!("{all} orders were confirmed, and the samples have {seen}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use experiment::run::glance::Tick;

    fn tick(confirmed: u64, took: Duration) -> Event {
        let mut answered = Latency::default();
        answered.record(took);
        let fates = BTreeMap::from([("confirmed", confirmed), ("unknown", 7)]);
        Event::Tick(Box::new(Tick { fates, answered: Arc::new(answered), ..Tick::default() }))
    }

    fn a_growth() -> Growth {
        let sample = |orders: u64, p99_ms: f64, nats: f64, disk: f64| Sample {
            orders,
            seconds: orders as f64 / 1000.0,
            per_second: 1000.0,
            p50_ms: 20.0,
            p99_ms,
            cpu_us: [("postgres".to_owned(), 700.0), ("order".to_owned(), 300.0)].into(),
            memory_mb: [("nats".to_owned(), nats), ("order".to_owned(), 40.0)].into(),
            disk_mb: [("nats".to_owned(), disk), ("postgres".to_owned(), 60.0 + 2.0 * disk)].into(),
        };
        let samples = (0..=20).map(|n| sample(n * 50, 40.0 + n as f64, 50.0 + n as f64, n as f64)).collect();
        let (broken, doubtful) = (vec!["an order is lost".to_owned()], vec!["it exited 99".to_owned()]);
        let growth =
            Growth::of(Extent { orders: 1000, buyers: 8 }, samples, broken, doubtful, Some("0123456789ab".into()));
        Growth { machine: "2 cores".into(), ..growth }
    }

    #[test]
    fn a_sample_is_taken_whenever_enough_orders_have_come_and_holds_what_came_since_the_last() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rows"), vec![1; 1 << 20]).unwrap();
        let sampler = Sampler::new(1000, |_| {});
        let sink = sampler.sink();
        let folders = vec![("postgres".to_owned(), folder.path().to_owned())];
        sink(&Event::ShopUp { took: Duration::ZERO, holdings: Arc::new(Holdings { parts: Vec::new(), folders }) });
        sink(&Event::Seeded { users: 1, products: 1, took: Duration::ZERO });
        sink(&Event::LoadStarts { at: kernel::Timestamp::from_micros(0) });
        sink(&tick(4, Duration::from_millis(1)));
        sink(&tick(12, Duration::from_millis(3)));
        sink(&tick(15, Duration::from_millis(50)));
        sink(&tick(25, Duration::from_millis(50)));
        sink(&Event::Settling);
        sink(&tick(26, Duration::from_millis(50)));
        let samples = sampler.samples();
        let orders: Vec<u64> = samples.iter().map(|sample| sample.orders).collect();
        assert_eq!(orders, [0, 12, 25, 26], "in the end every order is in a sample");
        assert!((samples[3].per_second - samples[2].per_second).abs() < 1e-9, "one order tells no rate: {samples:?}");
        assert!(samples[1].p99_ms < 4.0 && samples[2].p50_ms > 40.0, "{samples:?}");
        assert!(samples.iter().all(|sample| sample.disk_mb["postgres"] >= 1.0 && sample.memory_mb["shopctl"] > 1.0));
        assert!(samples[0].cpu_us["shopctl"] < 1e-9, "there is no order that it could be of");
    }

    #[test]
    fn a_growth_is_told_by_tenths_with_what_each_order_leaves_and_what_is_wrong() {
        insta::assert_snapshot!(a_growth().markdown("growth.svg"));
    }

    #[test]
    fn a_growth_is_drawn_in_five_diagrams_over_the_orders_there() {
        let picture = a_growth().picture();
        assert_eq!(picture.matches("class=\"t\"").count(), 5);
        assert!(
            picture.contains(">orders there<") && picture.contains(">p99<") && picture.contains(">1\u{202f}000<"),
            "{picture}"
        );
    }

    #[test]
    fn the_scenario_that_comes_along_is_valid_and_takes_its_extent() {
        let scenario = scenario(&scenario::known(), Extent { orders: 500, buyers: 8 }).unwrap();
        assert_eq!(scenario.name, "growth");
        let refused = super::scenario(&scenario::known(), Extent { orders: 5, buyers: 8 }).unwrap_err();
        assert!(refused.contains("--orders is 5, fewer than the 8 of --buyers"), "{refused}");
    }
}
