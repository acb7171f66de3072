//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::pictures::Wanted;
use super::serve::Role;
use crate::campaign::crew::JOBS_MAX;
use crate::campaign::seeds::SeedRange;
use scenario::template;
use shop::fault::crash::CrashAt;
use world::infra::{InfraArgs, external};

/// A flight simulator for checkout systems: runs a complete shop under the load that a scenario
/// describes, and gives a verdict.
#[derive(Debug, Parser)]
#[command(name = "shopctl", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put a shop up, play scenarios against it, judge them, take it down.
    Run(RunArgs),
    /// Play seeds of a scenario in virtual time; the same seed gives the same run, to the byte.
    Simulate(SimulateArgs),
    /// Put a shop up and leave it running until Ctrl-C.
    Up(UpArgs),
    /// Run one role of the shop in this process, on PostgreSQL, NATS and Redis: what a container runs.
    #[command(subcommand, subcommand_value_name = "ROLE", subcommand_help_heading = "Roles")]
    Serve(Role),
    /// Fill a running shop with a scenario's users, products and stock.
    Seed(SeedArgs),
    /// Check the books that a shop left behind.
    Audit(AuditArgs),
    /// Break a running shop on purpose, and mend it; the shop was started with `up --chaos`.
    #[command(subcommand)]
    Fault(FaultCommand),
    /// Tell the life of one order: what happened, when, and why it ended as it did.
    Explain(ExplainArgs),
    /// List orders that do not get on by themselves, and let them go on; rebuild their projection.
    #[command(subcommand)]
    Orders(OrdersCommand),
    /// Make, check and list scenario files; list what they may hold.
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Start private PostgreSQL, NATS and Redis servers, print where they are, and stop them with Ctrl-C.
    Infra(ServersArgs),
    /// Measure a way of doing things against the obvious one, in turns on the same servers, or a shop that fills up.
    Bench(BenchArgs),
    /// Show what this machine offers, and what each mode needs.
    Doctor,
}

/// A value to change in a scenario.
#[derive(Debug, Clone)]
pub struct Override {
    pub path: String,
    pub value: String,
}

fn overriding(text: &str) -> Result<Override, String> {
    let (path, value) = text.split_once('=').ok_or("write it as path=value, such as load.buyers.max_vus=50")?;
    Ok(Override { path: path.to_owned(), value: value.to_owned() })
}

#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// Scenario files.
    #[arg(required = true, value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Changes a value of the scenario, for example `--set load.buyers.max_vus=50`.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = overriding)]
    pub set: Vec<Override>,
}

impl ScenarioArgs {
    pub fn overrides(&self, seed: Option<u64>) -> Vec<(String, String)> {
        let seed = seed.map(|seed| ("seed".to_owned(), seed.to_string()));
        self.set.iter().map(|one| (one.path.clone(), one.value.clone())).chain(seed).collect()
    }
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    /// Fixes data, arrivals and choices; the scenario's own seed otherwise.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Prints progress lines; on a terminal there is a live dashboard otherwise.
    #[arg(long)]
    pub headless: bool,
    /// Writes what the dashboard shows at a moment of the load as an SVG: 6s=FILE, or 6s,saga=FILE for another
    /// screen (overview, saga, breaker).
    #[arg(long, value_name = "AT=FILE")]
    pub picture: Vec<Wanted>,
    #[command(flatten)]
    pub infra: InfraArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = "reports/runs")]
    pub out: PathBuf,
    /// Writes a report to a file of your own as well: json=FILE or md=FILE.
    #[arg(short = 'o', value_name = "KIND=FILE", value_parser = output)]
    pub output: Vec<Output>,
}

/// A report and where it goes.
#[derive(Debug, Clone)]
pub enum Output {
    Json(PathBuf),
    Markdown(PathBuf),
}

fn output(text: &str) -> Result<Output, String> {
    match text.split_once('=') {
        Some(("json", file)) if !file.is_empty() => Ok(Output::Json(file.into())),
        Some(("md", file)) if !file.is_empty() => Ok(Output::Markdown(file.into())),
        _ => Err("write it as json=FILE or md=FILE".into()),
    }
}

/// From above 0 to 1.
fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| *factor > 0.0 && *factor <= 1.0);
    factor.ok_or_else(|| "write a number above 0 and up to 1, such as 0.1".to_owned())
}

