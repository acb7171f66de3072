//! One experiment, from an empty shop to everything that is known about it: seed, load, settle,
//! resolve, audit. It knows nothing of the world that it runs in but its [`Surroundings`], so that
//! the same code runs against the real clock and in virtual time.

pub mod board;
pub mod conductor;
pub mod glance;
pub mod live;
pub mod measured;
pub mod progress;
pub mod recovery;
pub mod seed;
pub mod watch;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::run::board::Entry;
use crate::run::conductor::{Conductor, DuringSteps, Lookout};
use audit::books::Books;
use audit::invariants::{Audit, Evidence, audit};
use audit::manifest::Manifest;
use audit::witness::{Record, Witness, WitnessLog};
use glance::Control;
use live::LiveInvariants;
use load::api::Api;
use load::clock::LoadClock;
use load::generator::Generator;
use load::journey::{Stage, seen};
use load::recorder::{Recorder, Totals, Window};
use progress::{Event, Sink};
use scenario::Scenario;
use seed::Seeded;
use shop::http::{HttpClient, is_success};
use watch::Watch;
use world::probe::observe::{self, Breaker, StepHistograms};
use world::{Admin, Surroundings};

/// How often the books are asked whether everything has come to rest.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// The load starts this long after it was planned, so that its first arrivals are not late.
const LEAD: Duration = Duration::from_millis(20);

/// How long the run may look for the ends of orders that their clients did not see; what is not found
/// by then stays unknown.
const RESOLVE_LONGEST: Duration = Duration::from_secs(60);

/// What to conduct.
pub struct Experiment {
    pub scenario: Scenario,
    pub admin: Admin,
    /// Where the witness's record goes.
    pub record: Box<dyn Write + Send>,
    /// Where the seeder's manifest goes, if anywhere.
    pub manifest: Option<PathBuf>,
    pub sink: Sink,
    /// What whoever watches asks for.
    pub controls: mpsc::Receiver<Control>,
    /// Runs the watcher, on a thread of its own; `None` where nobody watches.
    pub watcher: Option<Watcher>,
    /// Cancelled when the user wants the load to end gently.
    pub stop: CancellationToken,
}

/// Takes a watcher and lets it run.
pub type Watcher = Box<dyn FnOnce(Watch) + Send>;

/// Why there is nothing to judge.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unfinished {
    #[error("stopped before the load began; there is no verdict")]
    Stopped,
    #[error("error: {0}")]
    Failed(String),
}

