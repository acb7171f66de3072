//! The shop on this machine: a thread with a current-thread runtime for each role, sockets on
//! loopback, SQLite files in a folder or servers to connect to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use chassis::auth::Keys;
use chassis::clock::{SharedClock, SteadyClock, SystemClock};
use chassis::hazard::Hazards;
use chassis::net::{BoundPort, ExposedNetwork, Network, SystemNetwork};
use chassis::rng::Seeds;
use chassis::{Env, Instruments};
use eventlog::exposed::ExposedLog;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded};
use store::Servers;
use store::sqlite::Storage;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::lock::FolderLock;
use super::{Surroundings, WorldError};
use audit::shelf::BookShelf;
use shop::fault::crash::CrashAt;
use shop::http::HttpClient;

/// How long all roles may take to say that they are up.
const STOP_DEADLINE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(5);
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Where and how the shop is put up.
pub struct RealOptions {
    /// `role.name` → value, as written in a scenario.
    pub settings: BTreeMap<String, String>,
    pub folder: PathBuf,
    /// Where the gateway listens; everything else takes free ports of loopback.
    pub listen: SocketAddr,
    pub seeds: Seeds,
    pub keys: Keys,
    /// Whether faults may be injected.
    pub chaos: bool,
    /// Where this process dies.
    pub crash: Option<CrashAt>,
    /// PostgreSQL, NATS and Redis; SQLite files in the folder without them.
    pub servers: Option<Servers>,
    pub instruments: Instruments,
}

/// A shop that runs. Stopped by [`RunningShop::stop`], or when it is dropped.
pub struct RunningShop {
    pub surroundings: Surroundings,
    /// Role → its gRPC (or, for the gateway, HTTP) address.
    pub addresses: BTreeMap<&'static str, String>,
    /// Role → the kernel's id of its thread, for CPU accounting; absent where there is none to ask.
    pub threads: BTreeMap<&'static str, String>,
    pub started_in: Duration,
    shutdown: CancellationToken,
    handles: Vec<JoinHandle<()>>,
    _lock: FolderLock,
}

struct Ports {
    main: BTreeMap<&'static str, BoundPort>,
    ops: BTreeMap<&'static str, BoundPort>,
}

impl Ports {
    fn bind(listen: SocketAddr) -> Result<Self, WorldError> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut ports = Self { main: BTreeMap::new(), ops: BTreeMap::new() };
        for role in shop::ROLES {
            let address = if role == gateway::ROLE { listen } else { free };
            let bind = |address: SocketAddr| {
                BoundPort::bind(address).map_err(|error| {
                    let hint = match error.kind() {
                        std::io::ErrorKind::AddrInUse => "; choose another with --listen",
                        _ => "",
                    };
                    WorldError(format!("{role} cannot listen on {address}: {error}{hint}"))
                })
            };
            ports.main.insert(role, bind(address)?);
            ports.ops.insert(role, bind(free)?);
        }
        Ok(ports)
    }

    fn addresses(ports: &BTreeMap<&'static str, BoundPort>) -> Result<BTreeMap<&'static str, String>, WorldError> {
        let named = ports.iter().map(|(role, port)| {
            let address = port.address().map_err(|error| WorldError(format!("{role}: {error}")))?;
            Ok((*role, address.to_string()))
        });
        named.collect()
    }
}

impl RunningShop {
    /// Puts the shop up and waits until the gateway says that it is ready.
    ///
    /// # Errors
    /// One line about the first role that could not start; everything else is taken down again.
    pub async fn start(options: RealOptions) -> Result<Self, WorldError> {
        let started = Instant::now();
        let lock = FolderLock::take(&options.folder).map_err(WorldError)?;
        let mut ports = Ports::bind(options.listen)?;
        let (addresses, ops) = (Ports::addresses(&ports.main)?, Ports::addresses(&ports.ops)?);
        let storage = Storage::Folder(options.folder.clone());
        let clock: SharedClock = Arc::new(SystemClock);
        let hazards = options.crash.as_ref().map(CrashAt::hazards).unwrap_or_default();
        let (books, backing) = match options.servers {
            Some(servers) => {
                (BookShelf::Servers(servers.clone()), Backing::Servers(Servers { hazards: hazards.clone(), ..servers }))
            }
            None => (BookShelf::Sqlite(storage.clone()), embedded(&storage, &clock)?),
        };
        let (peers, ops_peers) = (Arc::new(addresses.clone()), Arc::new(ops.clone()));
        let shutdown = CancellationToken::new();
        let network = Arc::new(SystemNetwork);
        let exposed: Arc<dyn Network> = match hazards.is_none() {
            true => network.clone(),
            false => Arc::new(ExposedNetwork(hazards.clone())),
        };

        let mut shop = Self {
            surroundings: Surroundings {
                network: network.clone(),
                clock: clock.clone(),
                seeds: options.seeds.scope("generator"),
                gateway: addresses.get(gateway::ROLE).cloned().unwrap_or_default(),
                ops,
                books,
                hand: None,
            },
            addresses,
            threads: BTreeMap::new(),
            started_in: Duration::ZERO,
            shutdown: shutdown.clone(),
            handles: Vec::new(),
            _lock: lock,
        };
        let (report, mut reports) = mpsc::channel(shop::ROLES.len());
        for role in shop::ROLES {
            let seeds = options.seeds.scope(role);
            let env = Env {
                role,
                clock: clock.clone(),
                tracer: options.instruments.tracer(&seeds),
                seeds,
                network: exposed.clone(),
                peers: peers.clone(),
                ops: ops_peers.clone(),
                chaos: options.chaos,
                keys: options.keys.clone(),
                metrics: options.instruments.metrics(role),
                shutdown: shutdown.clone(),
            };
            let backing = exposed_to(&backing, role, &hazards);
            let (Some(main), Some(ops)) = (ports.main.remove(role), ports.ops.remove(role)) else { continue };
            let (settings, report) = (options.settings.clone(), report.clone());
            shop.handles.push(spawn(role, move || serve(role, &settings, (env, backing), main, ops, &report))?);
        }
        drop(report);
        for _ in shop::ROLES {
            let (role, outcome): Report = timeout(START_DEADLINE, reports.recv())
                .await
                .ok()
                .flatten()
                .ok_or_else(|| WorldError(format!("a role did not answer within {START_DEADLINE:?}")))?;
            if let Some(thread) = outcome.map_err(|error| WorldError(format!("{role}: {error}")))? {
                shop.threads.insert(role, thread);
            }
        }
        shop.await_ready().await?;
        shop.started_in = started.elapsed();
        Ok(shop)
    }

