//! Somebody else's PostgreSQL, NATS and Redis: where they are, and whether they will do. What is said
//! about a URL names its variable, host and user, never its password.

use std::fmt::Display;
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, RequestErrorKind, ServerAddr};
use chassis::hazard::Hazards;
use eventlog::EventLog as _;
use eventlog::jetstream::{JetStreamLog, plain};
use redis::{ErrorKind, RedisError};
use servers::binaries::{NATS_SERVER, POSTGRES, Program, REDIS_SERVER, Version};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use store::gather::BATCH_MAX;
use store::{Servers, StoreError};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

/// How long a server may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// As long as a name of a database may be with it.
const NAMESPACE_MAX: usize = 32;

/// A variable of the environment that names a server.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    pub name: &'static str,
    pub example: &'static str,
}

pub const DATABASE_URL: Variable =
    Variable { name: "DATABASE_URL", example: "postgres://user:password@127.0.0.1:5432" };
pub const NATS_URL: Variable = Variable { name: "NATS_URL", example: "nats://token@127.0.0.1:4222" };
pub const REDIS_URL: Variable = Variable { name: "REDIS_URL", example: "redis://:password@127.0.0.1:6379" };

impl Variable {
    /// What it is set to; empty is not set.
    pub fn value(&self) -> Option<String> {
        std::env::var(self.name).ok().filter(|value| !value.is_empty())
    }

    fn not_a_url(&self) -> String {
        format!(
            "{} is not a URL such as {} (special characters in a password are written as %2F)",
            self.name, self.example
        )
    }

    fn says(&self, what: impl Display) -> String {
        format!("{}: {what}", self.name)
    }
}

/// What the servers say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    pub postgres: String,
    pub nats: String,
    pub redis: String,
}

impl Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgreSQL {}, NATS {}, Redis {}", self.postgres, self.nats, self.redis)
    }
}

/// What goes before names of databases, streams and keys; empty is nothing.
///
/// # Errors
/// When it could not be part of them all.
pub fn namespace(text: &str) -> Result<String, String> {
    let ordinary = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    match text.len() <= NAMESPACE_MAX && text.chars().all(ordinary) {
        true => Ok(text.to_owned()),
        false => Err(format!("the namespace `{text}` is not made of at most {NAMESPACE_MAX} of a-z, 0-9 and _")),
    }
}

/// The servers that the environment names. `create`: databases and streams that are missing are to be
/// created; `namespace` sets shops on the same servers apart.
///
/// # Errors
/// One line: the variable that is not set, with an example, or why the namespace cannot be.
pub fn from_env(create: bool, namespace: &str) -> Result<Servers, String> {
    named(&Variable::value, create, namespace)
}

fn named(value: &dyn Fn(&Variable) -> Option<String>, create: bool, namespace: &str) -> Result<Servers, String> {
    let namespace = self::namespace(namespace)?;
    let url = |variable: Variable| {
        value(&variable).ok_or_else(|| format!("{} is not set; an example: {}", variable.name, variable.example))
    };
    let (postgres, nats, redis) = (url(DATABASE_URL)?, url(NATS_URL)?, url(REDIS_URL)?);
    let _ = (postgres_options(&postgres)?, nats_address(&nats)?, redis_client(&redis)?);
    let (batch_max, hazards) = (BATCH_MAX, Hazards::default());
    Ok(Servers { postgres, nats, redis, namespace, create, batch_max, hazards })
}

/// Asks each server once whether it will do.
///
/// # Errors
/// One line about the first that will not: which variable, and how it is wrong.
pub async fn check(servers: &Servers) -> Result<Versions, String> {
    let (postgres, nats, redis) = tokio::join!(postgres(&servers.postgres), nats(&servers.nats), redis(&servers.redis));
    Ok(Versions { postgres: postgres?, nats: nats?, redis: redis? })
}

/// Whether the shop's streams are what it needs; those that are missing are created if that was asked for.
///
/// # Errors
/// One line about the first that will not do, or that is missing.
pub async fn streams(servers: &Servers) -> Result<(), String> {
    let said = |error: StoreError| match error {
        StoreError::Unavailable(why) => NATS_URL.says(why),
        other => NATS_URL.says(other),
    };
    let log = JetStreamLog::connect(servers, "shopctl").await.map_err(said)?;
    for stream in shop::STREAMS {
        log.prepare(stream).await.map_err(said)?;
    }
    Ok(())
}

/// Logs into PostgreSQL and answers its version.
///
/// # Errors
/// One line, which begins with `DATABASE_URL`.
pub async fn postgres(url: &str) -> Result<String, String> {
    let (variable, options) = (DATABASE_URL, postgres_options(url)?);
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let options = if options.get_database().is_none() { options.database("postgres") } else { options };
    let asking = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(version)
    };
    let version = in_time(&variable, &place, asking).await?;
    let version = version.map_err(|error| variable.says(postgres_refuses(&error, &options, &place)))?;
    new_enough(&variable, &place, POSTGRES, &version)
}

fn postgres_options(url: &str) -> Result<PgConnectOptions, String> {
    let of_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options = of_postgres.then(|| store::postgres::options(url).ok()).flatten();
    options.ok_or_else(|| DATABASE_URL.not_a_url())
}

fn postgres_refuses(error: &sqlx::Error, options: &PgConnectOptions, place: &str) -> String {
    match error {
        sqlx::Error::Io(error) => not_reached(error.kind(), place, error),
        sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("28P01" | "28000")) => {
            format!("{place} refuses the login of the user `{}`", options.get_username())
        }
        other => format!("{place}: {}", store::postgres::plain(other)),
    }
}

