//! `shopctl bench`.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::args::{BenchArgs, BenchUsual, Benchmark, TurnsArgs};
use super::git::commit;
use super::live::{self, Standing, Watched};
use super::pictures::Pictures;
use super::signals::Signals;
use super::{runtime, say};
use crate::bench::growth::{self, Growth, Sample, Sampler};
use crate::bench::whole_shop::{self, Contest, Turns, Way};
use crate::bench::{Comparison, Gauge, hot_product, markdown};
use experiment::report::Summary;
use experiment::report::exit::{ExitCode, Failure};
use experiment::run::progress::Sink;
use scenario::Scenario;
use world::Admin;
use world::infra::{Infra, InfraArgs};

/// A report: its name, and what stands in each of its files, by ending.
struct Report {
    name: &'static str,
    markdown: String,
    others: Vec<(&'static str, String)>,
    code: ExitCode,
}

/// Measures what was asked for, and writes what came of it.
pub fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let out = match &args.benchmark {
        Benchmark::HotProduct(args) | Benchmark::Throughput(args) | Benchmark::Instruments(args) => &args.usual.out,
        Benchmark::Growth(args) => &args.usual.out,
    };
    // A folder that cannot be written is better known now than afterwards.
    fs::create_dir_all(out).map_err(|error| Failure::invalid(format!("error: {}: {error}", out.display())))?;
    let scratch = tempfile::tempdir().map_err(|error| Failure::shop(format!("error: no temporary folder: {error}")))?;
    let report = runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        signals.unless_asked(measure(&args.benchmark, scratch.path())).await
    })?;
    let stem = out.join(report.name);
    for (ending, text) in &report.others {
        write(&stem.with_extension(ending), text)?;
    }
    let page = stem.with_extension("md");
    write(&page, &report.markdown)?;
    say(format_args!("\n{}", report.markdown));
    say(format_args!("report: {}", page.display()));
    Ok(report.code)
}

async fn measure(benchmark: &Benchmark, scratch: &Path) -> Result<Report, Failure> {
    match benchmark {
        Benchmark::HotProduct(TurnsArgs { rounds, seconds, usual: BenchUsual { buyers, .. } }) => {
            let command = format!("shopctl bench hot-product --rounds {rounds} --seconds {seconds} --buyers {buyers}");
            let extent = hot_product::Extent { rounds: *rounds, seconds: *seconds, buyers: *buyers };
            let compared = hot_product::compare(extent, scratch, command, commit(), say).await;
            compared.map_err(|why| Failure::shop(format!("error: {why}"))).and_then(|compared| report_of(&compared))
        }
        Benchmark::Throughput(args) => in_turns(&whole_shop::GROUP_COMMIT, args, scratch).await,
        Benchmark::Instruments(args) => in_turns(&whole_shop::INSTRUMENTS, args, scratch).await,
        Benchmark::Growth(args) => grow(args.orders, args.usual.buyers, scratch).await,
    }
}

fn report_of(comparison: &Comparison) -> Result<Report, Failure> {
    Ok(Report {
        name: comparison.name,
        markdown: markdown(comparison),
        others: vec![("json", json(comparison)?)],
        code: code(&comparison.broken, &comparison.doubtful),
    })
}

fn code(broken: &[String], doubtful: &[String]) -> ExitCode {
    match (broken.is_empty(), doubtful.is_empty()) {
        (false, _) => ExitCode::InvariantViolated,
        (true, false) => ExitCode::Inconclusive,
        (true, true) => ExitCode::Kept,
    }
}

