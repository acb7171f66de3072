//! `shopctl serve ROLE`: one role in this process, on the real servers.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis::auth::Keys;
use chassis::clock::SystemClock;
use chassis::env::StartError;
use chassis::hazard::Hazards;
use chassis::net::{BoundPort, ExposedNetwork, Listener, Network, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::Service;
use chassis::{Env, Instruments};
use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches, Args, FromArgMatches, Subcommand};
use eventlog::Backing;
use store::Servers;
use store::gather::BATCH_MAX;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::logs::{self, Format};
use super::signals::Signals;
use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use shop::Needs;
use shop::fault::crash::CrashAt;
use world::infra::batch_max;
use world::secret::Secret;

/// How long a role may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Room for it in the name of a database, which PostgreSQL cuts off at 63 bytes.
const NAMESPACE_CHARS_MAX: usize = 32;

#[derive(Debug, Subcommand)]
pub enum Role {
    /// The simulated payment provider, with its own ledger.
    #[command(after_help = environment(acquirer::ROLE))]
    Acquirer(Serving<acquirer::Config>),
    /// Accounts, log-in and tokens.
    #[command(after_help = environment(user::ROLE))]
    User(Serving<Guarded>),
    /// The catalogue.
    #[command(after_help = environment(product::ROLE))]
    Product(Serving<product::Config>),
    /// Stock and reservations.
    #[command(after_help = environment(inventory::ROLE))]
    Inventory(Serving<inventory::Config>),
    /// Payments, and the circuit breaker towards their provider.
    #[command(after_help = environment(payment::ROLE))]
    Payment(Serving<payment::Config>),
    /// Orders, and the saga that each goes through.
    #[command(after_help = environment(order::ROLE))]
    Order(Serving<order::Config>),
    /// Mail and text messages to customers.
    #[command(after_help = environment(notification::ROLE))]
    Notification(Serving<notification::Config>),
    /// The shop's HTTP interface.
    #[command(after_help = environment(gateway::ROLE))]
    Gateway(Serving<gateway::Config>),
}

#[derive(Debug, Args)]
pub struct Serving<C: Args> {
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten, next_help_heading = "Settings of this role")]
    config: C,
}

/// What every role is told.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// Where it serves: gRPC, or HTTP for the gateway.
    #[arg(long, value_name = "ADDR", env = "LISTEN", default_value = "0.0.0.0:7000")]
    listen: SocketAddr,
    /// Where it serves /metrics, /healthz, /readyz and what else operators read.
    #[arg(long, value_name = "ADDR", env = "OPS_LISTEN", default_value = "0.0.0.0:7001")]
    ops: SocketAddr,
    /// Where another role serves; once for each role that this one calls. In the environment:
    /// PEERS="user=host:port,order=host:port".
    #[arg(long, value_name = "ROLE=HOST:PORT", env = "PEERS", value_delimiter = ',', value_parser = peer)]
    peer: Vec<Peer>,
    /// Where another role's operators' port is. Only the gateway tells it on, to `shopctl fault` and `top`.
    #[arg(long, value_name = "ROLE=HOST:PORT", env = "OPS_PEERS", value_delimiter = ',', value_parser = peer)]
    ops_peer: Vec<Peer>,
    /// Sets shops on the same servers apart; the same for all roles of a shop.
    #[arg(long, value_name = "NAME", env = "SHOP_NAMESPACE", default_value = "", value_parser = namespace,
          hide_default_value = true)]
    namespace: String,
    /// Creates databases, tables and streams that are missing.
    #[arg(long, env = "SHOP_CREATE", value_parser = BoolishValueParser::new())]
    create: bool,
    /// Most writes of one transaction, and most events that the relay has on their way; 1 for each by itself, to
    /// measure against.
    #[arg(long, value_name = "NUMBER", env = "SHOP_BATCH_MAX", default_value_t = BATCH_MAX, value_parser = batch_max)]
    batch_max: usize,
    /// The file with the secret that signs tokens, the same for all roles of a shop; JWT_SECRET otherwise.
    #[arg(long, value_name = "FILE", env = "JWT_SECRET_FILE")]
    jwt_secret_file: Option<PathBuf>,
    /// Lets `shopctl fault` break things; without it the interface for that does not exist.
    #[arg(long, env = "SHOP_CHAOS", value_parser = BoolishValueParser::new())]
    chaos: bool,
    /// Kills this process, as `kill -9` would, the first or nth time that it passes this crash point.
    #[arg(long, value_name = "POINT[:NTH]", requires = "chaos")]
    crash_at: Option<CrashAt>,
    /// How the log is written, on standard error; text on a terminal and json elsewhere.
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT")]
    log_format: Option<Format>,
    /// Fixes the role's random choices, for experiments on new databases.
    #[arg(long, value_name = "NUMBER", env = "SHOP_SEED", hide = true)]
    seed: Option<u64>,
    /// Measures and traces nothing, for whoever measures what that costs.
    #[arg(long, hide = true)]
    uninstrumented: bool,
    /// Stops also when standard input, a pipe, ends: whoever started this process is gone.
    #[arg(long, hide = true)]
    until_eof: bool,
}

