use chassis::settings::{DurationRange, share};

/// Settings of the notification service and of the simulated mail and SMS provider behind it.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How long the mail and SMS provider takes for a call, drawn evenly from this range: half of it
    /// before the messages are accepted, half after
    #[arg(long, env = "NOTIFICATION_PROVIDER_LATENCY", default_value = "1ms..5ms")]
    pub provider_latency: DurationRange,
    /// The share of messages for which the provider gives no answer, drawn anew at each attempt; half of
    /// them it has accepted nevertheless
    #[arg(long, env = "NOTIFICATION_PROVIDER_FAILURE_RATE", default_value = "0.0", value_parser = share)]
    pub provider_failure_rate: f64,
    /// How often an event is tried before it goes to DEAD_LETTERS
    #[arg(long, env = "NOTIFICATION_DELIVERIES", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub deliveries: u32,
    /// How many events of a stream are handled at once
    #[arg(long, env = "NOTIFICATION_CONCURRENCY", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,
    /// Breaks the service on purpose, to prove that the audit notices.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "NOTIFICATION_PLANTED_BUG")]
    pub planted_bug: Option<crate::adapters::inbound::planted::PlantedBug>,
}
