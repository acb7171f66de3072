//! The shop in virtual time: one process, one thread, a simulated network, one seed. The same seed
//! gives the same run, to the byte.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chassis::Env;
use chassis::auth::Keys;
use chassis::clock::{Clock, SharedClock};
use chassis::context::Tracer;
use chassis::metrics::Metrics;
use chassis::rng::Seeds;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded};
use kernel::Timestamp;
use rand::Rng;
use store::sqlite::Storage;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::peril::Perils;
use super::{Surroundings, WorldError};
use audit::shelf::BookShelf;
use shop::fault::vocabulary::GENERATOR;
use shop::{MAIN_PORT, OPS_PORT};

/// 2026-01-01T00:00:00Z, when every simulation begins.
const EPOCH_US: i64 = 1_767_225_600_000_000;
/// How finely the network moves. A message takes one to a few ticks.
const TICK: Duration = Duration::from_millis(1);
/// Sets the databases of simulations in one process apart. Only their names differ by it.
static SPACES: AtomicU64 = AtomicU64::new(0);

/// Virtual wall-clock time. Outside any host it shows the last time that it was asked.
#[derive(Default)]
struct VirtualClock {
    last: AtomicI64,
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let micros = match turmoil::sim_elapsed() {
            Some(elapsed) => {
                let now = Timestamp::from_micros(EPOCH_US).plus(elapsed).as_micros();
                self.last.store(now, Ordering::Relaxed);
                now
            }
            None => self.last.load(Ordering::Relaxed).max(EPOCH_US),
        };
        Timestamp::from_micros(micros)
    }
}

/// What a simulation is made with.
pub struct SimulatedOptions {
    /// `role.name` → value, as written in a scenario.
    pub settings: BTreeMap<String, String>,
    pub seed: u64,
    /// Virtual time after which a simulation that has not ended is given up.
    pub longest: Duration,
}

/// Runs `experiment` as a client of the shop in virtual time and answers what it answers.
///
/// # Errors
/// When a role cannot start or the virtual time runs out.
pub fn simulate<F, T>(options: SimulatedOptions, experiment: impl FnOnce(Surroundings) -> F) -> Result<T, WorldError>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    align_task_ids()?;
    let seeds = Seeds::from_number(options.seed);
    let space = format!("sim{}", SPACES.fetch_add(1, Ordering::Relaxed));
    let storage = Storage::Memory(space.clone());
    let failed = |error: store::StoreError| WorldError(error.to_string());
    // The databases live as long as these connections: longer than any host.
    let keepers: Vec<_> = shop::databases().map(|name| storage.open(name)).collect::<Result<_, _>>().map_err(failed)?;
    let clock: SharedClock = Arc::new(VirtualClock::default());
    let log = Arc::new(SqliteEventLog::open(&storage, clock.clone()).map_err(failed)?);
    let mut secret = [0; 32];
    seeds.stream("jwt-secret").fill_bytes(&mut secret);
    let keys = Keys::new(&secret).map_err(WorldError)?;

    let mut sim = turmoil::Builder::new()
        .rng_seed(seeds.stream("network").next_u64())
        .enable_random_order()
        .tick_duration(TICK)
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_millis(2))
        .simulation_duration(options.longest)
        .tcp_capacity(4096)
        .build();
    let address = |role: &'static str, port: u16| (role, format!("{role}:{port}"));
    let peers: Arc<BTreeMap<_, _>> = Arc::new(shop::ROLES.map(|role| address(role, MAIN_PORT)).into());
    let ops: Arc<BTreeMap<_, _>> = Arc::new(shop::ROLES.map(|role| address(role, OPS_PORT)).into());
    let perils = Perils::new(seeds.scope("faults"));
    let host = Arc::new(Hosting {
        settings: options.settings,
        seeds: seeds.clone(),
        clock: clock.clone(),
        space,
        log,
        keys,
        peers,
        ops: ops.clone(),
        perils: perils.clone(),
    });
    for role in shop::ROLES {
        let host = host.clone();
        sim.host(role, move || host.clone().serve(role));
    }
    let surroundings = Surroundings {
        network: perils.network(GENERATOR),
        seeds: seeds.scope(GENERATOR),
        gateway: format!("{}:{MAIN_PORT}", gateway::ROLE),
        ops: (*ops).clone(),
        clock,
        books: BookShelf::Sqlite(storage),
        hand: Some(Arc::new(perils.clone())),
    };
    let answer = Rc::new(RefCell::new(None));
    let (experiment, slot) = (experiment(surroundings), answer.clone());
    sim.client("generator", async move {
        *slot.borrow_mut() = Some(experiment.await);
        Ok(())
    });
    let outcome = loop {
        match sim.step() {
            Ok(true) => break Ok(()),
            Ok(false) => perils.carry_out(&mut sim),
            Err(error) => break Err(WorldError(error.to_string())),
        }
    };
    drop(sim);
    drop(keepers);
    outcome?;
    let answer = answer.borrow_mut().take();
    answer.ok_or_else(|| WorldError("the experiment did not end".into()))
}

