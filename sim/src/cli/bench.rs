//! `shopctl bench`.

use std::fs;
use std::path::Path;

use super::args::{BenchArgs, Benchmark};
use super::exit::{ExitCode, Failure};
use super::run::commit;
use super::signals::Signals;
use super::{runtime, say};
use crate::bench::hot_product::{self, Extent};
use crate::bench::{Comparison, markdown};

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
    };
    compared.map_err(|why| Failure::shop(format!("error: {why}")))
}

fn json(comparison: &Comparison) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(comparison);
    text.map(|text| text + "\n").map_err(|error| Failure::shop(format!("error: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::invalid(format!("error: {}: {error}", path.display())))
}