/// A role, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Peer {
    role: &'static str,
    address: String,
}

fn peer(text: &str) -> Result<Peer, String> {
    let refused = || "write it as role=host:port, such as user=10.0.0.7:7000".to_owned();
    let (name, address) = text.trim().split_once('=').ok_or_else(refused)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    if host.is_empty() || port.parse::<u16>().is_err() || address.parse::<http::uri::Authority>().is_err() {
        return Err(refused());
    }
    let role = shop::ROLES.into_iter().find(|role| *role == name);
    let role = role.ok_or_else(|| format!("there is no role `{name}`; there are {}", shop::ROLES.join(", ")))?;
    Ok(Peer { role, address: address.to_owned() })
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.len() > NAMESPACE_CHARS_MAX || !text.chars().all(fits) {
        return Err(format!("write it with a-z, 0-9 and _, {NAMESPACE_CHARS_MAX} characters at most"));
    }
    Ok(text.to_owned())
}

/// The user service's settings, as an instance that others can reach needs them.
#[derive(Debug)]
pub struct Guarded(user::Config);

impl Guarded {
    /// What a password needs where guessing it pays.
    const PASSWORD_MIN: &str = "12";

    fn harden(command: clap::Command) -> clap::Command {
        command.mut_arg("password_min", |argument| argument.default_value(Self::PASSWORD_MIN))
    }
}

impl Args for Guarded {
    fn augment_args(command: clap::Command) -> clap::Command {
        Self::harden(user::Config::augment_args(command))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::harden(user::Config::augment_args_for_update(command))
    }
}

impl FromArgMatches for Guarded {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        user::Config::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// A server behind the roles: what it is called, the variable that says where it is, how that begins,
/// and an example.
struct Behind {
    name: &'static str,
    variable: &'static str,
    schemes: &'static [&'static str],
    example: &'static str,
}

const POSTGRES: Behind = Behind {
    name: "PostgreSQL",
    variable: "DATABASE_URL",
    schemes: &["postgres://", "postgresql://"],
    example: "postgres://user:password@host:5432",
};
const NATS: Behind =
    Behind { name: "NATS", variable: "NATS_URL", schemes: &["nats://"], example: "nats://token@host:4222" };
const REDIS: Behind =
    Behind { name: "Redis", variable: "REDIS_URL", schemes: &["redis://"], example: "redis://:password@host:6379" };

impl Behind {
    fn of(needs: Needs) -> impl Iterator<Item = &'static Self> {
        let behind = [(needs.postgres, &POSTGRES), (needs.nats, &NATS), (needs.redis, &REDIS)];
        behind.into_iter().filter_map(|(needed, server)| needed.then_some(server))
    }

    /// Where it is; the URL is never shown, it holds a password.
    fn url(&self, asked: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let Self { name, variable, schemes, example } = self;
        let url = asked(variable)
            .filter(|url| !url.is_empty())
            .ok_or_else(|| format!("{variable} is not set; it says where {name} is, such as {example}"))?;
        if !schemes.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
            return Err(format!("{variable} does not say where {name} is; write it like {example}"));
        }
        Ok(url)
    }

    /// Where it is, for people: without user and password.
    fn place(&self, url: &str) -> String {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        format!("{} at {address}", self.name)
    }
}

/// The variables that are no flags, because everybody on a machine can read its command lines.
fn environment(role: &str) -> String {
    let mut text = "Only from the environment:\n".to_owned();
    for Behind { name, variable, example, .. } in Behind::of(shop::needs(role)) {
        text += &format!("  {variable:<14} where {name} is: {example}\n");
    }
    text += "  JWT_SECRET     the secret that signs tokens, at least 32 bytes, unless --jwt-secret-file is given\n";
    text += "  SHOPCTL_LOG    what is logged: warn unless said otherwise; info, order=debug …";
    text
}