/// Logs into NATS, asks whether this account may use JetStream, and answers the version.
///
/// # Errors
/// One line, which begins with `NATS_URL`.
pub async fn nats(url: &str) -> Result<String, String> {
    let (variable, address) = (NATS_URL, nats_address(url)?);
    let place = format!("{}:{}", address.host(), address.port());
    let options = match (address.username(), address.password()) {
        (None, _) => ConnectOptions::new(),
        (Some(token), None) => ConnectOptions::with_token(plain(token)),
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(plain(user), plain(password)),
    };
    let asking = async {
        let client = options.connect(address).await.map_err(|error| nats_refuses(&error, &place))?;
        let version = client.server_info().version;
        may_use_jetstream(&client).await.map_err(|why| format!("{place} {why}"))?;
        Ok::<_, String>(version)
    };
    // What the client logs besides is in the line.
    let asking = asking.with_subscriber(NoSubscriber::default());
    let version = in_time(&variable, &place, asking).await?.map_err(|why| variable.says(why))?;
    new_enough(&variable, &place, NATS_SERVER, &version)
}

fn nats_address(url: &str) -> Result<ServerAddr, String> {
    url.parse().ok().filter(|_| url.contains("://")).ok_or_else(|| NATS_URL.not_a_url())
}

/// Asks as `nats account info` does. The answer is not decoded further: older servers leave fields out.
async fn may_use_jetstream(client: &async_nats::Client) -> Result<(), String> {
    let answer = client.request("$JS.API.INFO", bytes::Bytes::new()).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => {
            "has JetStream off; start it with `jetstream {}` in its configuration".to_owned()
        }
        _ => format!("does not say whether JetStream is on: {error}"),
    })?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    match answer.pointer("/error/description").and_then(serde_json::Value::as_str) {
        Some(why) => Err(format!("refuses JetStream to this login: {why}")),
        None => Ok(()),
    }
}

fn nats_refuses(error: &async_nats::ConnectError, place: &str) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            format!("{place} refuses the login")
        }
        _ => {
            let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
            let kind = source.map_or(std::io::ErrorKind::Other, std::io::Error::kind);
            not_reached(kind, place, error)
        }
    }
}

/// Logs into Redis, pings it, and answers its version.
///
/// # Errors
/// One line, which begins with `REDIS_URL`.
pub async fn redis(url: &str) -> Result<String, String> {
    let (variable, client) = (REDIS_URL, redis_client(url)?);
    let place = client.get_connection_info().addr().to_string();
    let asking = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await
    };
    let about = in_time(&variable, &place, asking).await?;
    let about = about.map_err(|error| variable.says(redis_refuses(&error, &place)))?;
    let version = about.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
    new_enough(&variable, &place, REDIS_SERVER, version)
}

fn redis_client(url: &str) -> Result<redis::Client, String> {
    if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
        return Err(REDIS_URL.not_a_url());
    }
    redis::Client::open(url).map_err(|error| match error.kind() {
        ErrorKind::InvalidClientConfig if url.starts_with("rediss://") => REDIS_URL.says("TLS is not supported"),
        _ => REDIS_URL.not_a_url(),
    })
}

fn redis_refuses(error: &RedisError, place: &str) -> String {
    let refused =
        error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
    if refused {
        format!("{place} refuses the login")
    } else if error.is_connection_refusal() {
        not_reached(std::io::ErrorKind::ConnectionRefused, place, error)
    } else {
        format!("{place}: {error}")
    }
}

async fn in_time<T>(variable: &Variable, place: &str, asking: impl Future<Output = T>) -> Result<T, String> {
    let late = |_| variable.says(format_args!("{place} did not answer within {DEADLINE:?}"));
    tokio::time::timeout(DEADLINE, asking).await.map_err(late)
}

fn not_reached(kind: std::io::ErrorKind, place: &str, error: &dyn Display) -> String {
    match kind {
        std::io::ErrorKind::ConnectionRefused => format!("nobody listens on {place}"),
        _ => format!("{place}: {error}"),
    }
}

fn new_enough(variable: &Variable, place: &str, program: Program, said: &str) -> Result<String, String> {
    let (major, minor) = program.oldest;
    match Version::parse(said) {
        Some(version) if version.number >= program.oldest => Ok(version.text),
        _ => Err(variable.says(format_args!("{place} has version {said}; {major}.{minor} or newer is needed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(variable: &Variable) -> Option<String> {
        (variable.name != "NATS_URL").then(|| variable.example.to_owned())
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_an_example() {
        let said = named(&set, true, "").unwrap_err();
        assert_eq!(said, "NATS_URL is not set; an example: nats://token@127.0.0.1:4222");
        let servers = named(&|variable| Some(variable.example.to_owned()), false, "shop_2").unwrap();
        assert!(servers.redis == REDIS_URL.example && servers.namespace == "shop_2" && !servers.create);
    }

    #[test]
    fn a_namespace_is_short_and_plain() {
        for namespace in ["Shop", "a-b", "a b", "ä", &"n".repeat(33)] {
            let said = named(&|variable| Some(variable.example.to_owned()), true, namespace).unwrap_err();
            assert!(said.contains(namespace), "{said}");
        }
    }

    #[test]
    fn a_server_that_is_too_old_is_told_by_its_version() {
        let said = new_enough(&DATABASE_URL, "db:5432", POSTGRES, "13.9 (Debian)").unwrap_err();
        assert_eq!(said, "DATABASE_URL: db:5432 has version 13.9 (Debian); 14.0 or newer is needed");
        assert_eq!(new_enough(&DATABASE_URL, "db:5432", POSTGRES, "15.16 (Debian)").unwrap(), "15.16");
    }
}