impl From<String> for Unfinished {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Everything that is known afterwards. The verdict is a pure function of it.
pub struct Conducted {
    pub totals: Totals,
    /// Attempts of saga steps over the whole run, and of the part after the warm-up.
    pub steps: StepHistograms,
    pub steps_measured: StepHistograms,
    pub breaker: Breaker,
    /// Every fault, planned and by hand.
    pub faults: Vec<Entry>,
    /// What was due while each of them was active, and the saga's steps meanwhile.
    pub windows: Vec<Window>,
    pub during_steps: BTreeMap<String, DuringSteps>,
    /// Somebody stepped in.
    pub manual: bool,
    /// What the services did not tell any more.
    pub unseen: Vec<String>,
    pub witness: Witness,
    pub audit: Audit,
    pub seeded_in: Duration,
    /// The load's start, and the shop's clock then.
    pub start: Instant,
    pub started_at: Timestamp,
    /// From the load's start to the end of its last journey.
    pub load_took: Duration,
    /// From the load's start until everything had come to rest.
    pub took: Duration,
    pub stopped: bool,
    /// A hole in the witness's record, if there is one.
    pub record_failure: Option<String>,
}

/// Runs the experiment.
///
/// # Errors
/// One line: the shop could not be seeded, or its books or counters could not be read.
pub async fn conduct(surroundings: Surroundings, experiment: Experiment) -> Result<Conducted, Unfinished> {
    let Experiment { scenario, admin, record, manifest, sink, controls, watcher, stop } = experiment;
    let (network, address) = (surroundings.network.clone(), surroundings.gateway.clone());
    let client = HttpClient::over_link(network, address, gateway::ROLE);
    let seeding = Instant::now();
    let seeded = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Unfinished::Stopped),
        seeded = seed::seed(&client, &admin, &scenario) => seeded?,
    };
    if let Some(path) = manifest {
        seeded.manifest.write(&path)?;
    }
    let seeded_in = seeding.elapsed();
    sink(&Event::Seeded { users: seeded.shoppers.len(), products: seeded.products.len(), took: seeded_in });

    let witness = WitnessLog::new(record);
    let stage = stage(client, &scenario, &seeded, witness.clone(), stop.clone());
    let token = &seeded.admin_token;
    let (clock, recorder) = (stage.clock.clone(), stage.recorder.clone());
    let conductor = Conductor::new(surroundings.clone(), &scenario, token, clock, recorder, sink.clone());
    let loading = Loading { surroundings: &surroundings, scenario: &scenario, stage: &stage, conductor: &conductor };
    let manual = Arc::new(AtomicBool::new(false));
    let warmup = scenario.warmup;
    let hands = tokio::spawn(obey(controls, stage.clone(), warmup, conductor.clone(), sink.clone(), manual.clone()));
    let over = CancellationToken::new();
    let started_at = surroundings.clock.now().plus(stage.start.saturating_duration_since(Instant::now()));
    if let Some(watcher) = watcher {
        let lookout = Lookout::new(&surroundings, token, conductor.board().clone());
        watcher(loading.watch(lookout, seeded.manifest.clone(), started_at, sink.clone(), over.clone()));
    }
    sink(&Event::LoadStarts { at: started_at });
    let (baseline, load_took) = loading.run(hands).await;
    over.cancel();

    sink(&Event::Settling);
    let books = surroundings.books.open().await?;
    settle(&*books, scenario.quiescence_timeout).await?;
    let took = stage.start.elapsed();
    sink(&Event::Judging);
    resolve(&stage, token).await;
    let known = witness.witness();
    note_fates(&known, &witness);
    let audit = judge(&*books, &seeded.manifest, &known).await?;
    // A service that does not answer any more makes the run prove less; it does not hide the verdict.
    let mut unseen = Vec::new();
    let steps = seen_or(observe::steps(&surroundings).await, &mut unseen);
    let baseline = seen_or(baseline, &mut unseen);
    let mut breaker = seen_or(observe::breaker(&surroundings).await, &mut unseen);
    breaker.transitions = conductor.transitions(&breaker.transitions);
    Ok(Conducted {
        totals: stage.recorder.totals(),
        steps_measured: steps.since(&baseline),
        steps,
        breaker,
        faults: conductor.board().entries(),
        windows: stage.recorder.windows(),
        during_steps: conductor.steps(),
        manual: manual.load(Ordering::Relaxed),
        unseen,
        witness: known,
        audit,
        seeded_in,
        started_at,
        start: stage.start,
        load_took,
        took,
        stopped: stop.is_cancelled(),
        record_failure: witness.failure(),
    })
}

fn stage(
    client: HttpClient,
    scenario: &Scenario,
    seeded: &Seeded,
    witness: WitnessLog,
    stop: CancellationToken,
) -> Arc<Stage> {
    let start = Instant::now() + LEAD;
    Arc::new(Stage {
        api: Api { client },
        recorder: Recorder::new(start + scenario.warmup),
        witness,
        shoppers: seeded.shoppers.clone(),
        staff_token: seeded.admin_token.clone(),
        skus: seeded.products.keys().cloned().collect(),
        products: seeded.products.clone(),
        start,
        clock: LoadClock::new(start),
        stop,
    })
}

/// Does what whoever watches asks for.
async fn obey(
    mut controls: mpsc::Receiver<Control>,
    stage: Arc<Stage>,
    warmup: Duration,
    conductor: Conductor,
    sink: Sink,
    manual: Arc<AtomicBool>,
) {
    while let Some(control) = controls.recv().await {
        let stops = matches!(control, Control::StopGently | Control::StopNow);
        manual.fetch_or(!stops, Ordering::Relaxed);
        match control {
            Control::StopGently | Control::StopNow => stage.stop.cancel(),
            Control::Pause => stage.clock.pause(),
            Control::Resume => {
                let warming_up = stage.clock.elapsed() < warmup;
                stage.clock.resume();
                if warming_up {
                    stage.recorder.measure_from(stage.clock.instant_of(warmup));
                }
            }
            Control::Lift(name) => conductor.lift(&name).await,
            Control::Inject { target, kind, parameters } => {
                let target = shop::TARGETS.into_iter().find(|known| known.name == target);
                let Some(target) = target else { continue };
                if let Err(why) = conductor.inject(target, kind, &parameters).await {
                    sink(&Event::Note(why));
                }
            }
        }
    }
}