/// What is wrong with a flag or variable of `serve ROLE`, in one line, because whoever collects logs
/// takes each line for itself. `None` for other commands, and where there is more to show than that.
pub fn refusal(command: &clap::Command, error: &clap::Error) -> Option<String> {
    let arguments: Vec<String> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
    let [_, serve, role, flags @ ..] = arguments.as_slice() else { return None };
    if serve != "serve" || !error.use_stderr() {
        return None;
    }
    let role = command.find_subcommand("serve")?.find_subcommand(role)?;
    let text = error.to_string();
    let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.split(' ').next().unwrap_or_default(),
        _ => "",
    };
    let given = |flag: &String| flag == named || flag.starts_with(&format!("{named}="));
    let argument = role.get_arguments().find(|argument| argument.get_long() == named.strip_prefix("--"));
    let variable = argument.and_then(Arg::get_env).filter(|_| !flags.iter().any(given));
    let from = variable.map(|name| format!(" (from {})", name.to_string_lossy())).unwrap_or_default();
    Some(format!("error: serve {}: {why}{from}", role.get_name()))
}

/// Runs the role until it is asked to stop.
pub fn run(role: Role) -> Result<ExitCode, Failure> {
    match role {
        Role::Acquirer(it) => it.run(acquirer::ROLE, |_| Ok(()), acquirer::build),
        Role::User(it) => it.run(user::ROLE, |_| Ok(()), |config, env, backing| user::build(config.0, env, backing)),
        Role::Product(it) => it.run(product::ROLE, |_| Ok(()), product::build),
        Role::Inventory(it) => it.run(inventory::ROLE, |_| Ok(()), inventory::build),
        Role::Payment(it) => it.run(payment::ROLE, |config| config.breaker().check(), payment::build),
        Role::Order(it) => it.run(order::ROLE, order::Config::check, order::build),
        Role::Notification(it) => it.run(notification::ROLE, |_| Ok(()), notification::build),
        Role::Gateway(it) => it.run(gateway::ROLE, |_| Ok(()), gateway::build),
    }
}

impl<C: Args> Serving<C> {
    fn run<B: Future<Output = Result<Service, StartError>>>(
        self,
        role: &'static str,
        check: impl FnOnce(&C) -> Result<(), String>,
        build: impl FnOnce(C, Env, Backing) -> B,
    ) -> Result<ExitCode, Failure> {
        let Self { process, config } = self;
        logs::start_as(process.format());
        let invalid = |why: String| Failure::invalid(format!("error: serve {role}: {why}"));
        check(&config).map_err(invalid)?;
        let asked = |variable: &str| std::env::var(variable).ok();
        let (env, backing, servers) = process.env(role, &asked).map_err(invalid)?;
        runtime()?.block_on(async {
            let parent = process.until_eof.then(Parent::on_standard_input).transpose().map_err(invalid)?;
            let stop = Stop { signals: Signals::listen()?, parent };
            serve(role, &process, stop, env.shutdown.clone(), build(config, env, backing), &servers).await
        })
    }
}

impl ProcessArgs {
    fn format(&self) -> Format {
        let for_people = || std::io::IsTerminal::is_terminal(&std::io::stdout());
        self.log_format.unwrap_or_else(|| if for_people() { Format::Text } else { Format::Json })
    }

    /// What the role is lent, its servers, and those in words.
    fn env(
        &self,
        role: &'static str,
        asked: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Env, Backing, String), String> {
        let needs = shop::needs(role);
        let missing = needs.peers.iter().find(|name| !self.peer.iter().any(|peer| peer.role == **name));
        if let Some(name) = missing {
            return Err(format!(
                "nobody said where the {name} service is; add --peer {name}=HOST:PORT, or {name}=HOST:PORT to PEERS"
            ));
        }
        let keys = keys(self.jwt_secret_file.as_deref(), asked("JWT_SECRET"))?;
        let (servers, places) = self.servers(needs, asked)?;
        let seeds = match self.seed {
            Some(seed) => Seeds::from_number(seed),
            None => Seeds::from_entropy().map_err(|error| format!("no randomness: {error}"))?,
        };
        let seeds = seeds.scope(role);
        let hazards = self.hazards(role)?;
        let network: Arc<dyn Network> = match hazards.is_none() {
            true => Arc::new(SystemNetwork),
            false => Arc::new(ExposedNetwork(hazards.clone())),
        };
        let addresses = |peers: &[Peer]| Arc::new(peers.iter().map(|peer| (peer.role, peer.address.clone())).collect());
        let instruments = if self.uninstrumented { Instruments::Off } else { Instruments::On };
        let env = Env {
            role,
            clock: Arc::new(SystemClock),
            tracer: instruments.tracer(&seeds),
            seeds,
            network,
            peers: addresses(&self.peer),
            ops: addresses(&self.ops_peer),
            chaos: self.chaos,
            keys,
            metrics: instruments.metrics(role),
            shutdown: CancellationToken::new(),
        };
        Ok((env, Backing::Servers(Servers { hazards, ..servers }), places))
    }

