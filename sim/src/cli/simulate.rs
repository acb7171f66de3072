//! `shopctl simulate`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::args::SimulateArgs;
use super::{campaign, say};
use crate::campaign::engine::play;
use experiment::report::exit::{ExitCode, Failure};
use experiment::report::terminal;
use scenario::{Known, Scenario, ScenarioErrors};

pub fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    if args.job {
        return campaign::job(args);
    }
    if args.seeds.is_some() {
        return campaign::run(args);
    }
    if args.crash_points && args.replay.is_none() {
        return Err(Failure::invalid("error: --crash-points needs seeds (--seeds A..B, or --replay SEED)"));
    }
    let known = scenario::known();
    let mut scenarios = Vec::new();
    for path in &args.scenario.scenarios {
        scenarios.push((path, scenario_of(args, path, &known).map_err(Failure::invalid)?));
    }
    if scenarios.len() > 1 && args.trace.is_some() {
        return Err(Failure::invalid("error: --trace takes one scenario"));
    }
    if args.shrink && args.replay.is_none() {
        return Err(Failure::invalid(
            "error: --shrink needs the failing seed (--replay SEED), or seeds (--seeds A..B)",
        ));
    }
    // Opened before the play: a path that cannot be written is better known now than afterwards.
    let mut trace = args.trace.as_deref().map(create).transpose()?;
    let mut worst = ExitCode::Kept;
    for (path, scenario) in &scenarios {
        let code = show(args, path, scenario, trace.as_mut())?;
        if code.severity() < worst.severity() {
            worst = code;
        }
    }
    Ok(worst)
}

/// What is to be played: a seed as a campaign plays it, or the scenario as it is written.
fn scenario_of(args: &SimulateArgs, path: &Path, known: &Known) -> Result<Scenario, ScenarioErrors> {
    let calm = args.replay.is_none();
    if calm && args.scale.is_none() {
        return scenario::load(path, &args.scenario.overrides(None), known);
    }
    let source = campaign::source(args, path, calm || args.calm, known)?;
    source.seeded(args.replay.unwrap_or(source.scenario.seed), known)
}

/// Plays it and says how it ended.
fn show(args: &SimulateArgs, path: &Path, scenario: &Scenario, trace: Option<&mut File>) -> Result<ExitCode, Failure> {
    say(format_args!("{} (seed {}), in virtual time: {}", scenario.name, scenario.seed, scenario.about));
    campaign::watch_for_panics();
    let played = play(scenario);
    if let Some(why) = campaign::panicked() {
        let _ = writeln!(io::stderr(), "error: a task panicked: {why}");
        say(format_args!("replay it with: {}", campaign::command(args, path, args.replay)));
        return Ok(ExitCode::ShopFailed);
    }
    let simulated = match played {
        Ok(simulated) => simulated,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{}", failure.message);
            say(format_args!("replay it with: {}", campaign::command(args, path, args.replay)));
            return Ok(failure.code);
        }
    };
    say(terminal::render(&simulated.summary));
    if let Some(file) = trace {
        let written = file.write_all(simulated.trace.as_bytes());
        written.map_err(|error| Failure::invalid(format!("error: the trace: {error}")))?;
    }
    if let Some(history) = &simulated.history {
        say(format_args!("{}: {}\n\n{}", history.invariant, history.example, history.text));
    }
    let code = ExitCode::from_number(simulated.summary.exit_code);
    if code != ExitCode::Kept {
        say(format_args!("replay it with: {}", campaign::command(args, path, args.replay)));
    }
    match (args.replay, simulated.summary.invariants.iter().find(|finding| finding.violations > 0)) {
        (Some(seed), Some(broken)) if args.shrink => {
            let invariant = simulated.history.as_ref().map_or(&broken.name, |history| &history.invariant);
            campaign::shrink_one(args, path, seed, invariant)?;
        }
        (_, None) if args.shrink => say("no invariant is broken: there is nothing to shrink"),
        _ => {}
    }
    Ok(code)
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure::invalid(format!("error: {}: {error}", path.display())))
}
