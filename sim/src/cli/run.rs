//! `shopctl run`: scenarios in turn, and the files that each leaves.

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use chassis::Instruments;
use chassis::clock::{Clock, SystemClock};

use super::args::{Output, RunArgs};
use super::files::{open_untouched, write_whole};
use super::live::{self, Standing, Watched};
use super::pictures::Pictures;
use super::{logs, runtime, say};
use crate::tui::Dashboard;
use experiment::report::exit::{ExitCode, Failure};
use experiment::report::{Summary, markdown, terminal};
use scenario::Scenario;
use shop::fault::vocabulary;
use world::Admin;
use world::infra::Infra;

/// The services' log in a run's folder.
const LOG: &str = "log.jsonl";

/// Runs every scenario in turn; the most severe exit code counts.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    args.infra.check().map_err(|why| Failure::invalid(format!("error: {why}")))?;
    let known = scenario::known();
    let overrides = args.scenario.overrides(args.seed);
    let scenarios: Vec<Scenario> = args
        .scenario
        .scenarios
        .iter()
        .map(|path| scenario::load(path, &overrides, &known))
        .collect::<Result<_, _>>()
        .map_err(Failure::invalid)?;
    for scenario in &scenarios {
        let faults = scenario.faults.iter().map(|planned| &planned.fault);
        vocabulary::applicable(faults, args.infra.infra.world()).map_err(|why| Failure {
            code: ExitCode::FaultFailed,
            message: format!("error: {}: {why}", scenario.name),
        })?;
    }
    if scenarios.len() > 1 && !(args.output.is_empty() && args.picture.is_empty()) {
        return Err(Failure::invalid("error: -o and --picture take one scenario; with several see --out"));
    }
    // Opened before the load: a path that cannot be written is better known now than afterwards.
    let mut reports = args.output.iter().map(Report::open).collect::<Result<Vec<_>, _>>()?;
    let mut worst = ExitCode::Kept;
    for (scenario, left) in scenarios.iter().zip((0..scenarios.len()).rev()) {
        let (code, no_more) = run_one(args, scenario, &mut reports).unwrap_or_else(|failure| {
            let _ = writeln!(std::io::stderr(), "{}", failure.message);
            (failure.code, failure.code == ExitCode::Stopped)
        });
        if code.severity() < worst.severity() {
            worst = code;
        }
        if no_more {
            // What was asked for and not run is not kept.
            if left > 0 && ExitCode::Stopped.severity() < worst.severity() {
                worst = ExitCode::Stopped;
            }
            break;
        }
    }
    Ok(worst)
}

/// A report that somebody asked for, and its open file.
struct Report {
    output: Output,
    file: File,
}

impl Report {
    fn open(output: &Output) -> Result<Self, Failure> {
        let (Output::Json(path) | Output::Markdown(path)) = output;
        let file = open_untouched(path).map_err(Failure::invalid)?;
        Ok(Self { output: output.clone(), file })
    }

    fn write(&mut self, json: &str, markdown: &str) -> Result<(), String> {
        let (path, text) = match &self.output {
            Output::Json(path) => (path, json),
            Output::Markdown(path) => (path, markdown),
        };
        write_whole(&mut self.file, text).map_err(|error| format!("error: {}: {error}", path.display()))
    }
}

/// Runs one scenario; answers its exit code, and whether the user wants no further one.
fn run_one(args: &RunArgs, scenario: &Scenario, reports: &mut [Report]) -> Result<(ExitCode, bool), Failure> {
    let pictures = Pictures::open(scenario, &args.picture).map_err(Failure::invalid)?;
    let folder = run_folder(&args.out, &scenario.name).map_err(Failure::invalid)?;
    let log = folder.join(LOG);
    logs::into_file(&log).map_err(|error| Failure::invalid(format!("error: {}: {error}", log.display())))?;
    say(format_args!("{} (seed {}): {}", scenario.name, scenario.seed, scenario.about));
    let watched = match has_viewer(args) {
        true => Watched::Live(Box::new(Dashboard::start(scenario).map_err(no_screen)?)),
        false => Watched::InLines,
    };
    let (infra, admin) = (args.infra.clone(), admin(args)?);
    let standing = Standing { infra, admin, instruments: Instruments::On, keeps_books: true };
    let mut kept = Ok(());
    let keeping = |summary: &Summary| kept = keep(summary, &folder, reports);
    let shown = runtime()?.block_on(live::run(scenario, &folder, &standing, watched, &pictures, keeping));
    let summary = match shown.outcome {
        Ok(summary) => summary,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{}", failure.message);
            return Ok((failure.code, shown.no_more || failure.code == ExitCode::Stopped));
        }
    };
    // The verdict first: nothing that goes wrong with files may hide it.
    say(terminal::render(&summary));
    let mut missing = pictures.finish();
    match kept {
        Ok(()) => say(format_args!("report: {}", folder.join("report.md").display())),
        Err(why) => missing.push(why),
    }
    for why in &missing {
        let _ = writeln!(std::io::stderr(), "{why}");
    }
    let verdict = ExitCode::from_number(summary.exit_code);
    let code = if missing.is_empty() || verdict != ExitCode::Kept { verdict } else { ExitCode::Invalid };
    Ok((code, shown.no_more || summary.stopped))
}

/// The administrator of a shop that goes with its run is nobody's secret; on servers that stay it is.
fn admin(args: &RunArgs) -> Result<Admin, Failure> {
    match args.infra.infra {
        Infra::Embedded | Infra::Local => Ok(Admin::embedded()),
        Infra::External => args.admin.chosen(),
    }
}

/// Whether somebody sits at a terminal that can show a dashboard.
fn has_viewer(args: &RunArgs) -> bool {
    let can_show = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    !args.headless && can_show && std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

fn no_screen(error: std::io::Error) -> Failure {
    Failure::invalid(format!("error: this terminal cannot show the dashboard: {error}; see --headless"))
}

fn keep(summary: &Summary, folder: &Path, reports: &mut [Report]) -> Result<(), String> {
    let (json, markdown) = (summary.to_json()?, markdown::render(summary));
    for (name, text) in [("summary.json", &json), ("report.md", &markdown)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("error: {}: {error}", path.display()))?;
    }
    reports.iter_mut().try_for_each(|report| report.write(&json, &markdown))
}

/// A folder that is not there yet: `<time>-<name>`, in UTC.
fn run_folder(out: &Path, name: &str) -> Result<PathBuf, String> {
    let time: String =
        SystemClock.now().to_string().chars().take(19).filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    fs::create_dir_all(out).map_err(|error| format!("error: {}: {error}", out.display()))?;
    for attempt in 1..100 {
        let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let folder = out.join(format!("{time}-{name}{suffix}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("error: {}: {error}", folder.display())),
        }
    }
    Err(format!("error: {}: too many runs in this second", out.display()))
}