/// The load and what goes on beside it.
struct Loading<'a> {
    surroundings: &'a Surroundings,
    scenario: &'a Scenario,
    stage: &'a Arc<Stage>,
    conductor: &'a Conductor,
}

impl Loading<'_> {
    fn watch(
        &self,
        lookout: Lookout,
        manifest: Manifest,
        started_at: Timestamp,
        sink: Sink,
        over: CancellationToken,
    ) -> Watch {
        Watch {
            surroundings: self.surroundings.clone(),
            scenario: self.scenario.clone(),
            stage: self.stage.clone(),
            conductor: self.conductor.clone(),
            lookout,
            invariants: LiveInvariants::new(self.surroundings.books.clone(), manifest),
            started_at_us: started_at.as_micros(),
            sink,
            over,
        }
    }

    /// Plays the load; answers the step histograms as they stood when the warm-up ended, and how long
    /// the load took.
    async fn run(&self, hands: JoinHandle<()>) -> (Result<StepHistograms, String>, Duration) {
        let Self { surroundings, scenario, stage, conductor } = *self;
        let generator =
            Generator { stage: stage.clone(), seeds: surroundings.seeds.clone(), scenario_seed: scenario.seed };
        let (warm, clock, warmup) = (surroundings.clone(), stage.clock.clone(), scenario.warmup);
        let without_warmup = scenario.warmup.is_zero();
        let baseline = tokio::spawn(async move {
            if without_warmup {
                return Ok(StepHistograms::default());
            }
            clock.reach(warmup).await;
            observe::steps(&warm).await
        });
        conductor.start(&scenario.faults);
        generator.run(&scenario.load, scenario.graceful_stop).await;
        let took = stage.start.elapsed();
        // Nobody breaks anything any more, and nothing stays broken.
        hands.abort();
        let _ = hands.await;
        conductor.finish().await;
        // A load that was over in its warm-up has measured nothing.
        if stage.clock.elapsed() < scenario.warmup {
            baseline.abort();
            return (observe::steps(surroundings).await, took);
        }
        let baseline = baseline.await.unwrap_or_else(|error| Err(format!("the warm-up's end was not seen: {error}")));
        (baseline, took)
    }
}

/// Ends the record: what became of every key, as far as its client can know.
fn note_fates(known: &Witness, log: &WitnessLog) {
    for ((user, key), order) in &known.orders {
        let (fate, reason) = order.fate();
        let (user, key, id) = (user.clone(), key.clone(), order.ids.first().cloned());
        log.write(&Record::Fate { user, key, id, fate, reason });
    }
}

fn seen_or<T: Default>(seen: Result<T, String>, unseen: &mut Vec<String>) -> T {
    seen.unwrap_or_else(|why| {
        unseen.push(why);
        T::default()
    })
}

/// Waits until nothing is under way, at most `longest`. Books that cannot be read are read again until
/// then: a server may just be coming back.
async fn settle(books: &dyn Books, longest: Duration) -> Result<(), String> {
    let deadline = Instant::now() + longest;
    loop {
        let over = Instant::now() >= deadline;
        match books.in_flight().await {
            Ok(in_flight) if over || in_flight.is_quiet() => return Ok(()),
            Err(error) if over => return Err(error.to_string()),
            Ok(_) | Err(_) => {}
        }
        sleep(SETTLE_PAUSE).await;
    }
}

/// Looks once more at the orders whose end their clients did not see.
async fn resolve(stage: &Stage, admin_token: &str) {
    let deadline = Instant::now() + RESOLVE_LONGEST;
    for (user, key, id) in stage.witness.witness().open() {
        if Instant::now() >= deadline {
            return;
        }
        let Ok(answer) = stage.api.order(admin_token, &id).await else { continue };
        if is_success(answer.status)
            && let Some(order) = seen(&answer)
        {
            let at_us = u64::try_from(stage.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            stage.witness.write(&Record::Saw { at_us, user, key, order });
        }
    }
}

async fn judge(books: &dyn Books, manifest: &Manifest, witness: &Witness) -> Result<Audit, String> {
    let evidence = Evidence { books, manifest: Some(manifest), witness: Some(witness) };
    audit(evidence).await.map_err(|error| format!("the books cannot be read: {error}"))
}
