//! The shop as eight processes of this program on this machine, each `shopctl serve ROLE`, on real
//! servers.
//!
//! A role that ends by itself is noticed and told, not started again. The roles end with this
//! process however it ends: each reads a pipe that nobody else holds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::Instruments;
use chassis::net::SystemNetwork;
use chassis::rng::Seeds;
use rand::RngExt as _;
use rustix::process::{Pid, Signal, kill_process};
use store::Servers;
use tokio::time::{Duration, Instant, sleep};

use super::WorldError;
use super::secret::Secret;
use shop::fault::crash::CrashAt;
use shop::http::HttpClient;

/// How long all roles may take until they are ready.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long one answer to "are you ready?" may take.
const READY_DEADLINE: Duration = Duration::from_millis(500);
/// How long a role that is asked to stop may take: its drain, and some.
const STOP_DEADLINE: Duration = Duration::from_secs(8);
/// Where the roles listen: below the range from which outgoing connections take their ports, so that none
/// of them takes one before its role does.
const PORTS: Range<u16> = 15_000..32_000;
/// How many of them may be taken until one is not.
const PORT_TRIES: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(5);
/// The last words are looked for in so much of a log.
const LOG_TAIL_BYTES: u64 = 16 * 1024;
/// What the roles see of this process's environment. Settings come from whoever puts the shop up, and
/// not from variables that happen to be set.
const INHERITED: [&str; 5] = ["PATH", "TMPDIR", "TZ", "SHOPCTL_LOG", "RUST_BACKTRACE"];

/// Where and how the shop is put up.
pub struct ProcessesOptions {
    /// The program that has `serve`; this one if `None`.
    pub program: Option<PathBuf>,
    pub servers: Servers,
    /// Which of the roles; all of them are a shop.
    pub roles: Vec<&'static str>,
    /// `role.name` → value, as written in a scenario.
    pub settings: BTreeMap<String, String>,
    /// Each role logs to `<role>.log` here.
    pub logs: PathBuf,
    /// Where the gateway listens, port 0 for any; everything else takes free ports of loopback.
    pub listen: SocketAddr,
    pub secret: Secret,
    /// Fixes random choices; the databases must be new.
    pub seed: Option<u64>,
    /// Whether faults may be injected.
    pub chaos: bool,
    /// Where the role that passes there dies.
    pub crash: Option<CrashAt>,
    pub instruments: Instruments,
}

/// A shop that runs. Stopped by [`Processes::stop`], or when it is dropped.
pub struct Processes {
    /// Role → its gRPC (or, for the gateway, HTTP) address.
    pub addresses: BTreeMap<&'static str, String>,
    /// Role → its ops address.
    pub ops: BTreeMap<&'static str, String>,
    pub started_in: Duration,
    roles: Mutex<Vec<Role>>,
}

