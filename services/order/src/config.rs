//! The order service's settings.

use std::time::Duration;

use chassis::settings::{duration, share};
use clap::Args;

/// Settings of the order service, the saga's orchestrator.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How long a call to another service may take; what is not answered by then is unknown.
    #[arg(long, env = "ORDER_STEP_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub step_timeout: Duration,
    /// Attempts of a forward step whose outcome stays unknown, before the order is aborted.
    #[arg(long, env = "ORDER_ATTEMPTS", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub attempts: u32,
    /// From an order's creation: after it, an unanswered forward step is aborted.
    #[arg(long, env = "ORDER_DEADLINE", default_value = "30s", value_parser = duration)]
    pub deadline: Duration,
    /// An order that has seen no commit for so long may be claimed by another driver.
    #[arg(long, env = "ORDER_LEASE", default_value = "5s", value_parser = duration)]
    pub lease: Duration,
    /// The first retry comes within this time, each later one within twice the time before.
    #[arg(long, env = "ORDER_BACKOFF_BASE", default_value = "20ms", value_parser = duration)]
    pub backoff_base: Duration,
    /// No retry waits longer.
    #[arg(long, env = "ORDER_BACKOFF_CAP", default_value = "2s", value_parser = duration)]
    pub backoff_cap: Duration,
    /// Retries that each first attempt of a step pays for, 0 to 1; beyond the budget a forward step is
    /// given up and a compensation waits for the slowest backoff.
    #[arg(long, env = "ORDER_RETRY_BUDGET", default_value = "0.2", value_parser = share)]
    pub retry_budget: f64,
    /// Retries a second that are paid for in any case; ten seconds' worth gathers.
    #[arg(long, env = "ORDER_RETRY_BUDGET_PER_S", default_value = "10", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub retry_budget_per_s: u32,
    /// Definite errors of a compensation, after which the order waits for an operator.
    #[arg(long, env = "ORDER_OPERATOR_AFTER", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    pub operator_after: u32,
    /// From this many attempts of unknown outcome on, a compensation or the final sale is an alert and
    /// listed as stuck.
    #[arg(long, env = "ORDER_ALERT_AFTER", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub alert_after: u32,
    /// Orders driven at once; further ones wait for their due time.
    #[arg(long, env = "ORDER_IN_FLIGHT_MAX", default_value = "4096", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight_max: u32,
    /// How long idempotency keys are remembered, to spare the store a look; a key never makes two orders,
    /// remembered or not.
    #[arg(long, env = "ORDER_IDEMPOTENCY_TTL", default_value = "24h", value_parser = duration)]
    pub idempotency_ttl: Duration,
    /// Breaks the service on purpose, to prove that the audit notices.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "ORDER_PLANTED_BUG")]
    pub planted_bug: Option<crate::application::planted::PlantedBug>,
}

impl Config {
    /// What contradicts itself, in one line.
    ///
    /// # Errors
    /// When the lease is not longer than a step may take.
    pub fn check(&self) -> Result<(), String> {
        if self.lease <= self.step_timeout {
            return Err(format!(
                "order.lease ({:?}) must be longer than order.step_timeout ({:?}), or orders are claimed from a live driver",
                self.lease, self.step_timeout
            ));
        }
        Ok(())
    }
}
