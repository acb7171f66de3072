//! Private PostgreSQL, NATS and Redis servers, started from the machine's binaries in a folder of
//! their own, on free ports of loopback, with secrets of their own. Nothing of the machine's
//! installed servers is used but their programs. They never outlive the process that started them,
//! however that ends.
//!
//! - [`binaries`] finds the programs and says what to install;
//! - `failure` is the error that all of them answer;
//! - `folder` is where servers live, one owner at a time, and sweeps up after owners that are gone;
//!   `guardian` is the process that does the same at once;
//! - `server` is one process: started, stopped, paused, killed, started again on the same port;
//! - `postgres`, `nats`, `redis` know how each is configured and when it is ready;
//! - [`LocalServers`] is the three together.

pub mod binaries;
mod failure;
mod folder;
mod give_up;
mod guardian;
mod log;
mod meddling;
mod nats;
mod postgres;
mod processes;
mod redis;
mod secret;
mod server;
mod user;
mod wait;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use binaries::Binaries;
pub use failure::ServerError;
pub use folder::{sweep, throwaway_ground};
pub use give_up::GiveUp;
pub use meddling::Meddling;
pub use server::{Server, free_port};

use folder::Place;
use guardian::Guardian;

/// PostgreSQL, NATS with JetStream, and Redis. Dropping it stops them; a throwaway folder goes too. The
/// same happens, at once, when this process is killed.
pub struct LocalServers {
    pub postgres: Server,
    pub nats: Server,
    pub redis: Server,
    // Dropped in this order: the processes, what they leave, and who would do that for us.
    place: Place,
    _guardian: Guardian,
}

impl LocalServers {
    /// Starts the three in `folder`; what an earlier run has left there is taken up again. The folder
    /// is this process's until the servers are dropped.
    ///
    /// # Errors
    /// One line: what is missing, or what went wrong, where, and what to do.
    pub fn start(folder: &Path) -> Result<Self, ServerError> {
        Self::start_unless(Some(folder), &GiveUp::default())
    }

    /// Starts the three in a folder that is removed when they stop. They write as carefully as if it
    /// stayed, so that what is measured means something.
    ///
    /// # Errors
    /// As [`LocalServers::start`].
    pub fn throwaway() -> Result<Self, ServerError> {
        Self::start_unless(None, &GiveUp::default())
    }

    /// Starts the three, in a folder that stays or in one that goes, unless somebody gives up meanwhile.
    ///
    /// # Errors
    /// As [`LocalServers::start`], and when it was given up.
    pub fn start_unless(kept: Option<&Path>, give_up: &GiveUp) -> Result<Self, ServerError> {
        let binaries = Binaries::find()?;
        if give_up.is_asked() {
            return Err(server::given_up());
        }
        let place = match kept {
            Some(folder) => Place::kept(folder, give_up)?,
            None => Place::throwaway(true, give_up)?,
        };
        Self::start_in(&binaries, place)
    }

    /// The same without waiting for the disk, for tests: a power cut would lose what was written, the
    /// end of a process does not.
    fn careless() -> Result<Self, ServerError> {
        let binaries = Binaries::find()?;
        Self::start_in(&binaries, Place::throwaway(false, &GiveUp::default())?)
    }

    fn start_in(binaries: &Binaries, place: Place) -> Result<Self, ServerError> {
        let guardian = Guardian::set(&place.path, place.is_throwaway())?;
        // All at once. The slowest, making the cluster, is waited for while the others start.
        let mut nats = nats::prepare(binaries, &place)?;
        nats.launch()?;
        let mut redis = redis::prepare(binaries, &place)?;
        redis.launch()?;
        let mut others = Ok(());
        let mut postgres = postgres::prepare(binaries, &place, &mut || {
            for server in [&mut nats, &mut redis] {
                if others.is_ok() {
                    others = server.poll().map(drop);
                }
            }
        })?;
        others?;
        postgres.launch()?;
        server::await_ready(&mut [&mut nats, &mut redis, &mut postgres])?;
        Ok(Self { postgres, nats, redis, place, _guardian: guardian })
    }

    /// What services connect to. `namespace` sets shops apart that share these servers.
    pub fn connections(&self, namespace: &str) -> store::Servers {
        // Whatever PGSSLMODE asks of other servers: these have no certificate, and none is needed.
        let url = format!("{}?sslmode=disable", self.postgres.url());
        store::Servers {
            postgres: match postgres::socket(&self.place) {
                Some(folder) => format!("{url}&host={folder}"),
                None => url,
            },
            nats: self.nats.url().to_owned(),
            redis: self.redis.url().to_owned(),
            namespace: namespace.to_owned(),
            create: true,
            batch_max: store::gather::BATCH_MAX,
            hazards: chassis::hazard::Hazards::default(),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.place.path
    }

    /// Where their data lie, by name. PostgreSQL's log, which does not grow for ever, is apart from its tables.
    pub fn folders(&self) -> [(&'static str, PathBuf); 4] {
        let postgres = self.folder().join(self.postgres.name()).join("data");
        let of = |server: &Server| (server.name(), self.folder().join(server.name()));
        [
            ("postgres", postgres.join("base")),
            ("postgres-wal", postgres.join("pg_wal")),
            of(&self.nats),
            of(&self.redis),
        ]
    }

    /// How long each took from its start to its first answer.
    pub fn started_in(&self) -> [(&'static str, Duration); 3] {
        [&self.postgres, &self.nats, &self.redis].map(|server| (server.name(), server.started_in()))
    }

    /// Why one of them does not run any more, if it has ended by itself.
    pub fn ended(&mut self) -> Option<ServerError> {
        [&mut self.postgres, &mut self.nats, &mut self.redis].into_iter().find_map(Server::ended)
    }
}

impl Drop for LocalServers {
    fn drop(&mut self) {
        // All at once; each is waited for when its turn comes.
        for server in [&mut self.postgres, &mut self.nats, &mut self.redis] {
            if self.place.is_throwaway() { server.quit() } else { server.ask_to_stop() }
        }
    }
}

static SHARED: Mutex<Option<Arc<LocalServers>>> = Mutex::new(None);
static NAMESPACES: AtomicU64 = AtomicU64::new(0);

/// Throwaway servers that all tests of a process share, until it ends. They do not wait for the disk.
pub struct Borrowed {
    pub servers: Arc<LocalServers>,
    /// In a namespace that nobody else has.
    pub connections: store::Servers,
}

/// Servers for one test.
///
/// # Errors
/// As [`LocalServers::start`].
pub fn for_test() -> Result<Borrowed, ServerError> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = match &*shared {
        Some(running) => running.clone(),
        None => shared.insert(Arc::new(LocalServers::careless()?)).clone(),
    };
    let connections = servers.connections(&format!("t{}", NAMESPACES.fetch_add(1, Ordering::Relaxed)));
    // By its address, which a test may put a proxy in front of.
    let connections = store::Servers { postgres: servers.postgres.url().to_owned(), ..connections };
    Ok(Borrowed { servers, connections })
}