    /// What befalls this role: nothing, unless it is to die at a point that it passes.
    fn hazards(&self, role: &'static str) -> Result<Hazards, String> {
        match &self.crash_at {
            Some(crash) if crash.role() != role => {
                let (point, other) = (crash.point(), crash.role());
                Err(format!("--crash-at: the {role} role never passes `{point}`, the {other} role does"))
            }
            crash => Ok(crash.as_ref().map(CrashAt::hazards).unwrap_or_default()),
        }
    }

    fn servers(&self, needs: Needs, asked: &dyn Fn(&str) -> Option<String>) -> Result<(Servers, String), String> {
        let (namespace, create) = (self.namespace.clone(), self.create);
        let mut servers = Servers {
            postgres: String::new(),
            nats: String::new(),
            redis: String::new(),
            namespace,
            create,
            batch_max: self.batch_max,
            hazards: Hazards::default(),
        };
        let mut places = Vec::new();
        for server in Behind::of(needs) {
            let url = server.url(asked)?;
            places.push(server.place(&url));
            match server.variable {
                "DATABASE_URL" => {
                    store::postgres::options(&url).map_err(|error| error.to_string())?;
                    servers.postgres = url;
                }
                "NATS_URL" => servers.nats = url,
                _ => servers.redis = url,
            }
        }
        Ok((servers, places.join(", ")))
    }
}

/// The secret of the file if there is one, of the variable otherwise. There is no default.
fn keys(file: Option<&Path>, variable: Option<String>) -> Result<Keys, String> {
    match (file, variable.filter(|secret| !secret.is_empty())) {
        (Some(_), Some(_)) => Err("both JWT_SECRET and --jwt-secret-file (JWT_SECRET_FILE) are set; keep one".into()),
        (None, None) => Err("no secret to sign tokens with: set JWT_SECRET_FILE or JWT_SECRET, the same for every \
                             role; `head -c 32 /dev/urandom | base64` makes one"
            .into()),
        (None, Some(secret)) => Secret::Text(secret).keys().map_err(|why| format!("JWT_SECRET: {why}")),
        (Some(path), None) => Secret::File(path.to_owned()).keys().map_err(|why| format!("--jwt-secret-file: {why}")),
    }
}

/// Builds the role, listens, says so, and serves until it is to stop; then it drains.
async fn serve(
    role: &'static str,
    process: &ProcessArgs,
    mut stop: Stop,
    shutdown: CancellationToken,
    build: impl Future<Output = Result<Service, StartError>>,
    servers: &str,
) -> Result<ExitCode, Failure> {
    let failed = |why: String| Failure::shop(format!("error: serve {role}: {why}"));
    let built = tokio::select! {
        biased;
        () = stop.asked() => return Ok(ExitCode::Kept),
        built = tokio::time::timeout(START_DEADLINE, build) => built,
    };
    let behind = if servers.is_empty() { String::new() } else { format!(" ({servers})") };
    let service = built
        .map_err(|_| failed(format!("did not start within {START_DEADLINE:?}{behind}")))?
        .map_err(|error| failed(format!("{error}{behind}")))?;
    let (main, main_address) = listen(process.listen, "--listen").map_err(failed)?;
    let (ops, ops_address) = listen(process.ops, "--ops").map_err(failed)?;
    let protocol = if role == gateway::ROLE { "http" } else { "grpc" };
    say(format_args!("{role} is ready: {protocol}://{main_address}, for operators http://{ops_address}/metrics"));
    let mut serving = std::pin::pin!(chassis::serve::run(service, main, ops));
    tokio::select! {
        biased;
        () = stop.asked() => shutdown.cancel(),
        () = &mut serving => return Ok(ExitCode::Kept),
    }
    tokio::select! {
        biased;
        () = &mut serving => Ok(ExitCode::Kept),
        () = stop.insisted() => Err(Failure { code: ExitCode::Stopped, message: "stopped at once".into() }),
    }
}

fn listen(address: SocketAddr, flag: &str) -> Result<(Box<dyn Listener>, SocketAddr), String> {
    let port = BoundPort::bind(address).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("; choose another with {flag}"),
            _ => String::new(),
        };
        format!("cannot listen on {address}: {error}{hint}")
    })?;
    let bound = port.address().map_err(|error| error.to_string())?;
    Ok((port.listen().map_err(|error| error.to_string())?, bound))
}

