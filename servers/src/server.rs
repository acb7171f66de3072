//! One server process.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failure::ServerError;
use crate::give_up::GiveUp;
use crate::log::Log;
use crate::{processes, secret, wait};

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to stop when it is asked gently.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long to end when it is told to; PostgreSQL itself kills its children after 5 s.
const QUIT_DEADLINE: Duration = Duration::from_secs(6);
/// How long one that nobody waits for any more may take to end by itself.
const GIVE_UP_DEADLINE: Duration = Duration::from_millis(500);
/// How long the children of a killed server may take to notice.
const ORPHANS_DEADLINE: Duration = Duration::from_secs(5);
/// How many ports are tried before a server's first start is given up.
const PORTS: usize = 5;

/// How a server is run at an address.
pub(crate) struct Recipe {
    pub name: &'static str,
    pub program: PathBuf,
    /// What it is told that it is called, where that matters.
    pub called: Option<PathBuf>,
    pub arguments: Vec<OsString>,
    /// A file that it reads as its standard input.
    pub input: Option<PathBuf>,
    /// Its working directory.
    pub folder: PathBuf,
    pub log: Log,
    pub address: SocketAddr,
    /// Where clients find it, secret included.
    pub url: String,
    /// What asks it to stop soon and in good order, and what to stop at once.
    pub stop: Signal,
    pub quit: Signal,
    /// What has to be done before each start.
    pub before_start: Box<dyn Fn() + Send + Sync>,
    /// Whether the process of this number answers clients.
    pub is_ready: Box<dyn Fn(u32) -> bool + Send + Sync>,
}

/// Writes down how the server is run at that address.
type Configure = Box<dyn Fn(SocketAddr) -> Result<Recipe, ServerError> + Send + Sync>;

/// A server that runs, or did. Dropping it stops it.
pub struct Server {
    configure: Configure,
    recipe: Recipe,
    give_up: GiveUp,
    child: Option<Child>,
    /// How much the log held when the process was started.
    log_before: u64,
    ports_tried: usize,
    launched: Instant,
    /// Whether it has answered since.
    answers: bool,
    started_in: Duration,
}

impl Server {
    pub(crate) fn new(give_up: GiveUp, configure: Configure) -> Result<Self, ServerError> {
        let recipe = configure(free_port()?)?;
        Ok(Self {
            configure,
            recipe,
            give_up,
            child: None,
            log_before: 0,
            ports_tried: 1,
            launched: wait::now(),
            answers: false,
            started_in: Duration::ZERO,
        })
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

    /// What it says goes to this file.
    pub fn log(&self) -> &Path {
        &self.recipe.log.path
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The process and those that it has started, PostgreSQL's backends for example.
    pub fn processes(&self) -> Vec<u32> {
        self.pid().map(processes::tree).unwrap_or_default()
    }

    /// How long the last start took, from the process to its first answer.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Why it does not run any more, if it has ended by itself.
    pub fn ended(&mut self) -> Option<ServerError> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(self.recipe.log.explain(&format!("{} ended ({status})", self.recipe.name), self.log_before))
    }

    /// Starts it, again on the same port and data, and waits until it answers.
    ///
    /// # Errors
    /// One line: what it said last, where its log is, what to do.
    pub fn start(&mut self) -> Result<(), ServerError> {
        self.launch()?;
        await_ready(&mut [self])
    }

    /// Stops it in good order and starts it again on the same port and data.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop();
        self.start()
    }

    pub(crate) fn launch(&mut self) -> Result<(), ServerError> {
        if self.child.is_some() && self.ended().is_none() {
            return Ok(());
        }
        (self.recipe.before_start)();
        let (log, length) = self.recipe.log.open()?;
        let failed = |error: std::io::Error| {
            ServerError(format!("{} ({}): {error}", self.recipe.name, self.recipe.program.display()))
        };
        let input = match &self.recipe.input {
            Some(path) => Stdio::from(File::open(path).map_err(failed)?),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.recipe.program);
        if let Some(name) = &self.recipe.called {
            command.arg0(name);
        }
        let child = command
            .args(&self.recipe.arguments)
            // Nothing that concerns us concerns it: no settings, no secrets.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(&self.recipe.folder)
            .stdin(input)
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the foreground's processes; this one outlives the drain.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.child = Some(child);
        self.log_before = length;
        self.launched = wait::now();
        self.answers = false;
        Ok(())
    }

    /// Whether it answers by now. One whose port was taken meanwhile is started on another, as long as
    /// nobody has been told of it.
    pub(crate) fn poll(&mut self) -> Result<bool, ServerError> {
        let Some(pid) = self.pid() else { return Ok(false) };
        if let Some(error) = self.ended() {
            let said = self.recipe.log.said_since(self.log_before).to_lowercase();
            let another =
                self.started_in.is_zero() && said.contains("address already in use") && self.ports_tried < PORTS;
            if !another {
                return Err(error);
            }
            self.ports_tried += 1;
            self.recipe = (self.configure)(free_port()?)?;
            self.launch()?;
            return Ok(false);
        }
        if !self.answers && (self.recipe.is_ready)(pid) {
            self.answers = true;
            self.started_in = self.launched.elapsed();
        }
        Ok(self.answers)
    }

