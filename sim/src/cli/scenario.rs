//! `shopctl scenario list|check|settings`.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::{ScenarioArgs, ScenarioCommand};
use super::exit::{ExitCode, Failure};
use super::say;
use crate::scenario;
use crate::world::shop;

pub fn run(command: &ScenarioCommand) -> Result<ExitCode, Failure> {
    match command {
        ScenarioCommand::List { folder } => list(folder),
        ScenarioCommand::Check(args) => check(args),
        ScenarioCommand::Settings => {
            for setting in shop::described_settings() {
                let default = setting.default.unwrap_or_else(|| "off".into());
                say(format_args!("{:<36} {default:<14} {}", setting.name, setting.help));
            }
            Ok(ExitCode::Kept)
        }
    }
}

fn list(folder: &Path) -> Result<ExitCode, Failure> {
    let unreadable = |error: std::io::Error| Failure::invalid(format!("error: {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(unreadable)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .collect();
    paths.sort();
    let known = shop::known();
    for path in paths {
        match scenario::load(&path, &[], &known) {
            Ok(scenario) => say(format_args!(
                "{:<32} {:>4}s  {}",
                path.display().to_string(),
                scenario.duration().as_secs(),
                scenario.about
            )),
            Err(_) => {
                say(format_args!("{:<32}   –    invalid: see `shopctl scenario check`", path.display().to_string()))
            }
        }
    }
    Ok(ExitCode::Kept)
}

fn check(args: &ScenarioArgs) -> Result<ExitCode, Failure> {
    let known = shop::known();
    let mut wrong = Vec::new();
    for path in &args.scenarios {
        match scenario::load(path, &args.overrides(None), &known) {
            Ok(scenario) => say(format_args!("{}: {} is valid", path.display(), scenario.name)),
            Err(errors) => wrong.push(errors.to_string()),
        }
    }
    if wrong.is_empty() { Ok(ExitCode::Kept) } else { Err(Failure::invalid(wrong.join("\n"))) }
}
