use chassis::settings::{DurationRange, share};

/// Settings of the simulated acquirer.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How long a call takes, drawn evenly from this range: half of it before the ledger commits,
    /// half after, so that a caller's timeout can fall on either side
    #[arg(long, env = "ACQUIRER_LATENCY", default_value = "5ms..30ms")]
    pub latency: DurationRange,
    /// The share of keys that the bank declines; the key and the seed alone decide which
    #[arg(long, env = "ACQUIRER_DECLINE_RATE", default_value = "0.0", value_parser = share)]
    pub decline_rate: f64,
    /// Breaks the acquirer on purpose, to prove that the audit notices.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "ACQUIRER_PLANTED_BUG")]
    pub planted_bug: Option<crate::application::planted::PlantedBug>,
}