    async fn await_ready(&self) -> Result<(), WorldError> {
        let gateway = self.surroundings.ops.get(gateway::ROLE).cloned().unwrap_or_default();
        let client = HttpClient::new(self.surroundings.network.clone(), gateway);
        let answer = client.get("/readyz", None, Duration::from_secs(5)).await;
        match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(WorldError(format!("the gateway answers {} on /readyz", answer.status))),
            Err(error) => Err(WorldError(format!("the gateway does not answer: {error}"))),
        }
    }

    /// Drains every role and waits for its thread.
    pub fn stop(mut self) {
        self.shutdown.cancel();
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!("a role's thread panicked");
            }
        }
    }
}

impl Drop for RunningShop {
    /// Whoever drops it takes the folder away next, or lets somebody else have it.
    #[expect(clippy::disallowed_methods, reason = "threads end in real time, and nobody can wait for a drop")]
    fn drop(&mut self) {
        self.shutdown.cancel();
        for _ in 0..STOP_DEADLINE.as_millis() / PAUSE.as_millis() {
            if self.handles.iter().all(JoinHandle::is_finished) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        tracing::warn!("a role's thread does not end");
    }
}

fn embedded(storage: &Storage, clock: &SharedClock) -> Result<Backing, WorldError> {
    let steady = Arc::new(SteadyClock::start(clock.clone()));
    let log = SqliteEventLog::open(storage, steady).map_err(|error| WorldError(error.to_string()))?;
    Ok(Backing::Embedded(Embedded { storage: storage.clone(), log: Arc::new(log) }))
}

/// The backing of a role that something may befall on its way there.
fn exposed_to(backing: &Backing, role: &'static str, hazards: &Hazards) -> Backing {
    match backing {
        Backing::Embedded(Embedded { storage, log }) if !hazards.is_none() => Backing::Embedded(Embedded {
            storage: Storage::Exposed(Box::new(storage.clone()), hazards.clone()),
            log: ExposedLog::over(log.clone(), role, hazards),
        }),
        backing => backing.clone(),
    }
}

/// A role's name, and its thread's id or why it could not start.
type Report = (&'static str, Result<Option<String>, String>);

fn spawn(role: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WorldError> {
    std::thread::Builder::new()
        .name(role.to_owned())
        .spawn(work)
        .map_err(|error| WorldError(format!("no thread for {role}: {error}")))
}

fn serve(
    role: &'static str,
    settings: &BTreeMap<String, String>,
    (env, backing): (Env, Backing),
    main: BoundPort,
    ops: BoundPort,
    report: &mpsc::Sender<Report>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(report.try_send((role, Err(error.to_string())))),
    };
    runtime.block_on(async {
        let built = shop::build(role, settings, env, backing).await.map_err(|error| error.to_string());
        let listening = built.and_then(|service| {
            let main = main.listen().map_err(|error| error.to_string())?;
            let ops = ops.listen().map_err(|error| error.to_string())?;
            Ok((service, main, ops))
        });
        match listening {
            Ok((service, main, ops)) => {
                // Whoever asked may have given up; then the shutdown signal is there already.
                let _ = report.try_send((role, Ok(shop::machine::this_thread())));
                chassis::serve::run(service, main, ops).await;
            }
            Err(error) => drop(report.try_send((role, Err(error)))),
        }
    });
}
