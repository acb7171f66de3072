//! `shopctl run`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use chassis::auth::Keys;
use chassis::clock::{Clock, SystemClock};
use chassis::rng::Seeds;
use rand::Rng;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::args::{Output, RunArgs};
use super::exit::{ExitCode, Failure};
use super::signals::Signals;
use super::{logs, runtime, say};
use crate::audit::manifest;
use crate::report::summary::Circumstances;
use crate::report::{Summary, World, markdown, terminal};
use crate::run::progress::{Event, printer};
use crate::run::watch::Watch;
use crate::run::{Conducted, Experiment, Unfinished, conduct, resources};
use crate::scenario::{self, Scenario};
use crate::world::real::{RealOptions, RunningShop};
use crate::world::{Admin, shop};

/// What a crash may lose.
pub const DURABILITY: &str = "SQLite in WAL mode, synchronous=NORMAL";

/// The services' log in a run's folder.
const LOG: &str = "log.jsonl";

/// Runs every scenario in turn; the most severe exit code counts.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let known = shop::known();
    let overrides = args.scenario.overrides(args.seed);
    let scenarios: Vec<Scenario> = args
        .scenario
        .scenarios
        .iter()
        .map(|path| scenario::load(path, &overrides, &known))
        .collect::<Result<_, _>>()
        .map_err(Failure::invalid)?;
    if scenarios.len() > 1 && !args.output.is_empty() {
        return Err(Failure::invalid("error: -o takes one report; with several scenarios see --out"));
    }
    // Opened before the load: a path that cannot be written is better known now than afterwards.
    let mut reports = args.output.iter().map(Report::open).collect::<Result<Vec<_>, _>>()?;
    let mut worst = ExitCode::Kept;
    for scenario in &scenarios {
        let code = run_one(args, scenario, &mut reports).unwrap_or_else(|failure| {
            let _ = writeln!(std::io::stderr(), "{}", failure.message);
            failure.code
        });
        if code.severity() < worst.severity() {
            worst = code;
        }
        if code == ExitCode::Stopped {
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
        let file =
            File::create(path).map_err(|error| Failure::invalid(format!("error: {}: {error}", path.display())))?;
        Ok(Self { output: output.clone(), file })
    }

    fn write(&mut self, json: &str, markdown: &str) -> Result<(), String> {
        let (path, text) = match &self.output {
            Output::Json(path) => (path, json),
            Output::Markdown(path) => (path, markdown),
        };
        self.file.write_all(text.as_bytes()).map_err(|error| format!("error: {}: {error}", path.display()))
    }
}

fn run_one(args: &RunArgs, scenario: &Scenario, reports: &mut [Report]) -> Result<ExitCode, Failure> {
    let folder = run_folder(&args.out, &scenario.name).map_err(Failure::invalid)?;
    let log = folder.join(LOG);
    logs::into_file(&log).map_err(|error| Failure::invalid(format!("error: {}: {error}", log.display())))?;
    say(format_args!("{} (seed {}): {}", scenario.name, scenario.seed, scenario.about));
    let summary = runtime()?.block_on(in_real_time(scenario, &folder))?;
    // The verdict first: nothing that goes wrong with files may hide it.
    say(terminal::render(&summary));
    let verdict = ExitCode::from_number(summary.exit_code);
    match keep(&summary, &folder, reports) {
        Ok(()) => say(format_args!("report: {}", folder.join("report.md").display())),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            return Ok(if verdict == ExitCode::Kept { ExitCode::Invalid } else { verdict });
        }
    }
    Ok(verdict)
}

fn keep(summary: &Summary, folder: &Path, reports: &mut [Report]) -> Result<(), String> {
    let (json, markdown) = (summary.to_json()?, markdown::render(summary));
    for (name, text) in [("summary.json", &json), ("report.md", &markdown)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("error: {}: {error}", path.display()))?;
    }
    reports.iter_mut().try_for_each(|report| report.write(&json, &markdown))
}

