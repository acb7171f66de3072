//! The shop in virtual time: one process, one thread, a simulated network, one seed. The same seed
//! gives the same run, to the byte.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use chassis::auth::Keys;
use chassis::clock::{Clock, SharedClock};
use chassis::context::Tracer;
use chassis::events::sqlite::SqliteEventLog;
use chassis::metrics::Metrics;
use chassis::net::{Listener, Network, Socket};
use chassis::rng::Seeds;
use chassis::sqlite::Storage;
use chassis::{Backing, Embedded, Env};
use kernel::Timestamp;
use rand::Rng;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::{MAIN_PORT, OPS_PORT, Surroundings, WorldError, shop};
use crate::audit::shelf::BookShelf;

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

struct VirtualNetwork;

#[async_trait]
impl Network for VirtualNetwork {
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
        Ok(Box::new(turmoil::net::TcpStream::connect(authority).await?))
    }
}

struct VirtualListener(turmoil::net::TcpListener);

#[async_trait]
impl Listener for VirtualListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Socket>> {
        let (stream, _) = self.0.accept().await?;
        Ok(Box::new(stream))
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
    let storage = Storage::Memory(space);
    let failed = |error: chassis::StoreError| WorldError(error.to_string());
    // The databases live as long as these connections: longer than any host.
    let keepers: Vec<_> =
        shop::DATABASES.iter().map(|name| storage.open(name)).collect::<Result<_, _>>().map_err(failed)?;
    let clock: SharedClock = Arc::new(VirtualClock::default());
    let log = Arc::new(SqliteEventLog::open(&storage, clock.clone()).map_err(failed)?);
    let backing = Backing::Embedded(Embedded { storage: storage.clone(), log });
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
    for role in shop::ROLES {
        let role_seeds = seeds.scope(role);
        let env = Env {
            role,
            clock: clock.clone(),
            tracer: Tracer::new(&role_seeds),
            seeds: role_seeds,
            network: Arc::new(VirtualNetwork),
            peers: peers.clone(),
            ops: ops.clone(),
            chaos: true,
            keys: keys.clone(),
            backing: backing.clone(),
            metrics: Metrics::new(role),
            shutdown: CancellationToken::new(),
        };
        let settings = options.settings.clone();
        sim.host(role, move || serve(role, settings.clone(), env.clone()));
    }
    let surroundings = Surroundings {
        network: Arc::new(VirtualNetwork),
        seeds: seeds.scope("generator"),
        gateway: format!("{}:{MAIN_PORT}", gateway::ROLE),
        ops: (*ops).clone(),
        clock: clock.clone(),
        books: BookShelf::Sqlite(storage),
    };
    let answer = Rc::new(RefCell::new(None));
    let (experiment, slot) = (experiment(surroundings), answer.clone());
    sim.client("generator", async move {
        *slot.borrow_mut() = Some(experiment.await);
        Ok(())
    });
    let outcome = sim.run().map_err(|error| WorldError(error.to_string()));
    drop(sim);
    drop(keepers);
    outcome?;
    let answer = answer.borrow_mut().take();
    answer.ok_or_else(|| WorldError("the experiment did not end".into()))
}

async fn serve(role: &'static str, settings: BTreeMap<String, String>, env: Env) -> turmoil::Result {
    let service = shop::build(role, &settings, env).await?;
    let bind = |port: u16| turmoil::net::TcpListener::bind(("0.0.0.0", port));
    let main = Box::new(VirtualListener(bind(MAIN_PORT).await?));
    let ops = Box::new(VirtualListener(bind(OPS_PORT).await?));
    chassis::serve::run(service, main, ops).await;
    Ok(())
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
