//! Private PostgreSQL, NATS and Redis servers, started from the machine's binaries in a folder of
//! their own, on free ports of loopback, with secrets of their own. Nothing of the machine's
//! installed servers is used but their programs.
//!
//! - [`binaries`] finds the programs and says what to install;
//! - [`server`] is one process: started, stopped, killed, started again on the same port;
//! - [`postgres`], [`nats`], [`redis`] know how each is configured and when it is ready;
//! - [`LocalServers`] is the three together.

pub mod binaries;
mod nats;
mod postgres;
mod redis;
mod secret;
pub mod server;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub use binaries::Binaries;
pub use server::Server;

/// Why a server is not there, in one line for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(pub String);

impl ServerError {
    fn at(path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

/// PostgreSQL, NATS with JetStream, and Redis. Dropping it stops them; a throwaway folder goes too.
pub struct LocalServers {
    pub postgres: Server,
    pub nats: Server,
    pub redis: Server,
    folder: PathBuf,
    /// Dropped last: the processes are gone by then.
    _temporary: Option<tempfile::TempDir>,
}

impl LocalServers {
    /// Starts the three in `folder`; what an earlier run has left there is taken up again.
    ///
    /// # Errors
    /// One line: what is missing, or what the server that did not start said last.
    pub fn start(folder: &Path) -> Result<Self, ServerError> {
        Self::start_in(folder, None)
    }

    /// Starts the three in a folder that is removed when they stop.
    ///
    /// # Errors
    /// As [`LocalServers::start`].
    pub fn throwaway() -> Result<Self, ServerError> {
        let temporary = tempfile::Builder::new().prefix("shopctl-servers-").tempdir();
        let temporary = temporary.map_err(|error| ServerError(format!("no temporary folder: {error}")))?;
        let folder = temporary.path().to_path_buf();
        Self::start_in(&folder, Some(temporary))
    }

    fn start_in(folder: &Path, temporary: Option<tempfile::TempDir>) -> Result<Self, ServerError> {
        let binaries = Binaries::find()?;
        std::fs::create_dir_all(folder).map_err(|error| ServerError::at(folder, &error))?;
        // PostgreSQL's user passes through here; what is secret below is closed to it file by file.
        std::fs::set_permissions(folder, Permissions::from_mode(0o711))
            .map_err(|error| ServerError::at(folder, &error))?;
        let mut postgres = postgres::prepare(&binaries, &folder.join("postgres"))?;
        let mut nats = nats::prepare(&binaries, &folder.join("nats"))?;
        let mut redis = redis::prepare(&binaries, &folder.join("redis"))?;
        // All at once: the slowest decides.
        for server in [&mut postgres, &mut nats, &mut redis] {
            server.launch()?;
        }
        for server in [&mut postgres, &mut nats, &mut redis] {
            server.await_ready()?;
        }
        Ok(Self { postgres, nats, redis, folder: folder.to_owned(), _temporary: temporary })
    }

    /// What services connect to. `namespace` sets shops apart that share these servers.
    pub fn connections(&self, namespace: &str) -> chassis::Servers {
        chassis::Servers {
            postgres: self.postgres.url().to_owned(),
            nats: self.nats.url().to_owned(),
            redis: self.redis.url().to_owned(),
            namespace: namespace.to_owned(),
            create: true,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

static SHARED: Mutex<Weak<LocalServers>> = Mutex::new(Weak::new());
static NAMESPACES: AtomicU64 = AtomicU64::new(0);

/// Throwaway servers that all tests of a process share; they stop when the last test lets go of them.
pub struct Borrowed {
    pub servers: Arc<LocalServers>,
    /// In a namespace that nobody else has.
    pub connections: chassis::Servers,
}

/// Servers for one test.
///
/// # Errors
/// As [`LocalServers::start`].
pub fn for_test() -> Result<Borrowed, ServerError> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = match shared.upgrade() {
        Some(running) => running,
        None => Arc::new(LocalServers::throwaway()?),
    };
    *shared = Arc::downgrade(&servers);
    let connections = servers.connections(&format!("t{}", NAMESPACES.fetch_add(1, Ordering::Relaxed)));
    Ok(Borrowed { servers, connections })
}
