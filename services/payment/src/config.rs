use std::time::Duration;

use chassis::settings::{duration, share};
use clap::value_parser;

use crate::domain::breaker::Settings;

/// Settings of the payment service.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How long one call to the payment provider may take
    #[arg(long, env = "PAYMENT_PROVIDER_TIMEOUT", default_value = "500ms", value_parser = duration)]
    pub provider_timeout: Duration,
    /// How long after its intent a charge may reach the provider; from then on an unknown fate is
    /// resolved by a void
    #[arg(long, env = "PAYMENT_CHARGE_WINDOW", default_value = "5s", value_parser = duration)]
    pub charge_window: Duration,
    /// How many of the last calls the circuit breaker judges
    #[arg(long, env = "PAYMENT_BREAKER_WINDOW", default_value = "50", value_parser = value_parser!(u32).range(1..=10_000))]
    pub breaker_window: u32,
    /// How old the calls that it judges may be
    #[arg(long, env = "PAYMENT_BREAKER_WINDOW_TIME", default_value = "10s", value_parser = duration)]
    pub breaker_window_time: Duration,
    /// With fewer calls it judges nothing
    #[arg(long, env = "PAYMENT_BREAKER_MINIMUM_CALLS", default_value = "20", value_parser = value_parser!(u32).range(1..=10_000))]
    pub breaker_minimum_calls: u32,
    /// The share of failed calls at which it opens
    #[arg(long, env = "PAYMENT_BREAKER_FAILURE_RATE", default_value = "0.5", value_parser = share)]
    pub breaker_failure_rate: f64,
    /// A call that takes this long is slow
    #[arg(long, env = "PAYMENT_BREAKER_SLOW_CALL", default_value = "400ms", value_parser = duration)]
    pub breaker_slow_call: Duration,
    /// The share of slow calls at which it opens
    #[arg(long, env = "PAYMENT_BREAKER_SLOW_RATE", default_value = "0.8", value_parser = share)]
    pub breaker_slow_rate: f64,
    /// How long it refuses before it lets probes through
    #[arg(long, env = "PAYMENT_BREAKER_OPEN_FOR", default_value = "1s", value_parser = duration)]
    pub breaker_open_for: Duration,
    /// How many probes decide whether it closes
    #[arg(long, env = "PAYMENT_BREAKER_PROBES", default_value = "5", value_parser = value_parser!(u32).range(1..=1_000))]
    pub breaker_probes: u32,
    /// Breaks the service on purpose, to prove that the audit notices.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "PAYMENT_PLANTED_BUG")]
    pub planted_bug: Option<crate::application::pay::planted::PlantedBug>,
}

impl Config {
    /// The breaker's share of the settings.
    pub fn breaker(&self) -> Settings {
        Settings {
            window_calls: self.breaker_window as usize,
            window_time: self.breaker_window_time,
            minimum_calls: self.breaker_minimum_calls as usize,
            failure_rate: self.breaker_failure_rate,
            slow_call: self.breaker_slow_call,
            slow_rate: self.breaker_slow_rate,
            open_for: self.breaker_open_for,
            probes: self.breaker_probes as usize,
            // A call ends within the provider's timeout; a probe that is out for longer is lost.
            probe_timeout: self.provider_timeout.saturating_mul(2),
        }
    }
}
