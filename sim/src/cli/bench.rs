//! `shopctl bench`.

use std::fs;
use std::path::Path;

use super::args::{BenchArgs, Benchmark};
use super::exit::{ExitCode, Failure};
use super::live::{self, Standing, Watched};
use super::pictures::Pictures;
use super::run::commit;
use super::signals::Signals;
use super::{runtime, say};
use crate::bench::hot_product::{self, Extent};
use crate::bench::{Comparison, markdown, whole_shop};
use crate::infra::{Infra, InfraArgs};
use crate::report::Summary;
use crate::scenario::Scenario;
use crate::world::{Admin, shop};

/// Measures what was asked for, and writes what came of it.
pub fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    // A folder that cannot be written is better known now than afterwards.
    let named = |error: std::io::Error| Failure::invalid(format!("error: {}: {error}", args.out.display()));
    fs::create_dir_all(&args.out).map_err(named)?;
    let scratch = tempfile::tempdir().map_err(|error| Failure::shop(format!("error: no temporary folder: {error}")))?;
    let runtime = runtime()?;
    let comparison = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        signals.unless_asked(compare(args, scratch.path())).await
    })?;
    let stem = args.out.join(comparison.name);
    write(&stem.with_extension("json"), &json(&comparison)?)?;
    write(&stem.with_extension("md"), &markdown(&comparison))?;
    say(format_args!("\n{}", markdown(&comparison)));
    say(format_args!("report: {}", stem.with_extension("md").display()));
    Ok(if comparison.broken.is_empty() { ExitCode::Kept } else { ExitCode::InvariantViolated })
}

async fn compare(args: &BenchArgs, scratch: &Path) -> Result<Comparison, Failure> {
    let BenchArgs { rounds, seconds, buyers, .. } = *args;
    let compared = match args.benchmark {
        Benchmark::HotProduct => {
            let command = format!("shopctl bench hot-product --rounds {rounds} --seconds {seconds} --buyers {buyers}");
            let extent = Extent { rounds, seconds, buyers };
            hot_product::compare(extent, scratch, command, commit(), say).await
        }
        Benchmark::Throughput => return throughput(args, scratch).await,
    };
    compared.map_err(|why| Failure::shop(format!("error: {why}")))
}

/// Whole runs in turns, each with a shop and servers of its own.
async fn throughput(args: &BenchArgs, scratch: &Path) -> Result<Comparison, Failure> {
    let BenchArgs { rounds, seconds, buyers, .. } = *args;
    let known = shop::known();
    let (mut measured, mut broken) = ([Vec::new(), Vec::new()], Vec::new());
    for number in 1..=rounds {
        let scenario = whole_shop::scenario(&known, seconds, buyers, number).map_err(Failure::invalid)?;
        let mut turns: Vec<_> = whole_shop::SIDES.into_iter().zip(&mut measured).collect();
        // Whoever comes second is not always the same.
        turns.rotate_left(usize::from(number % 2 == 0));
        for ((side, batch_max), measured) in turns {
            let folder = scratch.join(format!("{side}-{number}"));
            let summary = play(&scenario, &folder, batch_max).await?;
            let round = whole_shop::round(&summary);
            say(format_args!(
                "round {number} of {rounds}: {side:<10} {:>6.0} a second, p99 {:.1} ms, {} failed",
                round.per_second, round.p99_ms, round.failed
            ));
            broken.extend(whole_shop::broken(side, &summary));
            measured.push(round);
            // A run leaves its books; what counts of them is known.
            let _ = fs::remove_dir_all(&folder);
        }
    }
    let command = format!("shopctl bench throughput --rounds {rounds} --seconds {seconds} --buyers {buyers}");
    Ok(whole_shop::comparison(measured, broken, (seconds, buyers), command, commit()))
}

async fn play(scenario: &Scenario, folder: &Path, batch_max: usize) -> Result<Summary, Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::shop(format!("error: {}: {error}", folder.display())))?;
    let infra = InfraArgs { infra: Infra::Local, processes: true, namespace: String::new(), create: false, batch_max };
    let standing = Standing { infra, admin: Admin::embedded() };
    let pictures = Pictures::open(scenario, &[]).map_err(Failure::invalid)?;
    live::run(scenario, folder, &standing, Watched::Unwatched, &pictures, |_| {}).await.outcome
}

fn json(comparison: &Comparison) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(comparison);
    text.map(|text| text + "\n").map_err(|error| Failure::shop(format!("error: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::invalid(format!("error: {}: {error}", path.display())))
}
