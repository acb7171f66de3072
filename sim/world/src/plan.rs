//! How a shop is put up on this machine, and the shop that then runs: its roles as threads of this
//! process, or each as a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use chassis::Instruments;
use chassis::clock::SystemClock;
use chassis::net::SystemNetwork;
use chassis::rng::Seeds;
use store::Servers;
use tokio::time::Duration;

use super::lock::FolderLock;
use super::processes::{Processes, ProcessesOptions};
use super::real::{RealOptions, RunningShop};
use super::secret::Secret;
use super::{Surroundings, WorldError};
use audit::shelf::BookShelf;
use shop::fault::crash::CrashAt;
use shop::machine::Part;

/// What is to be put up.
pub struct Plan {
    /// `role.name` → value, as written in a scenario.
    pub settings: BTreeMap<String, String>,
    /// Locked while the shop runs; it holds the data of the embedded family, and logs.
    pub folder: PathBuf,
    /// Where the gateway listens; everything else takes free ports of loopback.
    pub listen: SocketAddr,
    /// Fixes random choices; from entropy without one.
    pub seed: Option<u64>,
    /// What signs tokens.
    pub secret: Secret,
    /// Whether faults may be injected.
    pub chaos: bool,
    /// Where a process of the shop dies.
    pub crash: Option<CrashAt>,
    /// PostgreSQL, NATS and Redis; the embedded family without them.
    pub servers: Option<Servers>,
    /// Each role a process. Processes share nothing but servers.
    pub processes: bool,
    pub instruments: Instruments,
}

/// A shop that runs. Stopped by [`Shop::stop`], or when it is dropped.
pub enum Shop {
    Threads(RunningShop),
    Processes(Apart),
}

/// A shop of processes, and what surrounds it.
pub struct Apart {
    processes: Processes,
    surroundings: Surroundings,
    _lock: FolderLock,
}

impl Shop {
    /// Puts the shop up and waits until it is ready.
    ///
    /// # Errors
    /// One line about the first role that could not start; everything else is taken down again.
    pub async fn put_up(plan: Plan) -> Result<Self, WorldError> {
        let seeds = match plan.seed {
            Some(seed) => Seeds::from_number(seed),
            None => Seeds::from_entropy().map_err(|error| WorldError(format!("no randomness: {error}")))?,
        };
        match (plan.processes, &plan.servers) {
            (true, Some(servers)) => {
                let servers = servers.clone();
                Self::apart(plan, servers, seeds).await.map(Self::Processes)
            }
            (true, None) => Err(WorldError("processes need servers that they can share".into())),
            (false, _) => Self::together(plan, seeds).await.map(Self::Threads),
        }
    }

    async fn together(plan: Plan, seeds: Seeds) -> Result<RunningShop, WorldError> {
        let Plan { settings, folder, listen, secret, chaos, crash, servers, instruments, .. } = plan;
        let keys = secret.keys().map_err(WorldError)?;
        let options = RealOptions { settings, folder, listen, seeds, keys, chaos, crash, servers, instruments };
        RunningShop::start(options).await
    }

    async fn apart(plan: Plan, servers: Servers, seeds: Seeds) -> Result<Apart, WorldError> {
        let Plan { settings, folder, listen, seed, secret, chaos, crash, instruments, .. } = plan;
        let lock = FolderLock::take(&folder).map_err(WorldError)?;
        let options = ProcessesOptions {
            program: None,
            servers: servers.clone(),
            roles: shop::ROLES.to_vec(),
            settings,
            logs: folder.join("logs"),
            listen,
            secret,
            seed,
            chaos,
            crash,
            instruments,
        };
        let processes = Processes::start(options).await?;
        let surroundings = Surroundings {
            network: Arc::new(SystemNetwork),
            clock: Arc::new(SystemClock),
            seeds: seeds.scope("generator"),
            gateway: processes.addresses.get(gateway::ROLE).cloned().unwrap_or_default(),
            ops: processes.ops.clone(),
            books: BookShelf::Servers(servers),
            hand: None,
        };
        Ok(Apart { processes, surroundings, _lock: lock })
    }

    pub fn surroundings(&self) -> &Surroundings {
        match self {
            Self::Threads(shop) => &shop.surroundings,
            Self::Processes(shop) => &shop.surroundings,
        }
    }

    /// Role → its gRPC (or, for the gateway, HTTP) address.
    pub fn addresses(&self) -> &BTreeMap<&'static str, String> {
        match self {
            Self::Threads(shop) => &shop.addresses,
            Self::Processes(shop) => &shop.processes.addresses,
        }
    }

    pub fn started_in(&self) -> Duration {
        match self {
            Self::Threads(shop) => shop.started_in,
            Self::Processes(shop) => shop.processes.started_in,
        }
    }

    /// What of the machine each role uses.
    pub fn parts(&self) -> Vec<(String, Part)> {
        match self {
            Self::Threads(shop) => {
                let threads = shop.threads.iter();
                threads.map(|(role, thread)| ((*role).to_owned(), Part::Thread(thread.clone()))).collect()
            }
            Self::Processes(shop) => {
                let pids = shop.processes.pids().into_iter();
                pids.map(|(role, pid)| (role.to_owned(), Part::Process(pid))).collect()
            }
        }
    }

    /// Roles that ended by themselves, and what they said last.
    pub fn dead(&self) -> Vec<String> {
        match self {
            Self::Threads(_) => Vec::new(),
            Self::Processes(shop) => shop.processes.dead(),
        }
    }

    /// Drains every role and waits for it.
    pub fn stop(self) {
        match self {
            Self::Threads(shop) => shop.stop(),
            Self::Processes(shop) => shop.processes.stop(),
        }
    }
}
