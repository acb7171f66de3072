//! The simulation engine: plays one scenario under its seed, in virtual time on this thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use super::history::{self, History};
use audit::shelf::BookShelf;
use experiment::report::Summary;
use experiment::report::exit::Failure;
use experiment::report::summary::Circumstances;
use experiment::run::glance::Control;
use experiment::run::progress::{Event, Sink};
use experiment::run::{Experiment, conduct};
use scenario::Scenario;
use shop::World;
use world::Admin;
use world::simulated::{SimulatedOptions, simulate};
use world::trace::TraceLayer;

/// A simulation and all that happened in it.
pub struct Simulated {
    pub summary: Summary,
    /// Empty for a play that was not traced.
    pub trace: String,
    /// The witness's record.
    pub record: Vec<u8>,
    /// Orders by the kinds of their events, in their order.
    pub paths: BTreeMap<String, u64>,
    /// The crash points that were passed, and how often.
    pub points: BTreeMap<String, u64>,
    /// The journeys that placed orders, by group.
    pub journeys: BTreeMap<String, BTreeSet<u64>>,
    /// The shortest history that shows a violation, if there is one.
    pub history: Option<History>,
}

/// Collects what is written to it, for whoever holds the other end.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Shared {
    fn copy(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

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
    let layer = TraceLayer::default();
    let subscriber = tracing_subscriber::registry().with(layer.clone());
    let simulated = tracing::subscriber::with_default(subscriber, || play_as_it_is_told(scenario, hands))?;
    Ok(Simulated { trace: layer.take(), ..simulated })
}

/// Plays one scenario under its seed without a trace, which takes its time.
///
/// # Errors
/// As [`play`].
pub fn play_untraced(scenario: &Scenario) -> Result<Simulated, Failure> {
    play_as_it_is_told(scenario, Vec::new())
}

fn play_as_it_is_told(scenario: &Scenario, hands: Vec<(Duration, Control)>) -> Result<Simulated, Failure> {
    let admin = Admin::embedded();
    let mut settings = admin.known_to(scenario.shop.settings.clone());
    // What argon2id costs has no meaning where CPU costs nothing; let it cost this process little.
    for (name, value) in [("user.argon2_memory_kib", "8"), ("user.argon2_iterations", "1")] {
        settings.entry(name.into()).or_insert_with(|| value.into());
    }
    let options = SimulatedOptions { settings, seed: scenario.seed, longest: longest(scenario) };
    let record = Shared::default();
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
    let wanted = scenario.expect.invariants.clone();
    let written = record.clone();
    let conducted = simulate(options, |surroundings| async move {
        let asking = tokio::spawn(asking);
        let (hand, books) = (surroundings.hand.clone(), surroundings.books.clone());
        let conducted = conduct(surroundings, experiment).await;
        asking.abort();
        // While the books are there.
        let history = match (&conducted, &books) {
            (Ok(conducted), BookShelf::Sqlite(storage)) => {
                history::shortest(storage, conducted, &wanted, written.copy())
            }
            _ => None,
        };
        let points = hand.map(|hand| hand.points()).unwrap_or_default();
        conducted.map(|conducted| (conducted, history, points))
    });
    let conducted = conducted.map_err(|error| Failure::shop(format!("error: {error}")))?;
    let (conducted, history, points) = conducted.map_err(Failure::from)?;
    let around = Circumstances {
        durability: "SQLite in memory, kept outside the simulated hosts".into(),
        machine: "virtual time".into(),
        ..Circumstances::default()
    };
    let summary = Summary::of(scenario, &conducted, World::Simulated, around);
    let keys = conducted.witness.orders.keys().map(|(_, key)| key.as_str());
    let journeys = history::journeys(keys, scenario.seed);
    let (paths, trace) = (conducted.audit.paths, String::new());
    Ok(Simulated { summary, trace, record: record.copy(), paths, points, journeys, history })
}

/// The longest that a scenario can take, in its own time.
fn longest(scenario: &Scenario) -> Duration {
    let seeding = Duration::from_secs(120);
    scenario.duration() + scenario.graceful_stop + scenario.quiescence_timeout + seeding
}
