//! The inventory service: how many units of each product are available, reserved and sold.
//!
//! ```text
//!   gRPC ──▶ adapters::inbound::grpc ──▶ application::StockKeeping ──▶ domain
//!                                              │ ports
//!            StockStore (SQLite) ◀─────────────┼──▶ StockCache, RestockLock (in process)
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

use chassis::env::StartError;
use chassis::events::Stream;
use chassis::events::relay::Relay;
use chassis::serve::{App, Service, Task};
use chassis::{Backing, Env};
use proto::inventory::v1::inventory_service_server::InventoryServiceServer;
use tonic::service::Routes;

use crate::adapters::inbound::grpc::InventoryHandler;
use crate::adapters::outbound::memory::{MemoryLocks, MemoryStockCache};
use crate::adapters::outbound::sqlite::SqliteStock;
use crate::application::StockKeeping;

pub use config::Config;

/// The name this service goes by.
pub const ROLE: &str = "inventory";

/// Wires the service; opens its database, binds nothing, runs nothing.
///
/// # Errors
/// When the database cannot be opened.
pub async fn build(config: Config, env: Env) -> Result<Service, StartError> {
    let Backing::Embedded(embedded) = &env.backing else { return Err(StartError("not built".into())) };
    let store = SqliteStock::open(&embedded.storage, &env.metrics)?;
    #[cfg(feature = "planted-bugs")]
    let store = store.with_planted_bug(config.planted_bug);
    let relay = Relay {
        stream: Stream::Inventory,
        outbox: Arc::new(store.outbox(env.clock.clone())),
        log: embedded.log.clone(),
    };

    let stock_keeping = StockKeeping {
        store: Arc::new(store),
        cache: Arc::new(MemoryStockCache::new(config.cache_capacity, config.cache_ttl)),
        lock: Arc::new(MemoryLocks::default()),
        clock: env.clock.clone(),
    };

    let handler = InventoryHandler::new(stock_keeping, &env.metrics);
    let app = App::Grpc(Routes::new(InventoryServiceServer::new(handler)));
    let relay: Task = Box::pin(relay.run(env.shutdown.clone()));
    Ok(Service { env, app, ops: Default::default(), tasks: vec![relay] })
}
