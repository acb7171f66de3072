//! `shopctl simulate`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use super::args::SimulateArgs;
use super::exit::{ExitCode, Failure};
use super::run::{commit, longest};
use super::say;
use crate::report::summary::Circumstances;
use crate::report::{Summary, World, terminal};
use crate::run::progress::silent;
use crate::run::{Experiment, conduct};
use crate::scenario::{self, Scenario};
use crate::world::simulated::{SimulatedOptions, simulate};
use crate::world::trace::TraceLayer;
use crate::world::{Admin, ShopOptions, shop};

/// A simulation and all that happened in it.
pub struct Simulated {
    pub summary: Summary,
    pub trace: String,
    /// The witness's record.
    pub record: Vec<u8>,
}

pub fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let known = shop::known_settings();
    let overrides = args.scenario.overrides(args.replay);
    let mut worst = ExitCode::Kept;
    for path in &args.scenario.scenarios {
        let scenario = scenario::load(path, &overrides, &known).map_err(Failure::invalid)?;
        say(format_args!("{} (seed {}), in virtual time: {}", scenario.name, scenario.seed, scenario.about));
        let simulated = play(&scenario)?;
        if let Some(path) = &args.trace {
            write(path, &simulated.trace)?;
        }
        say(terminal::render(&simulated.summary));
        let code = ExitCode::from_number(simulated.summary.exit_code);
        if code != ExitCode::Kept {
            let replay = format!("shopctl simulate {} --replay {}", path.display(), scenario.seed);
            say(format_args!("replay it with: {replay}"));
        }
        if code.severity() < worst.severity() {
            worst = code;
        }
    }
    Ok(worst)
}

fn write(path: &PathBuf, trace: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::invalid(format!("error: {}: {error}", path.display()));
    if path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        let parent = path.parent().map(PathBuf::from).unwrap_or_default();
        fs::create_dir_all(parent).map_err(failed)?;
    }
    File::create(path).and_then(|mut file| file.write_all(trace.as_bytes())).map_err(failed)
}

/// Collects what is written to it, for whoever holds the other end.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

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
    let admin = Admin { email: "admin@example.test".into(), password: "embedded-admin".into() };
    let mut settings = scenario.shop.settings.clone();
    settings.insert("user.admin_email".into(), admin.email.clone());
    settings.insert("user.admin_password".into(), admin.password.clone());
    // What argon2id costs has no meaning where CPU costs nothing; let it cost this process little.
    for (name, value) in [("user.argon2_memory_kib", "8"), ("user.argon2_iterations", "1")] {
        settings.entry(name.into()).or_insert_with(|| value.into());
    }
    let options = SimulatedOptions {
        shop: ShopOptions { settings, admin: admin.clone() },
        seed: scenario.seed,
        longest: longest(scenario),
    };
    let (layer, record) = (TraceLayer::default(), Shared::default());
    let experiment = Experiment {
        scenario: scenario.clone(),
        admin,
        record: Box::new(record.clone()),
        manifest: None,
        sink: silent(),
        stop: CancellationToken::new(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.clone());
    let conducted = tracing::subscriber::with_default(subscriber, || {
        simulate(options, |surroundings| conduct(surroundings, experiment))
    });
    let conducted = conducted
        .map_err(|error| Failure::shop(format!("error: {error}")))?
        .map_err(|why| Failure::shop(format!("error: {why}")))?;
    let around = Circumstances {
        durability: "SQLite in memory, kept outside the simulated hosts".into(),
        commit: commit(),
        machine: "virtual time".into(),
        ..Circumstances::default()
    };
    let record = std::mem::take(&mut *record.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let summary = Summary::of(scenario, &conducted, World::Simulated, around);
    Ok(Simulated { summary, trace: layer.take(), record })
}
