//! Redis: what may be lost. A server that does not answer is not asked again for a moment, so that
//! whoever can do without it is not slowed down by every question.

pub mod versioned;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, ParsingError, RedisError, Script, Value};
use tokio::time::Instant;

use crate::error::StoreError;
use crate::servers::Servers;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_millis(150);
/// How long a server that did not answer is left alone.
const PENALTY: Duration = Duration::from_millis(500);

/// An answer that is waited for, as the server gave it.
type Answering<'a, E> = BoxFuture<'a, Result<Value, E>>;

/// A connection that comes back by itself; cheap to share.
pub struct Redis {
    manager: ConnectionManager,
    namespace: String,
    silent_until: Mutex<Option<Instant>>,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// One line: the URL is wrong, the server does not answer, or the login is refused.
    pub fn connect(servers: &Servers) -> BoxFuture<'_, Result<Self, StoreError>> {
        Box::pin(async move {
            let failed = |error: RedisError| StoreError::Unavailable(format!("Redis: {}", plain(&error)));
            let client = redis::Client::open(servers.redis.as_str()).map_err(failed)?;
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(Duration::from_secs(2)))
                .set_response_timeout(Some(DEADLINE))
                .set_number_of_retries(1);
            let manager = ConnectionManager::new_with_config(client, config).await.map_err(failed)?;
            Ok(Self { manager, namespace: servers.namespace.clone(), silent_until: Mutex::new(None) })
        })
    }

    /// The name of a key: `shop:` and the namespace come first, so that a server can be shared.
    pub fn key(&self, name: impl std::fmt::Display) -> String {
        match self.namespace.as_str() {
            "" => format!("shop:{name}"),
            namespace => format!("shop:{namespace}:{name}"),
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// `Unavailable` when there is no answer in time, or the server was silent a moment ago.
    pub async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        read(self.answer(command).await?)
    }

    /// Asks several things in one round trip.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn ask_all<T: FromRedisValue>(&self, pipeline: &redis::Pipeline) -> Result<T, StoreError> {
        read(self.answer_all(pipeline).await?)
    }

    /// Runs a script, atomically.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<T, StoreError> {
        read(self.answer_of(script, keys, arguments).await?)
    }

    fn answer<'a>(&'a self, command: &'a redis::Cmd) -> Answering<'a, StoreError> {
        self.guarded(Box::pin(async { command.query_async(&mut self.manager.clone()).await }))
    }

    fn answer_all<'a>(&'a self, pipeline: &'a redis::Pipeline) -> Answering<'a, StoreError> {
        self.guarded(Box::pin(async { pipeline.query_async(&mut self.manager.clone()).await }))
    }

    fn answer_of<'a>(
        &'a self,
        script: &'a Script,
        keys: &'a [String],
        arguments: &'a [String],
    ) -> Answering<'a, StoreError> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        self.guarded(Box::pin(async move { invocation.invoke_async(&mut self.manager.clone()).await }))
    }

    fn guarded<'a>(&'a self, asking: Answering<'a, RedisError>) -> Answering<'a, StoreError> {
        Box::pin(async move {
            self.dare()?;
            let silent_until = || self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = match tokio::time::timeout(DEADLINE, asking).await {
                Ok(Ok(answer)) => {
                    *silent_until() = None;
                    return Ok(answer);
                }
                // The server answered, if only with a no.
                Ok(Err(error)) if !(error.is_io_error() || error.is_timeout() || error.is_connection_dropped()) => {
                    *silent_until() = None;
                    return Err(StoreError::Unavailable(format!("Redis: {}", plain(&error))));
                }
                Ok(Err(error)) => plain(&error),
                Err(_) => format!("no answer within {DEADLINE:?}"),
            };
            *silent_until() = Some(Instant::now() + PENALTY);
            tracing::warn!(failure, "Redis does not answer");
            Err(StoreError::Unavailable(format!("Redis: {failure}")))
        })
    }

    /// Refuses while the server is left alone; after that, one asks, and the others wait for what comes of it.
    fn dare(&self) -> Result<(), StoreError> {
        let mut silent_until = self.silent_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *silent_until {
            Some(until) if now < until => Err(StoreError::Unavailable("Redis did not answer a moment ago".into())),
            Some(_) => {
                *silent_until = Some(now + PENALTY);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The server's answer as what was asked for.
fn read<T: FromRedisValue>(answer: Value) -> Result<T, StoreError> {
    let unread = |error: ParsingError| StoreError::Unavailable(format!("Redis: {}", plain(&error.into())));
    T::from_redis_value(answer).map_err(unread)
}

fn plain(error: &RedisError) -> String {
    error.to_string()
}