async fn in_real_time(scenario: &Scenario, folder: &Path) -> Result<Summary, Failure> {
    let admin = Admin::embedded();
    let mut signals = Signals::listen()?;
    let shop = put_up(scenario, folder, &admin).await?;
    let sink = printer();
    sink(&Event::ShopUp { took: shop.started_in });
    let stop = CancellationToken::new();
    let record = folder.join("orders.jsonl");
    let record =
        File::create(&record).map_err(|error| Failure::invalid(format!("error: {}: {error}", record.display())))?;
    let experiment = Experiment {
        scenario: scenario.clone(),
        admin,
        record: Box::new(record),
        manifest: Some(folder.join(manifest::FILE)),
        sink,
        controls: tokio::sync::mpsc::channel(1).1,
        watcher: Some(Box::new(watch_on_its_own_thread)),
        stop: stop.clone(),
    };
    let conducted = on_its_own_thread(&shop, experiment, stop, &mut signals).await;
    let cpu_us = shop
        .threads
        .iter()
        .filter_map(|(role, thread)| Some(((*role).to_owned(), resources::cpu_us_of_thread(thread)?)))
        .collect::<BTreeMap<_, _>>();
    let startup_ms = shop.started_in.as_secs_f64() * 1e3;
    shop.stop();
    let (conducted, generator_cpu_us) = conducted?;
    let around = Circumstances {
        durability: DURABILITY.into(),
        commit: commit(),
        machine: resources::machine(),
        startup_ms,
        cpu_us,
        generator_cpu_us,
        rss_mb: resources::peak_rss_mb(),
    };
    Ok(Summary::of(scenario, &conducted, World::Embedded, around))
}

async fn put_up(scenario: &Scenario, folder: &Path, admin: &Admin) -> Result<RunningShop, Failure> {
    let data = folder.join("data");
    fs::create_dir_all(&data).map_err(|error| Failure::invalid(format!("error: {}: {error}", data.display())))?;
    let settings = admin.known_to(scenario.shop.settings.clone());
    let options = RealOptions {
        settings,
        folder: data,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        seeds: Seeds::from_number(scenario.seed),
        keys: fresh_keys()?,
        chaos: true,
    };
    RunningShop::start(options).await.map_err(|error| Failure::shop(format!("error: {error}")))
}

/// A secret that nobody knows and that dies with this process.
pub fn fresh_keys() -> Result<Keys, Failure> {
    let seeds = Seeds::from_entropy().map_err(|error| Failure::shop(format!("error: no randomness: {error}")))?;
    let mut secret = [0; 32];
    seeds.stream("jwt-secret").fill_bytes(&mut secret);
    Keys::new(&secret).map_err(Failure::shop)
}

/// The generator has a thread of its own, so that the shop's work and its do not queue behind each
/// other. This one waits, and turns Ctrl-C into a gentle stop, a second one into an end at once.
#[expect(clippy::disallowed_methods, reason = "the command owns the generator's thread")]
async fn on_its_own_thread(
    shop: &RunningShop,
    experiment: Experiment,
    stop: CancellationToken,
    signals: &mut Signals,
) -> Result<(Conducted, Option<u64>), Failure> {
    let surroundings = shop.surroundings.clone();
    let (done, mut outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let conducted = match runtime {
            Ok(runtime) => runtime.block_on(conduct(surroundings, experiment)),
            Err(error) => Err(Unfinished::Failed(format!("no runtime for the generator: {error}"))),
        };
        let cpu = resources::this_thread().and_then(|thread| resources::cpu_us_of_thread(&thread));
        // Whoever waited has given up; nothing is lost by that.
        let _ = done.send((conducted, cpu));
    });
    let mut interrupts = 0;
    loop {
        tokio::select! {
            biased;
            ended = &mut outcome => {
                let (conducted, cpu) = ended.map_err(|_| Failure::shop("error: the generator's thread died"))?;
                return conducted.map(|conducted| (conducted, cpu)).map_err(Failure::from);
            }
            () = signals.next() => {
                interrupts += 1;
                stop.cancel();
                if interrupts > 1 {
                    return Err(Failure { code: ExitCode::Stopped, message: "stopped at once; there is no verdict".into() });
                }
                say("stopping gently; Ctrl-C again stops at once");
            }
        }
    }
}

/// Watching must not hold the load up.
#[expect(clippy::disallowed_methods, reason = "the command owns the watcher's thread")]
fn watch_on_its_own_thread(watch: Watch) {
    std::thread::spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(watch.run()),
        Err(error) => tracing::error!(%error, "nobody watches: there is no runtime for it"),
    });
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

/// The commit of the working folder, if it is a git checkout.
pub fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The longest that a scenario can take, in its own time.
pub fn longest(scenario: &Scenario) -> Duration {
    let seeding = Duration::from_secs(120);
    scenario.duration() + scenario.graceful_stop + scenario.quiescence_timeout + seeding
}
