//! `shopctl simulate`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use super::args::SimulateArgs;
use super::exit::{ExitCode, Failure};
use super::run::{commit, longest};
use super::say;
use crate::report::summary::Circumstances;
use crate::report::{Summary, World, terminal};
use crate::run::glance::Control;
use crate::run::progress::{Event, Sink};
use crate::run::{Experiment, conduct};
use crate::scenario::{self, Scenario};
use crate::world::simulated::{SimulatedOptions, simulate};
use crate::world::trace::TraceLayer;
use crate::world::{Admin, shop};

/// A simulation and all that happened in it.
pub struct Simulated {
    pub summary: Summary,
    pub trace: String,
    /// The witness's record.
    pub record: Vec<u8>,
    /// The crash points that were passed, and how often.
    pub points: BTreeMap<String, u64>,
}

pub fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let known = shop::known();
    let overrides = args.scenario.overrides(args.replay);
    let scenarios = args
        .scenario
        .scenarios
        .iter()
        .map(|path| Ok((path, scenario::load(path, &overrides, &known)?)))
        .collect::<Result<Vec<_>, scenario::ScenarioErrors>>()
        .map_err(Failure::invalid)?;
    if scenarios.len() > 1 && args.trace.is_some() {
        return Err(Failure::invalid("error: --trace takes one scenario"));
    }
    // Opened before the play: a path that cannot be written is better known now than afterwards.
    let mut trace = args.trace.as_deref().map(create).transpose()?;
    let mut worst = ExitCode::Kept;
    for (path, scenario) in &scenarios {
        say(format_args!("{} (seed {}), in virtual time: {}", scenario.name, scenario.seed, scenario.about));
        let code = match play(scenario) {
            Ok(simulated) => {
                say(terminal::render(&simulated.summary));
                if let Some(file) = &mut trace {
                    let written = file.write_all(simulated.trace.as_bytes());
                    written.map_err(|error| Failure::invalid(format!("error: the trace: {error}")))?;
                }
                ExitCode::from_number(simulated.summary.exit_code)
            }
            Err(failure) => {
                let _ = writeln!(io::stderr(), "{}", failure.message);
                failure.code
            }
        };
        if code != ExitCode::Kept {
            let set: String =
                args.scenario.set.iter().map(|one| format!(" --set '{}={}'", one.path, one.value)).collect();
            say(format_args!("replay it with: shopctl simulate {} --replay {}{set}", path.display(), scenario.seed));
        }
        if code.severity() < worst.severity() {
            worst = code;
        }
    }
    Ok(worst)
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure::invalid(format!("error: {}: {error}", path.display())))
}

/// Collects what is written to it, for whoever holds the other end.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Plays one scenario under its seed.
///
/// # Errors
/// When the shop cannot be put up, or the virtual time runs out.
pub fn play(scenario: &Scenario) -> Result<Simulated, Failure> {
    play_by_hand(scenario, Vec::new())
}

/// Plays one scenario under its seed, with somebody who asks for things at their times since the load's
/// start, in that order.
///
/// # Errors
/// As [`play`].
pub fn play_by_hand(scenario: &Scenario, hands: Vec<(Duration, Control)>) -> Result<Simulated, Failure> {
    let admin = Admin::embedded();
    let mut settings = admin.known_to(scenario.shop.settings.clone());
    // What argon2id costs has no meaning where CPU costs nothing; let it cost this process little.
    for (name, value) in [("user.argon2_memory_kib", "8"), ("user.argon2_iterations", "1")] {
        settings.entry(name.into()).or_insert_with(|| value.into());
    }
    let options = SimulatedOptions { settings, seed: scenario.seed, longest: longest(scenario) };
    let (layer, record) = (TraceLayer::default(), Shared::default());
    let (tell, controls) = mpsc::channel(hands.len().max(1));
    let started = Arc::new(Notify::new());
    let sink: Sink = {
        let started = started.clone();
        Arc::new(move |event| {
            if matches!(event, Event::LoadStarts { .. }) {
                started.notify_one();
            }
        })
    };
    let asking = async move {
        started.notified().await;
        let start = Instant::now();
        for (at, control) in hands {
            sleep_until(start + at).await;
            // The load may be over.
            let _ = tell.send(control).await;
        }
    };
    let experiment = Experiment {
        scenario: scenario.clone(),
        admin,
        record: Box::new(record.clone()),
        manifest: None,
        sink,
        controls,
        watcher: None,
        stop: CancellationToken::new(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.clone());
    let conducted = tracing::subscriber::with_default(subscriber, || {
        simulate(options, |surroundings| async move {
            let asking = tokio::spawn(asking);
            let hand = surroundings.hand.clone();
            let conducted = conduct(surroundings, experiment).await;
            asking.abort();
            (conducted, hand.map(|hand| hand.points()).unwrap_or_default())
        })
    });
    let (conducted, points) = conducted.map_err(|error| Failure::shop(format!("error: {error}")))?;
    let conducted = conducted.map_err(Failure::from)?;
    let around = Circumstances {
        durability: "SQLite in memory, kept outside the simulated hosts".into(),
        commit: commit(),
        machine: "virtual time".into(),
        ..Circumstances::default()
    };
    let record = std::mem::take(&mut *record.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let summary = Summary::of(scenario, &conducted, World::Simulated, around);
    Ok(Simulated { summary, trace: layer.take(), record, points })
}
