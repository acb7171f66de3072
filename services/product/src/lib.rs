//! The product service: the catalogue.
//!
//! The hexagon, from the inside out:
//!
//! - `domain` knows what a product is, what it may cost and what a search looks for. It does no IO.
//! - `application` holds the use cases (show, quote, search, create, change, delete) and the ports
//!   they need: a store that writes a product and its row of the list view in one transaction, that
//!   view as a read side of its own, and a cache of single products.
//! - `adapters` connects them: gRPC comes in; one of two families goes out, SQLite with an in-process
//!   cache or PostgreSQL with Redis.
//!
//! Nothing points outwards: the domain knows no use case, a use case no adapter. The catalogue has
//! no stream of events: nobody has to react to a new price, orders ask for it.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;

use std::sync::Arc;

use chassis::Env;
use chassis::clock::SteadyClock;
use chassis::env::StartError;
use chassis::grpc::serving;
use chassis::metrics::CacheCounters;
use chassis::serve::{App, Building, Service, Task};
use eventlog::Backing;
use proto::product::v1::product_service_server::ProductServiceServer;
use store::redis::Redis;
use store::redis::versioned::VersionedCache;
use store::{postgres, sqlite};

use adapters::inbound::grpc::Handler;
use adapters::outbound::cache::InProcessProducts;
use adapters::outbound::postgres::PostgresProducts;
use adapters::outbound::redis::RedisProducts;
pub use adapters::outbound::rows::DATABASE;
use adapters::outbound::sqlite::SqliteProducts;
use application::Catalogue;

pub use config::Config;

/// The name that this service goes by.
pub const ROLE: &str = "product";

/// Builds the service. Opens the database; binds and spawns nothing.
///
/// # Errors
/// When a server or the database cannot be reached.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let metrics = CacheCounters::register(&env.metrics, "product_cache_requests", "Products");
    let clock = env.clock.clone();
    let (catalogue, tasks) = match &backing {
        Backing::Embedded(embedded) => {
            let migrations = &adapters::outbound::sqlite::MIGRATIONS;
            let db = sqlite::Db::open(&embedded.storage, DATABASE, migrations, &env.metrics)?;
            let products = Arc::new(SqliteProducts::new(Arc::new(db)));
            let capacity = usize::try_from(config.cache_entries).unwrap_or(usize::MAX);
            let steady = Arc::new(SteadyClock::start(clock.clone()));
            let cache = InProcessProducts::new(capacity, config.cache_ttl, steady, metrics);
            (Catalogue::new(products.clone(), products, Arc::new(cache), clock), Vec::new())
        }
        Backing::Servers(servers) => {
            let migrations = adapters::outbound::postgres::MIGRATIONS;
            let db = postgres::Db::open(servers, DATABASE, migrations, &env.metrics).await?;
            let products = Arc::new(PostgresProducts::new(Arc::new(db)));
            let redis = Arc::new(Redis::connect(servers).await?);
            let versioned = Arc::new(VersionedCache::new(redis, config.cache_ttl));
            let cache = RedisProducts::new(versioned.clone(), metrics);
            let catching_up: Task = versioned.catch_up(env.shutdown.clone());
            (Catalogue::new(products.clone(), products, Arc::new(cache), clock), vec![catching_up])
        }
    };
    let routes = serving(&env, ProductServiceServer::new(Handler::new(catalogue)), proto::DESCRIPTORS)?;
    Ok(Service { env, app: App::Grpc(routes), ops: Default::default(), tasks })
}