/// Whole runs in turns, each with a shop and servers of its own.
async fn in_turns(contest: &Contest, args: &TurnsArgs, scratch: &Path) -> Result<Report, Failure> {
    let TurnsArgs { rounds, seconds, usual: BenchUsual { buyers, .. } } = *args;
    let extent = whole_shop::Extent { rounds, seconds, buyers };
    let (known, mut turns) = (scenario::known(), Turns::default());
    for number in 1..=rounds {
        let scenario = whole_shop::scenario(&known, extent, number).map_err(Failure::invalid)?;
        let mut sides: Vec<_> = contest.sides.into_iter().zip(&mut turns.rounds).collect();
        // Whoever comes second is not always the same.
        sides.rotate_left(usize::from(number % 2 == 0));
        for (way, measured) in sides {
            let folder = scratch.join(format!("{}-{number}", way.name));
            let gauge = Gauge::default();
            let summary = play(&scenario, &folder, way, gauge.sink()).await?;
            let round = whole_shop::round(&summary, &gauge.cpu_us());
            say(format_args!(
                "round {number} of {rounds}: {:<10} {:>6.0} a second, p99 {:.1} ms, {} failed",
                way.name, round.per_second, round.p99_ms, round.failed
            ));
            turns.broken.extend(whole_shop::broken(way.name, &summary));
            turns.doubtful.extend(whole_shop::doubtful(way.name, &summary));
            measured.push(round);
        }
    }
    report_of(&whole_shop::comparison(contest, extent, turns, commit()))
}

/// One long run, looked at on its way.
async fn grow(orders: u32, buyers: u32, scratch: &Path) -> Result<Report, Failure> {
    let extent = growth::Extent { orders, buyers };
    let scenario = growth::scenario(&scenario::known(), extent).map_err(Failure::invalid)?;
    let [way, _] = whole_shop::GROUP_COMMIT.sides;
    let sampler = Sampler::new(orders, told);
    let played = play(&scenario, &scratch.join("growth"), way, sampler.sink()).await;
    let samples = sampler.samples();
    let (broken, doubtful) = match played {
        Ok(summary) => {
            let doubtful = whole_shop::doubtful("growth", &summary).into_iter();
            let doubtful = doubtful.chain(growth::unseen(&samples, &summary)).collect();
            (whole_shop::broken("growth", &summary), doubtful)
        }
        // What was measured until then took its time.
        Err(failure) if samples.len() > 1 => (Vec::new(), vec![failure.message]),
        Err(failure) => return Err(failure),
    };
    let growth = Growth::of(extent, samples, broken, doubtful, commit());
    Ok(Report {
        name: growth.name,
        markdown: growth.markdown("growth.svg"),
        others: vec![("json", json(&growth)?), ("svg", growth.picture())],
        code: code(&growth.broken, &growth.doubtful),
    })
}

fn told(sample: &Sample) {
    say(format_args!(
        "{:>8} orders after {:>5.0} s: {:>5.0} a second, p50 {:.1} ms, p99 {:.1} ms, {:.0} MB in memory, {:.0} MB on disk",
        sample.orders,
        sample.seconds,
        sample.per_second,
        sample.p50_ms,
        sample.p99_ms,
        sample.memory_mb.values().sum::<f64>(),
        sample.disk_mb.values().sum::<f64>()
    ));
}

/// Plays it on private servers, a process for each role. What the run leaves is taken away: what counts of it is
/// known.
async fn play(scenario: &Scenario, folder: &Path, way: Way, sink: Sink) -> Result<Summary, Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::shop(format!("error: {}: {error}", folder.display())))?;
    let Way { batch_max, instruments, .. } = way;
    let infra = InfraArgs { infra: Infra::Local, processes: true, namespace: String::new(), create: false, batch_max };
    let standing = Standing { infra, admin: Admin::embedded(), instruments, keeps_books: false };
    let pictures = Pictures::open(scenario, &[]).map_err(Failure::invalid)?;
    let shown = live::run(scenario, folder, &standing, Watched::By(sink), &pictures, |_| {}).await;
    let _ = fs::remove_dir_all(folder);
    shown.outcome
}

fn json(report: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report);
    text.map(|text| text + "\n").map_err(|error| Failure::shop(format!("error: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::invalid(format!("error: {}: {error}", path.display())))
}
