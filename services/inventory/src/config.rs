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

    /// Breaks the service on purpose, to prove that the audit notices.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "INVENTORY_PLANTED_BUG")]
    pub planted_bug: Option<PlantedBug>,
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