#[derive(Debug, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    /// Plays every seed from A to B, both included, each with faults of its own beside the scenario's. What earlier
    /// calls have played is not played again, and their results add up. Thresholds are not judged.
    #[arg(long, value_name = "A..B", conflicts_with_all = ["replay", "trace"])]
    pub seeds: Option<SeedRange>,
    /// Plays one seed exactly as --seeds does; without either, the scenario is played under its own seed, with its
    /// own faults alone.
    #[arg(long, value_name = "SEED")]
    pub replay: Option<u64>,
    /// Processes that play side by side; as many as there are cores if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX as i64))]
    pub jobs: Option<u16>,
    /// Shrinks users, stock and load together, for example to a tenth: 0.1.
    #[arg(long, value_name = "F", value_parser = factor)]
    pub scale: Option<f64>,
    /// Leaves out the faults that seeds draw.
    #[arg(long)]
    pub calm: bool,
    /// Crashes a host at one crash point more, the next one for the next seed: as many seeds in a row as there are
    /// points try them all.
    #[arg(long)]
    pub crash_points: bool,
    /// Makes a failing seed's scenario smaller while it fails, and keeps it in the folder of --out.
    #[arg(long)]
    pub shrink: bool,
    /// Writes every RPC, commit and event with its virtual time.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Where results and shrunk scenarios are kept.
    #[arg(long, value_name = "DIR", default_value = "reports/simulations")]
    pub out: PathBuf,
    /// Plays what standard input says, a line each, and answers on standard output.
    #[arg(long, hide = true, conflicts_with_all = ["seeds", "replay", "trace", "shrink"])]
    pub job: bool,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
pub enum Benchmark {
    /// Many buyers want one product: reservations that are decided together, or each with an optimistic lock.
    HotProduct(TurnsArgs),
    /// The whole shop under customers who order without a pause: with group commit, or a transaction for each write.
    Throughput(TurnsArgs),
    /// The same with traces, metrics and histograms, and without: what it costs to watch.
    Instruments(TurnsArgs),
    /// A shop that fills up: latency, CPU, memory and disk for each order, against the orders that are there.
    Growth(GrowthArgs),
}

#[derive(Debug, Args)]
pub struct TurnsArgs {
    /// Turns of each side.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long each turn lasts, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    #[command(flatten)]
    pub usual: BenchUsual,
}

#[derive(Debug, Args)]
pub struct GrowthArgs {
    /// How many orders the shop has in the end.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub orders: u32,
    #[command(flatten)]
    pub usual: BenchUsual,
}

/// What every benchmark is told.
#[derive(Debug, Args)]
pub struct BenchUsual {
    /// Who buy at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub buyers: u32,
    /// Where the report goes, as Markdown and as JSON.
    #[arg(long, value_name = "DIR", default_value = "reports/bench")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Keeps the shop's data here, and continues with what is there; a temporary folder otherwise.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the gateway listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Lets `shopctl fault` break things; without it the interface for that does not exist.
    #[arg(long)]
    pub chaos: bool,
    /// Kills the shop, as `kill -9` would, the first or nth time that it passes this crash point.
    #[arg(long, value_name = "POINT[:NTH]", requires = "chaos")]
    pub crash_at: Option<CrashAt>,
    /// Changes a setting of a service, for example `--set acquirer.decline_rate=0.1`.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = overriding)]
    pub set: Vec<Override>,
    #[command(flatten)]
    pub infra: InfraArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Args)]
pub struct ServersArgs {
    /// Keeps the servers' data here, and continues with what is there; a temporary folder otherwise.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SeedArgs {
    /// The scenario whose users, products and stock are wanted.
    #[arg(value_name = "SCENARIO", default_value = "scenarios/smoke.yaml")]
    pub scenario: PathBuf,
    /// Writes what was seeded, for `shopctl audit --manifest`.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    #[command(flatten)]
    pub shop: TargetArgs,
}

/// A running shop, and who signs in there.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The shop's address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub target: String,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The shop's administrator.
    #[arg(long, env = "SHOPCTL_ADMIN_EMAIL", default_value = "admin@example.test")]
    pub admin_email: String,
    /// Its password. The default is for shops on your own machine only.
    #[arg(long, env = "SHOPCTL_ADMIN_PASSWORD", default_value = "embedded-admin", hide_env_values = true)]
    pub admin_password: String,
}

/// Servers whose books can be read without a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Readable {
    External,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("books").required(true))]
