//! The product service: the catalogue.
//!
//! The hexagon, from the inside out:
//!
//! - `domain` knows what a product is, what it may cost and what a search looks for. It does no IO.
//! - `application` holds the use cases (show, quote, search, create, change, delete) and the ports
//!   they need: a store that writes a product and its row of the list view in one transaction, that
//!   view as a read side of its own, and a cache of single products.
//! - `adapters` connects them: gRPC comes in; SQLite and an in-process cache go out.
//!
//! Nothing points outwards: the domain knows no use case, a use case no adapter. The catalogue has
//! no stream of events: nobody has to react to a new price, orders ask for it.

mod adapters;
mod application;
mod config;
mod domain;

use std::sync::Arc;

use chassis::env::{Backing, StartError};
use chassis::serve::{App, Service};
use chassis::sqlite::Db;
use proto::product::v1::product_service_server::ProductServiceServer;
use tonic::service::Routes;

use adapters::inbound::grpc::Handler;
use adapters::outbound::cache::{CacheMetrics, InProcessProducts};
use adapters::outbound::sqlite::{DATABASE, MIGRATIONS, SqliteProducts};
use application::Catalogue;

pub use config::Config;

/// The name that this service goes by.
pub const ROLE: &str = "product";

/// Builds the service. Opens the database; binds and spawns nothing.
///
/// # Errors
/// When the database cannot be opened.
pub async fn build(config: Config, env: chassis::Env) -> Result<Service, StartError> {
    let Backing::Embedded(embedded) = &env.backing else { return Err(StartError("not built".into())) };
    let db = Arc::new(Db::open(&embedded.storage, DATABASE, &MIGRATIONS, &env.metrics)?);
    let products = Arc::new(SqliteProducts::new(db));
    let capacity = usize::try_from(config.cache_entries).unwrap_or(usize::MAX);
    let metrics = CacheMetrics::register(&env.metrics);
    let cache = Arc::new(InProcessProducts::new(capacity, config.cache_ttl, env.clock.clone(), metrics));

    let catalogue = Catalogue::new(products.clone(), products, cache, env.clock.clone());
    let routes = Routes::new(ProductServiceServer::new(Handler::new(catalogue)));
    Ok(Service { env, app: App::Grpc(routes), ops: Default::default(), tasks: Vec::new() })
}
