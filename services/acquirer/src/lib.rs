//! The simulated acquirer: the payment provider as a third party, with a durable ledger of its own
//! that no other service writes to.
//!
//! The hexagon, from the inside out:
//! - `domain`: what a key may become (captured, declined, voided, refunded) and which ledger line
//!   each change leaves;
//! - `application`: the four calls, their latency, which keys the bank declines, and what faults do
//!   to a call; it needs a [`application::ports::Ledger`];
//! - `adapters`: gRPC inwards, SQLite or PostgreSQL outwards. Faults come in over the chassis' ops port.
//!
//! What is deliberately absent: an outbox and events. A real acquirer tells nobody anything; one
//! has to ask.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;
mod faults;

use std::sync::Arc;

use chassis::chaos;
use chassis::env::{Env, StartError};
use chassis::grpc::serving;
use chassis::serve::{App, Building, Service};
use eventlog::Backing;
use proto::acquirer::v1::acquirer_service_server::AcquirerServiceServer;

use adapters::inbound::grpc::Handler;
use adapters::outbound::postgres::PostgresLedger;
use adapters::outbound::sqlite::SqliteLedger;
use application::acquire::Acquirer;
use application::ports::Ledger;

pub use adapters::outbound::stored::DATABASE;
pub use config::Config;
pub use faults::FAULTS;

/// The name of this role in addresses, logs and settings.
pub const ROLE: &str = "acquirer";

/// Wires the service; nothing is bound or spawned.
///
/// # Errors
/// When the ledger cannot be opened.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let ledger: Arc<dyn Ledger> = match &backing {
        Backing::Embedded(embedded) => {
            let ledger = SqliteLedger::open(&embedded.storage, &env.metrics)?;
            #[cfg(feature = "planted-bugs")]
            let ledger = ledger.with_planted_bug(config.planted_bug)?;
            Arc::new(ledger)
        }
        #[cfg(feature = "planted-bugs")]
        Backing::Servers(_) if config.planted_bug.is_some() => {
            return Err(StartError(format!("{ROLE}: its bugs are planted in the embedded family alone")));
        }
        Backing::Servers(servers) => Arc::new(PostgresLedger::open(servers, &env.metrics).await?),
    };
    let Config { latency, decline_rate, .. } = config;
    let acquirer = Acquirer::new(ledger, env.clock.clone(), env.seeds.clone(), latency, decline_rate);
    let suffering = acquirer.clone();
    let ops = chaos::http::ops(&env, &FAULTS, move |active| suffering.suffer(active));
    let routes = serving(&env, AcquirerServiceServer::new(Handler::new(acquirer)), proto::DESCRIPTORS)?;
    Ok(Service { env, app: App::Grpc(routes), ops, tasks: Vec::new() })
}
