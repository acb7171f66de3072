//! The settings of the inventory service.

use std::time::Duration;

#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How long a stock query may be answered from the cache. Reservations never are.
    #[arg(long, env = "INVENTORY_CACHE_TTL", default_value = "1s", value_parser = chassis::settings::duration)]
    pub cache_ttl: Duration,

    /// How many products the stock cache remembers.
    #[arg(long, env = "INVENTORY_CACHE_CAPACITY", default_value = "10000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub cache_capacity: u32,

    /// How stock is written: what waits together, or each command by itself with an optimistic lock and tries.
    #[arg(long, env = "INVENTORY_STRATEGY", value_enum, default_value_t)]
    pub strategy: Strategy,

    /// Breaks the service on purpose, to prove that the audit notices.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "INVENTORY_PLANTED_BUG")]
    pub planted_bug: Option<PlantedBug>,
}

/// How stock is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Strategy {
    /// What waits is decided together, and written by one statement.
    #[default]
    Batched,
    /// The obvious way, to measure against: each command in a transaction of its own, which names the version
    /// that it was decided on and is tried again when somebody else was faster.
    Optimistic,
}

/// What `--planted-bug` can break.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlantedBug {
    /// Reserves units whether they exist or not.
    SkipStockPredicate,
    /// A repeated reservation replaces the rows of the first one, and takes the units once more.
    ReserveAgain,
    /// A release that finds no reservation leaves nothing behind that a late one would be refused by.
    NoBarrier,
}