    /// Asks it to stop and waits; kills it if it takes too long.
    pub fn stop(&mut self) {
        self.ask(self.recipe.stop);
        self.await_end();
    }

    /// Asks it to end at once.
    pub(crate) fn quit(&mut self) {
        self.ask(self.recipe.quit);
    }

    pub(crate) fn ask_to_stop(&mut self) {
        self.ask(self.recipe.stop);
    }

    fn ask(&mut self, signal: Signal) {
        if let Some(pid) = self.pid() {
            processes::send(pid.cast_signed(), signal);
        }
        self.resume();
    }

    fn await_end(&mut self) {
        if self.ends_within(STOP_DEADLINE) {
            return;
        }
        tracing::warn!(server = self.recipe.name, "did not stop in time and is ended");
        self.quit();
        if !self.ends_within(QUIT_DEADLINE) {
            self.kill();
        }
    }

    fn ends_within(&mut self, deadline: Duration) -> bool {
        let Some(child) = &mut self.child else { return true };
        let ended = wait::until(deadline, || !matches!(child.try_wait(), Ok(None)));
        if ended {
            self.child = None;
        }
        ended
    }

    /// Ends it at once, as a crash does, and waits until its children have noticed.
    pub fn kill(&mut self) {
        let descendants = self.processes();
        let Some(mut child) = self.child.take() else { return };
        // One that has ended already is as good.
        let _ = child.kill();
        let _ = child.wait();
        let orphans = || descendants.iter().filter(|pid| processes::runs(pid.cast_signed()));
        for pid in orphans() {
            processes::send(pid.cast_signed(), Signal::CONT);
        }
        if !wait::until(ORPHANS_DEADLINE, || orphans().next().is_none()) {
            for pid in orphans() {
                processes::send(pid.cast_signed(), Signal::KILL);
            }
        }
    }

    /// Stops the clock of all its processes: connections stay open, nobody answers.
    pub fn pause(&mut self) {
        // Twice: a process may have been started while the first round was made.
        for pid in self.processes().into_iter().chain(self.processes()) {
            processes::send(pid.cast_signed(), Signal::STOP);
        }
    }

    /// Lets them go on.
    pub fn resume(&mut self) {
        for pid in self.processes() {
            processes::send(pid.cast_signed(), Signal::CONT);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.give_up.is_asked() {
            // Not killed at once: PostgreSQL would leave shared memory behind.
            self.quit();
            if !self.ends_within(GIVE_UP_DEADLINE) {
                self.kill();
            }
        } else {
            self.stop();
        }
    }
}

/// What a start says that was given up.
pub(crate) fn given_up() -> ServerError {
    ServerError("stopped while the servers were started".into())
}

/// Waits until all of them answer; whoever is first is not kept waiting by the others.
pub(crate) fn await_ready(servers: &mut [&mut Server]) -> Result<(), ServerError> {
    let mut waiting: Vec<&mut Server> = servers.iter_mut().map(|server| &mut **server).collect();
    let mut failure = None;
    wait::until(START_DEADLINE, || {
        if waiting.iter().any(|server| server.give_up.is_asked()) {
            failure = Some(given_up());
            return true;
        }
        waiting.retain_mut(|server| match server.poll() {
            Ok(ready) => !ready,
            Err(error) => {
                failure = Some(error);
                false
            }
        });
        waiting.is_empty() || failure.is_some()
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let Some(silent) = waiting.first_mut() else { return Ok(()) };
    let what = format!("{} did not answer within {START_DEADLINE:?}", silent.recipe.name);
    let error = silent.recipe.log.explain(&what, silent.log_before);
    silent.kill();
    Err(error)
}

/// A port of loopback that nobody listens on. Below the range from which outgoing connections take
/// theirs, so that none of them takes it before the server does.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<SocketAddr, ServerError> {
    const FIRST: u16 = 15_000;
    const COUNT: u32 = 17_000;
    // Anywhere, so that processes which look at the same time rarely find the same.
    let seed = u32::from_str_radix(&secret::fresh()?[..8], 16).unwrap_or_default();
    let addresses = (0..COUNT).filter_map(|step| {
        let offset = u16::try_from(seed.wrapping_add(step) % COUNT).ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset)))
    });
    let mut free = addresses.filter(|address| TcpListener::bind(address).is_ok());
    free.next().ok_or_else(|| ServerError("no free port on 127.0.0.1 from 15000 to 31999; end what holds them".into()))
}
