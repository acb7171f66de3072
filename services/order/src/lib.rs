//! The order service: it takes orders, carries each through its saga, and remembers everything
//! that happened to it.
//!
//! - `domain` — [`domain::order`] is the event-sourced aggregate (which states follow which),
//!   [`domain::saga`] the decision of what to do next and what an answer means. No IO.
//! - `application` — [`application::orders`] places, shows and cancels orders;
//!   [`application::driver`] drives them and picks up those that are due; [`application::rebuild`] makes
//!   their projection anew; [`application::ports`] says what they need of the world.
//! - `adapters/inbound` — gRPC for clients and operators, the event log's news, `/steps` for the recorder.
//! - `adapters/outbound` — SQLite or PostgreSQL for orders and outbox, memory or Redis for idempotency keys,
//!   gRPC to product, inventory and payment, the event log for histories.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;

use std::sync::Arc;

use chassis::Env;
use chassis::clock::{SharedClock, SteadyClock};
use chassis::env::StartError;
use chassis::grpc::{Identity, channel, serving};
use chassis::serve::{App, Building, Service, Task};
use eventlog::consume::{self, Handler};
use eventlog::outbox::postgres::PostgresOutbox;
use eventlog::outbox::sqlite::SqliteOutbox;
use eventlog::relay::Relay;
use eventlog::{Backing, Outbox};
use proto::order::v1::order_service_server::OrderServiceServer;
use store::redis::Redis;
use store::{postgres, sqlite};

pub use adapters::streams::{CONSUMED, ORDERS as STREAM};
pub use config::Config;

use adapters::inbound::events::{CONSUMER, Ignored, WakeOrders};
use adapters::inbound::grpc::OrderGrpc;
use adapters::inbound::ops;
use adapters::outbound::catalogue::GrpcCatalogue;
use adapters::outbound::history::LogHistory;
use adapters::outbound::memory::InProcessKeys;
use adapters::outbound::payments::GrpcPayments;
use adapters::outbound::postgres::{MIGRATIONS as POSTGRES_MIGRATIONS, PostgresOrders};
use adapters::outbound::redis::RedisKeys;
pub use adapters::outbound::rows::DATABASE;
use adapters::outbound::rows::EVENTS;
use adapters::outbound::sqlite::{MIGRATIONS as SQLITE_MIGRATIONS, SqliteOrders};
use adapters::outbound::stock::GrpcStock;
use application::driver::{Driver, Pace, Parts};
use application::orders::OrderDesk;
use application::ports::{IdempotencyKeys, Orders, Projection};
use application::rebuild::{Limits, Rebuilder};
use application::retries::Retries;
use application::steps::StepRecorder;
use application::trade::Trade;
use application::waiters::Waiters;
use domain::saga::Patience;

/// How many events of participants are looked at at once: what they wake is written together.
const NEWS_AT_ONCE: usize = 64;

/// The name of this role.
pub const ROLE: &str = "order";

