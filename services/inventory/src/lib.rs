//! The inventory service: how many units of each product are available, reserved and sold.
//!
//! ```text
//!   gRPC ──▶ adapters::inbound::grpc ──▶ application::StockKeeping ──▶ domain
//!                                              │ ports
//!  StockStore (SQLite or PostgreSQL) ◀───────┼──▶ StockCache, RestockLock (in process or Redis)
//!                  │ outbox
//!                  └──▶ relay ──▶ stream INVENTORY
//! ```
//!
//! * `domain` decides, without IO: whether an order gets its units (whole or nothing), what a
//!   repetition is answered, what a compensation undoes.
//! * `application` holds the use cases and the ports they need.
//! * `adapters::inbound` checks callers and input, and turns refusals into gRPC codes.
//! * `adapters::outbound` store, cache and lock.
//!
//! Reserve, release and commit are saga operations. Each writes its idempotency key (order and
//! operation), the work, and the event that tells of it in one transaction; so a repetition, also a
//! concurrent one, gets the first answer, and a release that overtakes its reservation blocks it.
//!
//! The cache and the lock are conveniences: no decision is made on a cached figure, and a lock that
//! fails is caught by the predicate on the stock row's version.

pub mod adapters;
pub mod application;
pub mod config;
pub mod domain;

use std::sync::Arc;

use chassis::Env;
use chassis::env::StartError;
use chassis::grpc::serving;
use chassis::serve::{App, Building, Service, Task};
use eventlog::relay::Relay;
use eventlog::{Backing, Outbox, Stream};
use proto::inventory::v1::inventory_service_server::InventoryServiceServer;
use store::redis::Redis;

use crate::adapters::inbound::grpc::InventoryHandler;
use crate::adapters::outbound::counted::CountedStockCache;
use crate::adapters::outbound::memory::{MemoryLocks, MemoryStockCache};
use crate::adapters::outbound::postgres::PostgresStock;
use crate::adapters::outbound::redis::{RedisLocks, RedisStockCache};
use crate::adapters::outbound::sqlite::SqliteStock;
use crate::application::StockKeeping;
use crate::application::ports::{RestockLock, StockCache, StockStore};

pub use adapters::outbound::rows::DATABASE;
pub use config::{Config, Strategy};

/// The name this service goes by.
pub const ROLE: &str = "inventory";
/// The stream that this service publishes to.
pub const STREAM: Stream = Stream::new("INVENTORY", "inventory");

/// Wires the service; opens its database and connects to the servers, binds nothing, runs nothing.
///
/// # Errors
/// When the database cannot be opened, or a server cannot be reached.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let (store, outbox) = store(&config, &env, &backing).await?;
    let (cache, lock) = cache_and_lock(&config, &env, &backing).await?;
    let relay = Relay { stream: STREAM, outbox, log: backing.event_log(&env).await? };
    let cache = Arc::new(CountedStockCache::over(cache, &env.metrics));
    let stock_keeping = StockKeeping { store, cache, lock, clock: env.clock.clone() };

    let handler = InventoryHandler::new(stock_keeping, &env.metrics);
    let app = App::Grpc(serving(&env, InventoryServiceServer::new(handler), proto::DESCRIPTORS)?);
    let relay: Task = relay.run(env.shutdown.clone());
    Ok(Service { env, app, ops: Default::default(), tasks: vec![relay] })
}

async fn store(
    config: &Config,
    env: &Env,
    backing: &Backing,
) -> Result<(Arc<dyn StockStore>, Arc<dyn Outbox>), StartError> {
    Ok(match backing {
        Backing::Embedded(embedded) => {
            let store = SqliteStock::open(&embedded.storage, &env.metrics)?.with_strategy(config.strategy);
            #[cfg(feature = "planted-bugs")]
            let store = store.with_planted_bug(config.planted_bug);
            let outbox = Arc::new(store.outbox(env.clock.clone()));
            (Arc::new(store), outbox)
        }
        Backing::Servers(servers) => {
            #[cfg(feature = "planted-bugs")]
            if config.planted_bug.is_some() && config.strategy == Strategy::Optimistic {
                return Err(StartError(format!("{ROLE}: bugs are planted in the batched strategy alone")));
            }
            #[cfg(feature = "planted-bugs")]
            if let Some(config::PlantedBug::ReserveAgain | config::PlantedBug::NoBarrier) = config.planted_bug {
                let why = "reserve-again and no-barrier are planted in the embedded family alone";
                return Err(StartError(format!("{ROLE}: {why}")));
            }
            let store = PostgresStock::open(servers, &env.metrics).await?.with_strategy(config.strategy);
            #[cfg(feature = "planted-bugs")]
            let store = store.with_planted_bug(config.planted_bug, &env.metrics);
            let outbox = Arc::new(store.outbox(env.clock.clone()));
            (Arc::new(store), outbox)
        }
    })
}

async fn cache_and_lock(
    config: &Config,
    env: &Env,
    backing: &Backing,
) -> Result<(Arc<dyn StockCache>, Arc<dyn RestockLock>), StartError> {
    Ok(match backing {
        Backing::Embedded(_) => {
            (Arc::new(MemoryStockCache::new(config.cache_capacity, config.cache_ttl)), Arc::new(MemoryLocks::default()))
        }
        Backing::Servers(servers) => {
            let redis = Arc::new(Redis::connect(servers).await?);
            let cache = RedisStockCache::new(redis.clone(), config.cache_ttl);
            (Arc::new(cache), Arc::new(RedisLocks::new(redis, &env.seeds)))
        }
    })
}
