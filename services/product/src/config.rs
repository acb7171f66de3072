//! What can be set.

use std::time::Duration;

use clap::value_parser;

/// Settings of the product service.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How long a product stays in the cache; an update or a delete takes it out at once.
    #[arg(long, env = "PRODUCT_CACHE_TTL", default_value = "5m", value_parser = chassis::settings::duration)]
    pub cache_ttl: Duration,
    /// How many products the cache holds.
    #[arg(long, env = "PRODUCT_CACHE_ENTRIES", default_value = "10000",
          value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub cache_entries: u32,
}