/// Builds the service: outbound adapters, use cases, inbound adapters, in that order.
///
/// # Errors
/// When a peer's address is missing, or a database or a server cannot be opened.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    config.check().map_err(StartError)?;
    // What is due and what is too old is for this process to say, whatever the wall clock does meanwhile.
    let clock: SharedClock = Arc::new(SteadyClock::start(env.clock.clone()));
    let Stores { orders, projection, outbox, keys } = stores(&config, &env, &backing, clock.clone()).await?;
    let log = backing.event_log(&env).await?;
    let peer = |role: &str| channel(&env, role, Identity::Service(env.clone()), config.step_timeout);

    let (steps, ignored, waiters) = (StepRecorder::new(env.metrics.is_on()), Ignored::default(), Waiters::default());
    let trade = Trade::default();
    let retries = Retries::new(config.retry_budget, config.retry_budget_per_s, clock.clone());
    env.metrics.register(|registry| {
        steps.register(registry);
        retries.register(registry);
        trade.register(registry);
        ignored.register(registry);
    });
    let driver = Driver::new(Parts {
        orders: orders.clone(),
        stock: Arc::new(GrpcStock::new(peer("inventory")?)),
        payments: Arc::new(GrpcPayments::new(peer("payment")?)),
        clock: clock.clone(),
        tracer: env.tracer.clone(),
        seeds: env.seeds.clone(),
        steps: steps.clone(),
        retries,
        trade,
        waiters: waiters.clone(),
        pace: pace(&config),
        #[cfg(feature = "planted-bugs")]
        planted: application::planted::Planted::new(config.planted_bug),
    });
    let history = Arc::new(LogHistory { log: log.clone() });
    let rebuilder = Rebuilder::new(history.clone(), projection, driver.clone(), clock.clone(), Limits::default());
    let desk = OrderDesk {
        orders,
        keys,
        catalogue: Arc::new(GrpcCatalogue::new(peer("product")?)),
        history,
        driver: driver.clone(),
        waiters,
        steps: steps.clone(),
        clock,
    };

    let wake: Arc<dyn Handler> = Arc::new(WakeOrders { driver: driver.clone(), ignored });
    let listen = |stream| -> Task {
        consume::listen(log.clone(), stream, CONSUMER, wake.clone(), NEWS_AT_ONCE, env.shutdown.clone())
    };
    let relay = Relay { stream: STREAM, outbox, log: log.clone() };
    let mut tasks: Vec<Task> = vec![relay.run(env.shutdown.clone())];
    tasks.extend(CONSUMED.map(listen));
    tasks.push(Box::pin(driver.run(env.shutdown.clone())));
    let app = App::Grpc(serving(&env, OrderServiceServer::new(OrderGrpc { desk, rebuilder }), proto::DESCRIPTORS)?);
    Ok(Service { ops: ops::routes(steps), app, tasks, env })
}

/// What is kept, by either family of adapters.
struct Stores {
    orders: Arc<dyn Orders>,
    projection: Arc<dyn Projection>,
    outbox: Arc<dyn Outbox>,
    keys: Arc<dyn IdempotencyKeys>,
}

async fn stores(config: &Config, env: &Env, backing: &Backing, clock: SharedClock) -> Result<Stores, StartError> {
    match backing {
        Backing::Embedded(embedded) => {
            let db = Arc::new(sqlite::Db::open(&embedded.storage, DATABASE, SQLITE_MIGRATIONS, &env.metrics)?);
            let orders = SqliteOrders::new(db.clone());
            #[cfg(feature = "planted-bugs")]
            let orders = orders.with_planted_bug(config.planted_bug);
            let orders = Arc::new(orders);
            let outbox: Arc<dyn Outbox> = Arc::new(SqliteOutbox::new(db, EVENTS, clock.clone()));
            #[cfg(feature = "planted-bugs")]
            let outbox = adapters::outbound::planted::outbox(outbox, config.planted_bug);
            let keys = Arc::new(InProcessKeys::new(config.idempotency_ttl, clock));
            Ok(Stores { orders: orders.clone(), projection: orders, outbox, keys })
        }
        Backing::Servers(servers) => {
            #[cfg(feature = "planted-bugs")]
            adapters::outbound::planted::not_on_servers(config.planted_bug)?;
            let db = Arc::new(postgres::Db::open(servers, DATABASE, POSTGRES_MIGRATIONS, &env.metrics).await?);
            let orders = Arc::new(PostgresOrders::new(db.clone(), &env.metrics));
            let outbox = Arc::new(PostgresOutbox::new(db, EVENTS, clock));
            let redis = Arc::new(Redis::connect(servers).await?);
            let keys = Arc::new(RedisKeys::new(redis, config.idempotency_ttl));
            Ok(Stores { orders: orders.clone(), projection: orders, outbox, keys })
        }
    }
}

fn pace(config: &Config) -> Pace {
    Pace {
        patience: Patience {
            attempts_max: config.attempts,
            order_deadline: config.deadline,
            operator_after: config.operator_after,
        },
        lease: config.lease,
        renewed_below: (config.lease + config.step_timeout) / 2,
        backoff_base: config.backoff_base,
        backoff_cap: config.backoff_cap,
        alert_after: config.alert_after,
        in_flight_max: config.in_flight_max as usize,
    }
}