pub struct AuditArgs {
    /// A data folder, of `shopctl up --data`.
    #[arg(long, value_name = "DIR", group = "books")]
    pub data: Option<PathBuf>,
    /// A run's folder, of `shopctl run`.
    #[arg(long, value_name = "DIR", group = "books")]
    pub run: Option<PathBuf>,
    /// A shop at rest on the servers that DATABASE_URL, NATS_URL and REDIS_URL name; nothing is written there.
    #[arg(long, value_enum, value_name = "external", group = "books")]
    pub infra: Option<Readable>,
    /// What goes before the names of its databases, streams and keys.
    #[arg(long, env = "SHOP_NAMESPACE", default_value = "", value_parser = external::namespace)]
    pub namespace: String,
    /// What clients saw: a run's orders.jsonl.
    #[arg(long, value_name = "FILE")]
    pub witness: Option<PathBuf>,
    /// What was seeded; without it the books' own restocks are believed.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct ExplainArgs {
    /// An order id, at least six characters of its beginning, or an idempotency key of the run.
    #[arg(value_name = "ORDER")]
    pub order: String,
    /// A data folder, of `shopctl up --data`.
    #[arg(long, value_name = "DIR", group = "source")]
    pub data: Option<PathBuf>,
    /// A run's folder, of `shopctl run`: shows also what the client saw and the faults.
    #[arg(long, value_name = "DIR", group = "source")]
    pub run: Option<PathBuf>,
    /// A running shop; ledger, stock and messages are not visible from there.
    #[arg(long, value_name = "URL", group = "source")]
    pub target: Option<String>,
    /// A shop on the servers that DATABASE_URL, NATS_URL and REDIS_URL name; nothing is written there.
    #[arg(long, value_enum, value_name = "external", group = "source")]
    pub infra: Option<Readable>,
    /// What goes before the names of its databases, streams and keys.
    #[arg(long, env = "SHOP_NAMESPACE", default_value = "", value_parser = external::namespace)]
    pub namespace: String,
    /// Prints the story as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub enum OrdersCommand {
    /// List orders that wait for an operator, and those whose step fails again and again.
    Stuck(StuckArgs),
    /// Let stuck orders go on now, after their cause is mended.
    Retry(RetryArgs),
    /// Make the projection of orders anew from the event log, while orders are driven on.
    Rebuild {
        #[command(flatten)]
        shop: TargetArgs,
    },
}

#[derive(Debug, Args)]
pub struct StuckArgs {
    /// Prints the list as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub shop: TargetArgs,
}

#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Order ids.
    #[arg(value_name = "ORDER", required_unless_present = "all")]
    pub orders: Vec<String>,
    /// Every order that `shopctl orders stuck` lists.
    #[arg(long, conflicts_with = "orders")]
    pub all: bool,
    #[command(flatten)]
    pub shop: TargetArgs,
}

#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// List what can be broken, and how.
    Kinds,
    /// List what is broken now.
    List {
        #[command(flatten)]
        shop: TargetArgs,
    },
    /// Break something.
    Inject(Injection),
    /// Mend it: the named faults, or all of them.
    Clear {
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        shop: TargetArgs,
    },
}

/// From a millisecond to as long as a role lets a fault last.
fn fault_lasts(text: &str) -> Result<std::time::Duration, String> {
    let lasts = chassis::settings::duration(text)?;
    let longest = chassis::chaos::LASTS_MAX;
    if lasts.as_millis() == 0 || lasts > longest {
        return Err(format!("a fault lasts from 1ms to {longest:?}"));
    }
    Ok(lasts)
}

#[derive(Debug, Args)]
pub struct Injection {
    /// What to break: payment-provider or breaker.
    #[arg(value_name = "WHAT")]
    pub on: String,
    /// How; see `shopctl fault kinds`.
    pub kind: String,
    /// What the kind takes, for example latency=300ms..600ms.
    #[arg(value_name = "NAME=VALUE", value_parser = overriding)]
    pub parameters: Vec<Override>,
    /// How the fault is called; after its kind otherwise.
    #[arg(long)]
    pub name: Option<String>,
    /// Lifts it after this time; it stays until `fault clear` otherwise.
    #[arg(long = "for", value_name = "DURATION", value_parser = fault_lasts)]
    pub lasts: Option<std::time::Duration>,
    #[command(flatten)]
    pub shop: TargetArgs,
}

#[derive(Debug, Subcommand)]
pub enum ScenarioCommand {
    /// List the scenarios of a folder.
    List {
        #[arg(value_name = "DIR", default_value = "scenarios")]
        folder: PathBuf,
    },
    /// Say what is wrong with scenario files, and where.
    Check(ScenarioArgs),
    /// List the service settings that `shop.settings` takes, with their defaults.
    Settings,
    /// Write a commented scenario to start from.
    New(NewScenarioArgs),
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
    /// Print the reference part of docs/scenarios.md.
    #[command(hide = true)]
    Docs {
        /// Replaces the generated part of this file instead.
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct NewScenarioArgs {
    /// Its name: 1 to 48 of a-z, 0-9 and `-`.
    pub name: String,
    /// The scenario to start from.
    #[arg(long, value_name = "SCENARIO", default_value = "flash-sale", value_parser = template::NAMES)]
    pub like: String,
    /// Where it goes; scenarios/NAME.yaml otherwise. A file that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_override_without_a_value_is_refused() {
        assert!(Arguments::try_parse_from(["shopctl", "run", "x.yaml", "--set", "seed"]).is_err());
        assert!(Arguments::try_parse_from(["shopctl", "run", "x.yaml", "-o", "pdf=x"]).is_err());
        assert!(Arguments::try_parse_from(["shopctl", "run"]).is_err());
        for wrong in ["--seeds=9..1", "--scale=0", "--scale=1.5", "--jobs=0"] {
            assert!(Arguments::try_parse_from(["shopctl", "simulate", "x.yaml", wrong]).is_err(), "{wrong}");
        }
    }
}
