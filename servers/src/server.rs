//! One server process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ServerError;

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to stop when it is asked gently.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(3);

/// How a server is run.
pub(crate) struct Recipe {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Its own: working directory, data, log.
    pub folder: PathBuf,
    pub address: SocketAddr,
    /// Where clients find it, secret included.
    pub url: String,
    /// What asks it to stop soon and in good order.
    pub stop_signal: Signal,
    /// Whether it answers clients.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A server that runs, or did.
pub struct Server {
    recipe: Recipe,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(recipe: Recipe) -> Self {
        Self { recipe, child: None }
    }

    pub fn name(&self) -> &'static str {
        self.recipe.name
    }

    /// Where clients find it; the same after a restart. It contains a secret.
    pub fn url(&self) -> &str {
        &self.recipe.url
    }

    pub fn address(&self) -> SocketAddr {
        self.recipe.address
    }

    pub fn folder(&self) -> &Path {
        &self.recipe.folder
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it, again on the same port and data, and waits until it answers.
    ///
    /// # Errors
    /// What it said last.
    pub fn start(&mut self) -> Result<(), ServerError> {
        self.launch()?;
        self.await_ready()
    }

    pub(crate) fn launch(&mut self) -> Result<(), ServerError> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = self.log_path();
        let log =
            File::options().create(true).append(true).open(&log).map_err(|error| ServerError::at(&log, &error))?;
        let failed = |error: std::io::Error| ServerError(format!("{}: {error}", self.recipe.name));
        let child = Command::new(&self.recipe.program)
            .args(&self.recipe.arguments)
            .current_dir(&self.recipe.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the foreground's processes; this one outlives the drain.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.child = Some(child);
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this crate owns processes, which no virtual time reaches")]
    pub(crate) fn await_ready(&mut self) -> Result<(), ServerError> {
        let began = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                self.child = None;
                return Err(ServerError(format!("{} ended ({status}): {}", self.recipe.name, self.last_words())));
            }
            if (self.recipe.is_ready)() {
                return Ok(());
            }
            if began.elapsed() > START_DEADLINE {
                let words = self.last_words();
                self.kill();
                let name = self.recipe.name;
                return Err(ServerError(format!("{name} did not answer within {START_DEADLINE:?}: {words}")));
            }
            sleep(PAUSE);
        }
    }

    /// Asks it to stop and waits; kills it if it takes too long.
    #[expect(clippy::disallowed_methods, reason = "this crate owns processes, which no virtual time reaches")]
    pub fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            // It may have ended by itself.
            let _ = kill_process(pid, self.recipe.stop_signal);
        }
        let began = Instant::now();
        while began.elapsed() < STOP_DEADLINE {
            if !matches!(child.try_wait(), Ok(None)) {
                self.child = None;
                return;
            }
            sleep(PAUSE);
        }
        tracing::warn!(server = self.recipe.name, "did not stop and is killed");
        self.kill();
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.recipe.folder.join("server.log")
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of loopback that nobody listens on. Below the range from which outgoing connections take
/// theirs, so that none of them takes it before the server does.
///
/// # Errors
/// When there is none.
pub fn free_port(seed: u32) -> Result<SocketAddr, ServerError> {
    const FIRST: u16 = 15_000;
    const COUNT: u32 = 17_000;
    for step in 0..COUNT {
        let offset = u16::try_from((seed.wrapping_add(step)) % COUNT).unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(ServerError("no free port on 127.0.0.1".into()))
}
