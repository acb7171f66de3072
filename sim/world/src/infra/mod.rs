//! What a shop stands on: files of its own, servers of its own, or servers that somebody runs.
//!
//! [`local`] starts private servers and takes them down; [`external`] finds the ones that the
//! environment names, and asks each whether it is what it is taken for.

pub mod external;
pub mod local;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use store::Servers;
use store::gather::BATCH_MAX;

use local::PrivateServers;
use shop::World;
use shop::machine::Part;

/// Which of the two adapter families, and whose servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Infra {
    /// SQLite files and an in-process event log: needs nothing.
    #[default]
    Embedded,
    /// Private PostgreSQL, NATS and Redis servers, started from this machine's programs.
    Local,
    /// The servers that DATABASE_URL, NATS_URL and REDIS_URL name.
    External,
}

impl Infra {
    pub const fn world(self) -> World {
        match self {
            Self::Embedded => World::Embedded,
            Self::Local => World::Local,
            Self::External => World::External,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct InfraArgs {
    /// What the shop stands on.
    #[arg(long, value_enum, default_value_t)]
    pub infra: Infra,
    /// Runs each service as a process of its own; needs the real servers.
    #[arg(long)]
    pub processes: bool,
    /// Goes before the names of databases, streams and keys on external servers.
    #[arg(long, env = "SHOP_NAMESPACE", default_value = "", value_parser = external::namespace)]
    pub namespace: String,
    /// Creates databases, tables and streams that are missing on external servers.
    #[arg(long)]
    pub create: bool,
    /// Most writes of one transaction on real servers, and most events that a relay has on their way; 1 for each by
    /// itself, to measure against.
    #[arg(long, value_name = "NUMBER", env = "SHOP_BATCH_MAX", default_value_t = BATCH_MAX, value_parser = batch_max)]
    pub batch_max: usize,
}

/// Reads how many writes share a transaction at most.
///
/// # Errors
/// One line: what it must be.
pub fn batch_max(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=BATCH_MAX).contains(number));
    number.ok_or_else(|| format!("it is a number from 1 to {BATCH_MAX}"))
}

impl InfraArgs {
    /// # Errors
    /// One line about flags that make no sense together.
    pub fn check(&self) -> Result<(), String> {
        let refused = |flag: &str, why: &str| Err(format!("{flag} {why}"));
        match self.infra {
            Infra::Embedded if self.processes => {
                refused("--processes", "needs servers that processes can share: add --infra local or --infra external")
            }
            Infra::Embedded if self.batch_max != BATCH_MAX => {
                refused("--batch-max", "is for real servers: add --infra local or --infra external")
            }
            Infra::Embedded | Infra::Local if self.create => {
                refused("--create", "is for --infra external; everywhere else everything is created")
            }
            Infra::Embedded | Infra::Local if !self.namespace.is_empty() => {
                refused("--namespace", "is for --infra external; everywhere else the shop is alone")
            }
            Infra::External => external::from_env(self.create, &self.namespace).map(drop),
            _ => Ok(()),
        }
    }
}

/// What a shop stands on, ready to be used. Private servers go when this is dropped.
pub enum Ground {
    Embedded,
    Local { private: PrivateServers, batch_max: usize },
    External(Servers),
}

impl Ground {
    /// Starts or finds the servers. With `kept` private servers keep their data there.
    ///
    /// # Errors
    /// One line: what is missing or does not answer.
    pub async fn prepare(args: &InfraArgs, kept: Option<&Path>) -> Result<Self, String> {
        match args.infra {
            Infra::Embedded => Ok(Self::Embedded),
            Infra::Local => {
                let private = PrivateServers::start(kept).await?;
                Ok(Self::Local { private, batch_max: args.batch_max })
            }
            Infra::External => {
                let servers = external::from_env(args.create, &args.namespace)?;
                let servers = Servers { batch_max: args.batch_max, ..servers };
                let versions = external::check(&servers).await?;
                tracing::info!(%versions, "external servers");
                external::streams(&servers).await?;
                Ok(Self::External(servers))
            }
        }
    }

    /// What services connect to; `None` where there is nothing to connect to.
    pub fn servers(&self) -> Option<Servers> {
        match self {
            Self::Embedded => None,
            Self::Local { private, batch_max } => Some(Servers { batch_max: *batch_max, ..private.connections() }),
            Self::External(servers) => Some(servers.clone()),
        }
    }

    /// What of the machine each private server uses.
    pub fn parts(&self) -> Vec<(String, Part)> {
        let Self::Local { private, .. } = self else { return Vec::new() };
        private.with(|servers| {
            let all = [&servers.postgres, &servers.nats, &servers.redis];
            all.iter().filter_map(|server| Some((server.name().to_owned(), Part::Tree(server.pid()?)))).collect()
        })
    }

    /// Where each private server keeps its data.
    pub fn folders(&self) -> Option<Vec<(String, PathBuf)>> {
        match self {
            // Not on this machine, as far as anybody can tell.
            Self::External(_) => Some(Vec::new()),
            Self::Embedded => None,
            Self::Local { private, .. } => {
                Some(private.with(|servers| servers.folders().map(|(name, path)| (name.to_owned(), path)).into()))
            }
        }
    }

    /// Private servers that ended by themselves, and what they said last.
    pub fn dead(&self) -> Vec<String> {
        match self {
            Self::Local { private, .. } => {
                private.with(|servers| servers.ended()).iter().map(ToString::to_string).collect()
            }
            Self::Embedded | Self::External(_) => Vec::new(),
        }
    }

    pub fn world(&self) -> World {
        match self {
            Self::Embedded => World::Embedded,
            Self::Local { .. } => World::Local,
            Self::External(_) => World::External,
        }
    }

    /// What a crash may lose, in words.
    pub fn durability(&self) -> &'static str {
        match self {
            Self::Embedded => "SQLite in WAL mode, synchronous=NORMAL",
            Self::Local { .. } => {
                "PostgreSQL, fsync and synchronous_commit on; JetStream on files, refilled from PostgreSQL"
            }
            Self::External(_) => "as the external servers are configured",
        }
    }
}
