//! The gateway: the shop's HTTP face. It translates REST to gRPC and back, and keeps nothing.
//!
//! Inbound stands one adapter, `adapters::inbound::http`: an axum router under `/api/v1` whose
//! middleware names each request, finds its trace, verifies its token, counts it against the
//! caller's rate limit, bounds its time, and turns every failure into an RFC 9457 problem.
//!
//! In the middle, `domain` holds the three small rules that are the gateway's own (the rate-limit
//! window, the syntax of keys, the `Prefer` header), and `application` decides who is calling and
//! whether the call is admitted.
//!
//! Outbound stand the gRPC clients, which speak in the caller's name, and the rate limiter behind
//! its port, with its counters in process or in Redis. Deliberately absent: a port in front of each service. The gRPC contracts are those
//! ports already, and a second set of types for the same nouns would only be copied to and fro.
//!
//! The gateway never retries: a repeated call is decided by the client, who has the idempotency
//! key, or by the order service, which has the saga.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;

use std::sync::Arc;

use axum::Router;
use chassis::Env;
use chassis::env::StartError;
use chassis::serve::{App, Building, Service};
use eventlog::Backing;
use store::redis::Redis;

pub use config::Config;

use adapters::inbound::http::{self, Gateway};
use adapters::outbound::clients::Clients;
use adapters::outbound::rate_limit::InProcessRateLimiter;
use adapters::outbound::redis::RedisRateLimiter;
use application::admission::Admission;
use application::authentication::Authentication;
use application::ports::RateLimiter;

/// The API's description in OpenAPI 3.1, as JSON.
pub use adapters::inbound::http::document as openapi;

/// The name under which settings, peers, logs and metrics know this service.
pub const ROLE: &str = "gateway";

/// Wires the gateway; it binds nothing, spawns nothing, and connects to its peers on first use.
///
/// # Errors
/// When nobody said where one of its peers is, or Redis cannot be reached.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let clients = Clients::connect(&env, config.peer_timeout)?;
    let limiter: Arc<dyn RateLimiter> = match &backing {
        Backing::Embedded(_) => Arc::new(InProcessRateLimiter::default()),
        Backing::Servers(servers) => {
            let redis = Arc::new(Redis::connect(servers).await?);
            Arc::new(RedisRateLimiter::new(redis, env.clock.clone()))
        }
    };
    let admission = Admission::new(limiter, config.rate_limit_per_minute);
    let authentication = Authentication::new(env.keys.clone(), env.clock.clone());
    let gateway = Gateway::new(&config, &env, clients, authentication, admission);
    Ok(Service { app: App::Http(http::router(gateway)), ops: Router::new(), tasks: Vec::new(), env })
}
