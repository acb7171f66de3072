//! Notifications: tells customers by mail and text message what became of their orders.
//!
//! The hexagon, from the inside out:
//! - `domain`: which events are news for a customer, on which channels, and in which words;
//! - `application`: finding the recipient and handing the messages over; it needs
//!   [`application::ports::Buyers`], [`application::ports::Recipients`] and a
//!   [`application::ports::MessageProvider`];
//! - `adapters`: the event log inwards; the event log, the user service's gRPC and the simulated mail
//!   and SMS provider, with its ledger in SQLite or PostgreSQL, outwards.
//!
//! What is deliberately absent: a store. An event is acknowledged after the provider has all its
//! messages, and the provider knows a message that it is handed twice. Its ledger is not the service's.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chassis::clock::SteadyClock;
use chassis::env::{Env, StartError};
use chassis::grpc::{Identity, channel, serving_nothing};
use chassis::serve::{App, Building, Service, Task};
use eventlog::consume::{self, Handler};
use eventlog::{Backing, ConsumerSettings};

use adapters::inbound::events::{Announce, KINDS};
use adapters::outbound::buyers::LogBuyers;
use adapters::outbound::courier::{Ledger, Manners, SimulatedCourier};
use adapters::outbound::postgres::PostgresLedger;
use adapters::outbound::recipients::GrpcRecipients;
use adapters::outbound::sqlite::SqliteLedger;
use application::notify::Notifier;

pub use adapters::inbound::events::CONSUMER;
pub use adapters::outbound::courier::DATABASE;
pub use adapters::streams::CONSUMED;
pub use config::Config;

/// The name of this role in addresses, logs and settings.
pub const ROLE: &str = "notification";

/// How long the user service may take to name a recipient.
const RECIPIENT_DEADLINE: Duration = Duration::from_secs(2);
/// After this, an event that was being handled when a process died is handled by the next one.
const ACK_WAIT: Duration = Duration::from_secs(10);

/// Wires the service; nothing is bound or spawned.
///
/// # Errors
/// When nobody said where the user service is, or the provider's ledger cannot be opened.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let ledger: Arc<dyn Ledger> = match &backing {
        Backing::Embedded(embedded) => Arc::new(SqliteLedger::open(&embedded.storage, &env.metrics)?),
        Backing::Servers(servers) => Arc::new(PostgresLedger::open(servers, &env.metrics).await?),
    };
    let manners = Manners { latency: config.provider_latency, failure_rate: config.provider_failure_rate };
    let steady = Arc::new(SteadyClock::start(env.clock.clone()));
    let courier = SimulatedCourier::new(ledger, env.clock.clone(), &env.seeds, manners);
    let to_users = channel(&env, "user", Identity::Service(env.clone()), RECIPIENT_DEADLINE)?;
    let log = backing.event_log(&env).await?;
    let notifier = Notifier {
        buyers: Arc::new(LogBuyers { log: log.clone() }),
        recipients: Arc::new(GrpcRecipients::new(to_users, steady, &env.metrics)),
        provider: Arc::new(courier),
    };

    let handler: Arc<dyn Handler> = Arc::new(Announce::new(notifier, &env.metrics));
    #[cfg(feature = "planted-bugs")]
    let handler = adapters::inbound::planted::handler(handler, config.planted_bug);
    let settings =
        ConsumerSettings { name: CONSUMER, ack_wait: ACK_WAIT, deliveries_max: config.deliveries, kinds: KINDS };
    let tasks = CONSUMED.map(|stream| -> Task {
        let (log, settings, handler) = (log.clone(), settings.clone(), handler.clone());
        consume::listen(log, stream, settings, handler, config.concurrency as usize, env.shutdown.clone())
    });
    let app = App::Grpc(serving_nothing(&env)?);
    Ok(Service { app, ops: Router::new(), tasks: tasks.into(), env })
}
