//! The order service: it takes orders, carries each through its saga, and remembers everything
//! that happened to it.
//!
//! - `domain` — [`domain::order`] is the event-sourced aggregate (which states follow which),
//!   [`domain::saga`] the decision of what to do next and what an answer means. No IO.
//! - `application` — [`application::orders`] places, shows and cancels orders;
//!   [`application::driver`] drives them and picks up those that are due; [`application::ports`]
//!   says what both need of the world.
//! - `adapters/inbound` — gRPC for clients and operators, the event log's news, `/steps` for the recorder.
//! - `adapters/outbound` — SQLite for orders and outbox, gRPC to product, inventory and payment,
//!   the event log for histories.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;

use std::sync::Arc;

use chassis::env::StartError;
use chassis::events::Stream;
use chassis::events::consume::{self, Handler};
use chassis::events::relay::Relay;
use chassis::grpc::{Identity, channel};
use chassis::serve::{App, Service, Task};
use chassis::sqlite::Db;
use chassis::sqlite::outbox::SqliteOutbox;
use chassis::{Backing, Env};
use proto::order::v1::order_service_server::OrderServiceServer;
use tonic::service::Routes;

pub use config::Config;

use adapters::inbound::events::{CONSUMER, WakeOrders};
use adapters::inbound::grpc::OrderGrpc;
use adapters::inbound::ops;
use adapters::outbound::catalogue::GrpcCatalogue;
use adapters::outbound::history::LogHistory;
use adapters::outbound::payments::GrpcPayments;
use adapters::outbound::sqlite::{DATABASE, EVENTS, MIGRATIONS, SqliteOrders};
use adapters::outbound::stock::GrpcStock;
use application::driver::{Driver, Pace, Parts, Planted};
use application::orders::OrderDesk;
use application::retries::Retries;
use application::steps::StepRecorder;
use application::waiters::Waiters;
use domain::saga::Patience;

/// The name of this role.
pub const ROLE: &str = "order";

/// Builds the service: outbound adapters, use cases, inbound adapters, in that order.
///
/// # Errors
/// When a peer's address is missing or the database cannot be opened.
pub async fn build(config: Config, env: Env) -> Result<Service, StartError> {
    config.check().map_err(StartError)?;
    let Backing::Embedded(embedded) = &env.backing else { return Err(StartError("not built".into())) };
    let db = Arc::new(Db::open(&embedded.storage, DATABASE, MIGRATIONS, &env.metrics)?);
    let log = env.event_log().await?;
    let orders = Arc::new(SqliteOrders::new(db.clone()));
    let outbox = Arc::new(SqliteOutbox::new(db, EVENTS, env.clock.clone()));
    let peer = |role: &str| channel(&env, role, Identity::Service(env.clone()), config.step_timeout);

    let (steps, waiters) = (StepRecorder::default(), Waiters::default());
    let retries = Retries::new(config.retry_budget, config.retry_budget_per_s, env.clock.clone());
    env.metrics.register(|registry| {
        steps.register(registry);
        retries.register(registry);
    });
    let driver = Driver::new(Parts {
        orders: orders.clone(),
        stock: Arc::new(GrpcStock::new(peer("inventory")?)),
        payments: Arc::new(GrpcPayments::new(peer("payment")?)),
        clock: env.clock.clone(),
        tracer: env.tracer.clone(),
        seeds: env.seeds.clone(),
        steps: steps.clone(),
        retries,
        waiters: waiters.clone(),
        pace: pace(&config),
        planted: planted(&config),
    });
    let desk = OrderDesk {
        orders,
        catalogue: Arc::new(GrpcCatalogue::new(peer("product")?)),
        history: Arc::new(LogHistory { log: log.clone() }),
        driver: driver.clone(),
        waiters,
        steps: steps.clone(),
        clock: env.clock.clone(),
    };

    let wake: Arc<dyn Handler> = Arc::new(WakeOrders { driver: driver.clone() });
    let listen = |stream| -> Task {
        Box::pin(consume::listen(log.clone(), stream, CONSUMER, wake.clone(), 1, env.shutdown.clone()))
    };
    let relay = Relay { stream: Stream::Orders, outbox, log: log.clone() };
    let tasks: Vec<Task> = vec![
        Box::pin(relay.run(env.shutdown.clone())),
        listen(Stream::Payments),
        listen(Stream::Inventory),
        Box::pin(driver.run(env.shutdown.clone())),
    ];
    let app = App::Grpc(Routes::new(OrderServiceServer::new(OrderGrpc { desk })));
    Ok(Service { ops: ops::routes(steps), app, tasks, env })
}

fn pace(config: &Config) -> Pace {
    Pace {
        patience: Patience {
            attempts_max: config.attempts,
            order_deadline: config.deadline,
            operator_after: config.operator_after,
        },
        lease: config.lease,
        backoff_base: config.backoff_base,
        backoff_cap: config.backoff_cap,
        alert_after: config.alert_after,
        in_flight_max: config.in_flight_max as usize,
    }
}

#[cfg(feature = "planted-bugs")]
fn planted(config: &Config) -> Planted {
    Planted { compensate_nothing: config.planted_bug.as_deref() == Some("compensate-nothing") }
}

#[cfg(not(feature = "planted-bugs"))]
fn planted(_: &Config) -> Planted {
    Planted::default()
}