/// What every life of every role is made of.
struct Hosting {
    settings: BTreeMap<String, String>,
    seeds: Seeds,
    clock: SharedClock,
    /// Names the databases.
    space: String,
    log: Arc<SqliteEventLog>,
    keys: Keys,
    peers: Arc<BTreeMap<&'static str, String>>,
    ops: Arc<BTreeMap<&'static str, String>>,
    perils: Perils,
}

impl Hosting {
    async fn serve(self: Arc<Self>, role: &'static str) -> turmoil::Result {
        let (life, shutdown) = self.perils.begin_life(role);
        if life > 1 {
            tracing::debug!(target: "shop::fault", role, life, "started");
        }
        let (env, backing) = self.env(role, life, shutdown);
        let service = match shop::build(role, &self.settings, env, backing).await {
            Ok(service) => service,
            Err(error) if life == 1 => return Err(error.into()),
            // What it needs is broken as well.
            Err(_) => {
                self.perils.start_failed(role);
                return Ok(());
            }
        };
        let bind = |port: u16| turmoil::net::TcpListener::bind(("0.0.0.0", port));
        let main = self.perils.listener(role, bind(MAIN_PORT).await?);
        let ops = self.perils.listener(role, bind(OPS_PORT).await?);
        chassis::serve::run(service, main, ops).await;
        Ok(())
    }

    /// A process that starts again draws other numbers than before.
    fn env(&self, role: &'static str, life: u32, shutdown: CancellationToken) -> (Env, Backing) {
        let seeds = self.seeds.scope(role);
        let seeds = if life == 1 { seeds } else { seeds.scope(&format!("life-{life}")) };
        let storage = Storage::Exposed(Storage::Memory(self.space.clone()).into(), self.perils.hazards(role));
        let log = self.perils.log(role, self.log.clone());
        let env = Env {
            role,
            clock: self.perils.clock(role, self.clock.clone()),
            tracer: Tracer::new(&seeds),
            seeds,
            network: self.perils.network(role),
            peers: self.peers.clone(),
            ops: self.ops.clone(),
            chaos: true,
            keys: self.keys.clone(),
            metrics: Metrics::new(role),
            shutdown,
        };
        (env, Backing::Embedded(Embedded { storage, log }))
    }
}

/// tokio's task ids count up in the whole process, and its list of tasks is sharded by them; the
/// order in which a runtime drops its tasks follows from that. Every simulation begins at the same
/// place of the shards.
fn align_task_ids() -> Result<(), WorldError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| WorldError(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        loop {
            let task = tokio::spawn(async {});
            let id: u64 = task.id().to_string().parse().unwrap_or(63);
            // The task is empty and cannot fail.
            let _ = task.await;
            if id % 64 == 63 {
                return;
            }
        }
    });
    Ok(())
}
