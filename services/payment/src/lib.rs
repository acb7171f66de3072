//! Payments: one for each order, charged at an external provider, and given back when the order
//! is cancelled.
//!
//! The hexagon, from the inside out:
//! - `domain`: the payment (an aggregate whose events are its history) and the circuit breaker;
//! - `application`: processing a payment in its three moments, resolving what got lost between
//!   them, and the compensation; it needs an [`application::ports::PaymentStore`] and an
//!   [`application::ports::Provider`]. Faults may force the breaker;
//! - `adapters`: gRPC and the ops port inwards, SQLite or PostgreSQL and the acquirer's gRPC outwards.
//!
//! What is deliberately absent: retries. Whoever asks again finds the answer; asking again is the
//! order saga's business.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;
mod faults;

use std::sync::Arc;

use chassis::chaos;
use chassis::env::{Env, StartError};
use chassis::grpc::{Identity, channel, serving};
use chassis::serve::{App, Building, Service, Task};
use eventlog::outbox::postgres::PostgresOutbox;
use eventlog::outbox::sqlite::SqliteOutbox;
use eventlog::relay::Relay;
use eventlog::{Backing, Outbox, Stream};
use proto::payment::v1::payment_service_server::PaymentServiceServer;

use adapters::counters::PaymentCounters;
use adapters::inbound::grpc::Handler;
use adapters::inbound::ops;
use adapters::outbound::acquirer::Acquirer;
use adapters::outbound::counted::CountedPayments;
use adapters::outbound::postgres::PostgresPayments;
use adapters::outbound::sqlite::SqlitePayments;
use adapters::outbound::stored::OUTBOX;
use application::breaker::CircuitBreaker;
use application::pay::Payments;
use application::ports::PaymentStore;

pub use adapters::outbound::stored::DATABASE;
pub use config::Config;
pub use faults::FAULTS;

/// The name of this role in addresses, logs and settings.
pub const ROLE: &str = "payment";
/// The stream that this service publishes to.
pub const STREAM: Stream = Stream::new("PAYMENTS", "payment");

/// Wires the service; nothing is bound or spawned.
///
/// # Errors
/// When the settings make no sense together, nobody said where the acquirer is, or the database
/// cannot be opened.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let breaker_settings = config.breaker();
    breaker_settings.check().map_err(|error| StartError(format!("{ROLE}: {error}")))?;

    let (store, outbox) = open(&env, &backing).await?;
    let counters = PaymentCounters::register(&env.metrics);
    let store = Arc::new(CountedPayments::over(store, counters.clone()));
    let to_acquirer = channel(&env, "acquirer", Identity::Service(env.clone()), config.provider_timeout)?;
    let provider = Arc::new(Acquirer::new(to_acquirer, config.provider_timeout));
    let relay = Relay { stream: STREAM, outbox, log: backing.event_log(&env).await? };

    let breaker = CircuitBreaker::new(breaker_settings, env.clock.clone());
    let payments = Payments::new(store, provider, breaker.clone(), env.clock.clone(), config.charge_window);

    #[cfg(feature = "planted-bugs")]
    config.planted_bug.into_iter().for_each(|bug| payments.plant(bug));

    ops::register(&env.metrics, breaker.clone());
    let forced = breaker.clone();
    let faults = chaos::http::ops(&env, &FAULTS, move |active| forced.suffer(active));
    let (shutdown, under_way) = (env.shutdown.clone(), payments.clone());
    // Keeps the service from stopping before the payments under way have their result.
    let drain = async move {
        shutdown.cancelled().await;
        under_way.finish().await;
    };
    let tasks: Vec<Task> = vec![relay.run(env.shutdown.clone()), Box::pin(drain)];
    let handler = PaymentServiceServer::new(Handler::new(payments, counters));
    let routes = serving(&env, handler, proto::DESCRIPTORS)?;
    Ok(Service { env, app: App::Grpc(routes), ops: ops::router(breaker).merge(faults), tasks })
}

/// The store of the adapter family at hand, and the outbox that stands in it.
async fn open(env: &Env, backing: &Backing) -> Result<(Arc<dyn PaymentStore>, Arc<dyn Outbox>), StartError> {
    Ok(match backing {
        Backing::Embedded(embedded) => {
            let store = Arc::new(SqlitePayments::open(&embedded.storage, &env.metrics)?);
            let outbox = SqliteOutbox::new(store.db(), OUTBOX, env.clock.clone());
            (store, Arc::new(outbox))
        }
        Backing::Servers(servers) => {
            let store = Arc::new(PostgresPayments::open(servers, &env.metrics).await?);
            let outbox = PostgresOutbox::new(store.db(), OUTBOX, env.clock.clone());
            (store, Arc::new(outbox))
        }
    })
}
