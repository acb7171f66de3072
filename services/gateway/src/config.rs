//! The gateway's settings.

use std::time::Duration;

use chassis::settings::duration;

use crate::domain::prefer;

/// Settings of the gateway.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Requests a minute that one user may make; staff and admins are not limited, and callers who
    /// are not signed in share ten times as many for each operation.
    #[arg(long, env = "GATEWAY_RATE_LIMIT_PER_MINUTE", default_value = "100",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate_limit_per_minute: u32,

    /// How long `POST orders` waits for the order's end when the client does not say (at most 30s).
    #[arg(long, env = "GATEWAY_ORDER_WAIT", default_value = "2s", value_parser = order_wait)]
    pub order_wait: Duration,

    /// The largest request body that is read, in bytes.
    #[arg(long, env = "GATEWAY_BODY_LIMIT", default_value = "65536",
          value_parser = clap::value_parser!(u32).range(1024..=16_777_216))]
    pub body_limit: u32,

    /// How long a request body may take to arrive (1ms to 60s).
    #[arg(long, env = "GATEWAY_BODY_TIMEOUT", default_value = "10s", value_parser = body_timeout)]
    pub body_timeout: Duration,

    /// How long a request may take in all, whatever it waits for (1ms to 120s); shorter than the longest wait for
    /// an order, it cuts that short.
    #[arg(long, env = "GATEWAY_REQUEST_TIMEOUT", default_value = "50s", value_parser = request_timeout)]
    pub request_timeout: Duration,

    /// How long a service behind the gateway may take to answer (1ms to 30s); waiting for an order
    /// comes on top.
    #[arg(long, env = "GATEWAY_PEER_TIMEOUT", default_value = "3s", value_parser = peer_timeout)]
    pub peer_timeout: Duration,
}

fn order_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if wait > prefer::WAIT_MAX {
        return Err(format!("`{text}` is longer than 30s"));
    }
    Ok(wait)
}

fn peer_timeout(text: &str) -> Result<Duration, String> {
    at_most(30, text)
}

fn body_timeout(text: &str) -> Result<Duration, String> {
    at_most(60, text)
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    at_most(120, text)
}

fn at_most(seconds: u64, text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(seconds) {
        return Err(format!("`{text}` is not between 1ms and {seconds}s"));
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn with(setting: &str, value: &str) -> Result<Config, String> {
        let values = BTreeMap::from([(format!("gateway.{setting}"), value.to_owned())]);
        chassis::settings::parse("gateway", &values)
    }

    #[test]
    fn settings_have_their_documented_defaults() {
        let config = with("order_wait", "2s").unwrap();
        assert_eq!(config.rate_limit_per_minute, 100);
        assert_eq!(config.body_limit, 64 * 1024);
        assert_eq!(config.peer_timeout, Duration::from_secs(3));
        assert_eq!((config.body_timeout, config.request_timeout), (Duration::from_secs(10), Duration::from_secs(50)));
    }

    #[test]
    fn refuses_what_it_could_not_keep() {
        for (setting, value) in [
            ("rate_limit_per_minute", "0"),
            ("order_wait", "31s"),
            ("order_wait", "2"),
            ("body_limit", "10"),
            ("peer_timeout", "0s"),
            ("peer_timeout", "31s"),
            ("body_timeout", "0s"),
            ("body_timeout", "61s"),
            ("request_timeout", "121s"),
        ] {
            assert!(with(setting, value).is_err(), "{setting}={value}");
        }
    }
}