struct Role {
    name: &'static str,
    /// Holds the pipe that the role reads.
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// Puts the shop up and waits until every role says that it is ready.
    ///
    /// # Errors
    /// One line about the first role that ended or did not get ready in time; everything else is taken
    /// down again.
    pub async fn start(options: ProcessesOptions) -> Result<Self, WorldError> {
        let started = Instant::now();
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|error| WorldError(format!("this program: {error}")))?,
        };
        fs::create_dir_all(&options.logs)
            .map_err(|error| WorldError(format!("{}: {error}", options.logs.display())))?;
        let (addresses, ops) = choose_ports(options.listen, &options.roles)?;
        let mut shop = Self { addresses, ops, started_in: Duration::ZERO, roles: Mutex::default() };
        for name in options.roles.iter().copied() {
            let log = options.logs.join(format!("{name}.log"));
            let child = shop
                .command(&program, name, &options)
                .and_then(|mut command| {
                    let file = File::create(&log)?;
                    command.stdout(file.try_clone()?).stderr(file).spawn()
                })
                .map_err(|error| WorldError(format!("no process for {name}: {error}")))?;
            shop.roles().push(Role { name, child, log });
        }
        shop.await_ready().await?;
        shop.started_in = started.elapsed();
        Ok(shop)
    }

    fn command(&self, program: &Path, role: &'static str, options: &ProcessesOptions) -> std::io::Result<Command> {
        let needs = shop::needs(role);
        let mut command = Command::new(program);
        command.args(["serve", role, "--until-eof", "--log-format", "json"]);
        for (flag, addresses) in [("--listen", &self.addresses), ("--ops", &self.ops)] {
            command.args([flag, addresses.get(role).map(String::as_str).unwrap_or_default()]);
        }
        // The gateway tells people where each role is; the others learn what they need.
        let is_told = |peer: &str| role == gateway::ROLE || needs.peers.contains(&peer);
        for (flag, addresses) in [("--peer", &self.addresses), ("--ops-peer", &self.ops)] {
            for (peer, address) in addresses.iter().filter(|(peer, _)| is_told(peer)) {
                command.args([flag, &format!("{peer}={address}")]);
            }
        }
        let Servers { postgres, nats, redis, namespace, create, batch_max, hazards: _ } = &options.servers;
        command.arg(format!("--namespace={namespace}")).arg(format!("--batch-max={batch_max}"));
        command.args(create.then_some("--create")).args(options.chaos.then_some("--chaos"));
        if let Some(crash) = options.crash.as_ref().filter(|crash| crash.role() == role) {
            command.arg(format!("--crash-at={crash}"));
        }
        command.args((options.instruments == Instruments::Off).then_some("--uninstrumented"));
        command.args(options.seed.map(|seed| format!("--seed={seed}")));

        command.env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let urls = [("DATABASE_URL", postgres, needs.postgres), ("NATS_URL", nats, needs.nats)];
        for (name, url, needed) in urls.into_iter().chain([("REDIS_URL", redis, needs.redis)]) {
            command.envs(needed.then_some((name, url)));
        }
        match &options.secret {
            Secret::Text(secret) => command.env("JWT_SECRET", secret),
            Secret::File(path) => command.env("JWT_SECRET_FILE", std::path::absolute(path)?),
        };
        command.envs(variables(role, &options.settings));
        // Ctrl-C in a terminal goes to the foreground's processes; whoever put the shop up decides when
        // it ends.
        command.process_group(0).stdin(Stdio::piped());
        Ok(command)
    }

    async fn await_ready(&self) -> Result<(), WorldError> {
        let began = Instant::now();
        let network = Arc::new(SystemNetwork);
        let mut waiting: Vec<_> =
            self.ops.iter().map(|(role, ops)| (*role, HttpClient::new(network.clone(), ops.clone()))).collect();
        loop {
            if let Some(first) = self.dead().into_iter().next() {
                return Err(WorldError(first));
            }
            let mut still = Vec::new();
            for (role, client) in waiting {
                let answer = client.get("/readyz", None, READY_DEADLINE).await;
                if !answer.is_ok_and(|answer| answer.status == 200) {
                    still.push((role, client));
                }
            }
            waiting = still;
            let Some((role, _)) = waiting.first() else { return Ok(()) };
            if began.elapsed() > START_DEADLINE {
                let words = self.roles().iter().find(|one| one.name == *role).map(Role::last_words);
                let words = words.unwrap_or_default();
                return Err(WorldError(format!("{role} was not ready within {START_DEADLINE:?}: {words}")));
            }
            sleep(PAUSE).await;
        }
    }

    /// Role → its process, also of roles that have ended.
    pub fn pids(&self) -> BTreeMap<&'static str, u32> {
        self.roles().iter().map(|role| (role.name, role.child.id())).collect()
    }

    /// A line for each role that has ended by itself: how, and what it said last.
    pub fn dead(&self) -> Vec<String> {
        let mut roles = self.roles();
        roles.iter_mut().filter_map(Role::obituary).collect()
    }

    /// Asks every role to drain, waits for it, and kills it if it takes too long.
    pub fn stop(self) {
        // Dropping it does that.
    }

    fn roles(&self) -> MutexGuard<'_, Vec<Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Processes {
    #[expect(clippy::disallowed_methods, reason = "processes end in real time, and nobody can wait for a drop")]
    fn drop(&mut self) {
        let mut roles = self.roles();
        for role in roles.iter_mut() {
            if role.ended().is_none()
                && let Some(pid) = Pid::from_raw(role.child.id().cast_signed())
            {
                // One that ends in this moment is as good.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let pauses = STOP_DEADLINE.as_millis() / PAUSE.as_millis();
        for _ in 0..pauses {
            if roles.iter_mut().all(|role| role.ended().is_some()) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        for role in roles.iter_mut() {
            if role.ended().is_none() {
                tracing::warn!(role = role.name, "did not stop and is killed");
                let _ = role.child.kill();
                let _ = role.child.wait();
            }
        }
    }
}

impl Role {
    fn ended(&mut self) -> Option<ExitStatus> {
        // An error would mean that it is no child of ours, which it is.
        self.child.try_wait().ok().flatten()
    }

    fn obituary(&mut self) -> Option<String> {
        let status = self.ended()?;
        Some(format!("{} ended by itself ({status}): {}", self.name, self.last_words()))
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let tail = tail(&self.log).unwrap_or_default();
        let mut lines = tail.lines().rev().filter(|line| !line.trim().is_empty() && !line.starts_with("note: "));
        let last = lines.next().unwrap_or("it said nothing");
        last.trim_start_matches("error: ").to_owned()
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The role's settings as the variables that `serve` reads. What `serve` is stricter about by itself
/// is as everywhere here: a scenario means the same however the shop is put up.
fn variables(role: &str, settings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let prefix = format!("{role}.");
    let defaults = shop::described_settings().into_iter().filter_map(|setting| Some((setting.name, setting.default?)));
    let mut all: BTreeMap<String, String> = defaults.collect();
    all.extend(settings.clone());
    let own = all.into_iter().filter(|(name, _)| name.starts_with(&prefix));
    own.map(|(name, value)| (shop::variable(&name), value)).collect()
}

type Addresses = BTreeMap<&'static str, String>;

/// An address for every role and its operators, chosen before the first of them starts. Each port is
/// held until all are chosen, so that none is chosen twice.
fn choose_ports(listen: SocketAddr, roles: &[&'static str]) -> Result<(Addresses, Addresses), WorldError> {
    let seeds = Seeds::from_entropy().map_err(|error| WorldError(format!("no randomness: {error}")))?;
    let mut draws = seeds.stream("ports");
    let mut held = Vec::new();
    let mut free = || {
        for _ in 0..PORT_TRIES {
            let port = draws.random_range(PORTS);
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                held.push(listener);
                return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
        }
        Err(WorldError(format!("no free port on 127.0.0.1 in {PORT_TRIES} tries")))
    };
    let (mut addresses, mut ops) = (Addresses::new(), Addresses::new());
    for role in roles.iter().copied() {
        let address = match role {
            gateway::ROLE if listen.port() != 0 => listen,
            gateway::ROLE => SocketAddr::new(listen.ip(), free()?.port()),
            _ => free()?,
        };
        addresses.insert(role, address.to_string());
        ops.insert(role, free()?.to_string());
    }
    Ok((addresses, ops))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_known_beforehand_and_no_port_is_used_twice() {
        let (addresses, ops) = choose_ports("127.0.0.1:0".parse().unwrap(), &shop::ROLES).unwrap();
        let mut all: Vec<&String> = addresses.values().chain(ops.values()).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 2 * shop::ROLES.len());
        let wanted = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(choose_ports(wanted, &shop::ROLES).unwrap().0[gateway::ROLE], "0.0.0.0:8080");
    }

    #[test]
    fn a_role_gets_its_own_settings_and_the_defaults_of_scenarios() {
        let settings = BTreeMap::from([
            ("order.attempts".to_owned(), "9".to_owned()),
            ("gateway.order_wait".to_owned(), "1s".to_owned()),
        ]);
        let order = variables("order", &settings);
        assert_eq!(order["ORDER_ATTEMPTS"], "9");
        assert!(order.keys().all(|name| name.starts_with("ORDER_")));
        assert_eq!(variables("user", &settings)["USER_PASSWORD_MIN"], "6");
    }

    #[test]
    fn the_last_words_are_a_log_s_last_line_that_says_something() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("order.log");
        fs::write(&log, format!("{}\nerror: no database\nnote: run again\n\n", "x".repeat(50_000))).unwrap();
        let child = Command::new("true").spawn().unwrap();
        let mut role = Role { name: "order", child, log };
        assert_eq!(role.last_words(), "no database");
        role.child.wait().unwrap();
    }
}