/// Who may ask for the end.
struct Stop {
    signals: Signals,
    parent: Option<Parent>,
}

impl Stop {
    /// Waits until somebody asks.
    async fn asked(&mut self) {
        match &mut self.parent {
            None => drop(self.signals.next().await),
            Some(parent) => tokio::select! {
                biased;
                _ = self.signals.next() => {}
                () = parent.gone() => {}
            },
        }
    }

    /// Waits until a person asks again.
    async fn insisted(&mut self) {
        self.signals.next().await;
    }
}

/// Whoever started this process holds the other end of its standard input.
struct Parent {
    input: pipe::Receiver,
}

impl Parent {
    fn on_standard_input() -> Result<Self, String> {
        let input = std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
        let input = input.map_err(|error| format!("--until-eof: standard input is no pipe: {error}"))?;
        Ok(Self { input })
    }

    /// Waits until nobody holds the other end; what comes in is of no interest.
    async fn gone(&mut self) {
        let mut ignored = [0; 64];
        while matches!(self.input.read(&mut ignored).await, Ok(1..)) {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory as _;

    use super::*;

    fn served(role: &str) -> clap::Command {
        let command = crate::cli::args::Arguments::command();
        command.find_subcommand("serve").unwrap().find_subcommand(role).unwrap().clone()
    }

    #[test]
    fn every_setting_of_a_role_has_the_variable_that_its_name_says_and_a_text() {
        for setting in shop::described_settings() {
            let (role, name) = setting.name.split_once('.').unwrap();
            let command = served(role);
            let flag = command.get_arguments().find(|argument| argument.get_id() == name).unwrap();
            let variable = flag.get_env().map(|name| name.to_string_lossy().into_owned());
            assert_eq!(variable, Some(shop::variable(&setting.name)), "{}", setting.name);
            // Planted bugs are for tests alone.
            assert!(name == "planted_bug" || !setting.help.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn passwords_are_longer_where_guessing_them_pays() {
        let command = served(user::ROLE);
        let minimum = command.get_arguments().find(|argument| argument.get_id() == "password_min").unwrap();
        assert_eq!(minimum.get_default_values(), ["12"]);
    }

    #[test]
    fn a_peer_is_a_role_and_where_it_is() {
        let order = Peer { role: "order", address: "[::1]:7000".into() };
        assert_eq!(peer("order=[::1]:7000"), Ok(order));
        for text in ["order", "order=", "order=host", "order=:7000", "order=host:70000", "order=a b:1"] {
            assert!(peer(text).unwrap_err().contains("role=host:port"), "{text}");
        }
        assert!(peer("oder=host:7000").unwrap_err().contains("no role `oder`"));
    }

    #[test]
    fn a_namespace_leaves_room_for_the_name_of_a_database() {
        assert!(namespace("t1_a").is_ok() && namespace("").is_ok());
        for text in ["A", "a-b", "a b", "é", &"a".repeat(33)] {
            assert!(namespace(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_comes_from_one_place_and_a_file_s_last_line_break_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = "0123456789abcdef0123456789abcdef";
        let token = |keys: &Keys| keys.issue("x", kernel::Role::Admin, Duration::from_secs(1), Default::default());
        fs::write(&path, format!("{secret}\n")).unwrap();
        let (file, variable) = (keys(Some(&path), None).unwrap(), keys(None, Some(secret.into())).unwrap());
        assert_eq!(token(&file), token(&variable));
        assert!(keys(Some(&path), Some(secret.into())).unwrap_err().contains("keep one"));
        assert!(keys(None, Some(String::new())).unwrap_err().contains("JWT_SECRET_FILE"));
        fs::write(&path, [10; 32]).unwrap();
        assert!(keys(Some(&path), None).unwrap_err().contains("0 bytes"));
        fs::write(&path, [255; 32]).unwrap();
        assert!(keys(Some(&path), None).is_ok(), "a binary secret is taken as it is");
        assert!(keys(Some(&folder.path().join("none")), None).unwrap_err().contains("none"));
    }

    #[test]
    fn what_is_said_of_a_server_holds_no_password() {
        assert_eq!(POSTGRES.place("postgres://me:se@cret@db:5432/x?y=z"), "PostgreSQL at db:5432");
        assert_eq!(REDIS.place("redis://cache:6379/0"), "Redis at cache:6379");
        let asked = |_: &str| Some("nats:secret".to_owned());
        assert!(!NATS.url(&asked).unwrap_err().contains("secret"));
    }
}
