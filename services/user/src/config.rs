//! What can be set.

use std::convert::Infallible;
use std::time::Duration;

use clap::value_parser;

use crate::domain::{Email, Password};

/// Settings of the user service.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// The fewest characters of a new password.
    #[arg(long, env = "USER_PASSWORD_MIN", default_value = "6", value_parser = value_parser!(u32).range(1..=64))]
    pub password_min: u32,
    /// Memory that hashing a password takes, in KiB.
    #[arg(long, env = "USER_ARGON2_MEMORY_KIB", default_value = "19456",
          value_parser = value_parser!(u32).range(8..=1_048_576))]
    pub argon2_memory_kib: u32,
    /// Passes that hashing a password makes over that memory.
    #[arg(long, env = "USER_ARGON2_ITERATIONS", default_value = "2", value_parser = value_parser!(u32).range(1..=64))]
    pub argon2_iterations: u32,
    /// How long a token is valid.
    #[arg(long, env = "USER_TOKEN_TTL", default_value = "24h", value_parser = at_least_a_second)]
    pub token_ttl: Duration,
    /// How often log-in may fail for one address before it is closed.
    #[arg(long, env = "USER_LOGIN_FAILURES_MAX", default_value = "10", value_parser = value_parser!(u32).range(1..=1000))]
    pub login_failures_max: u32,
    /// How long it is closed then, and after how long without an attempt failures are forgotten.
    #[arg(long, env = "USER_LOGIN_LOCK", default_value = "5m", value_parser = at_least_a_second)]
    pub login_lock: Duration,
    /// How long a profile stays in the session cache.
    #[arg(long, env = "USER_SESSION_TTL", default_value = "5m", value_parser = chassis::settings::duration)]
    pub session_ttl: Duration,
    /// How many profiles the session cache holds, and addresses the count of failed log-ins.
    #[arg(long, env = "USER_SESSION_ENTRIES", default_value = "10000",
          value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub session_entries: u32,
    /// The address of an admin account that is made at the start unless it exists.
    #[arg(long, env = "USER_ADMIN_EMAIL", requires = "admin_password")]
    pub admin_email: Option<Email>,
    /// The password of that account, when it is made.
    #[arg(long, env = "USER_ADMIN_PASSWORD", requires = "admin_email", hide_env_values = true,
          value_parser = |text: &str| Ok::<_, Infallible>(Password::from(text)))]
    pub admin_password: Option<Password>,
}

/// Tokens, and those who are told to wait, count whole seconds.
fn at_least_a_second(text: &str) -> Result<Duration, String> {
    match chassis::settings::duration(text)? {
        ttl if ttl < Duration::from_secs(1) => Err(format!("`{text}` is shorter than 1s")),
        ttl => Ok(ttl),
    }
}
