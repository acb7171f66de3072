//! A running service on a free port, and clients in several roles.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chassis::Env;
use chassis::auth::{Keys, Role};
use chassis::clock::SystemClock;
use chassis::context::{Context, Tracer};
use chassis::grpc::{Identity, PeerChannel};
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, SystemNetwork};
use chassis::rng::Seeds;
use eventlog::{Event, EventLog};
use inventory::Config;
use kernel::OrderId;
use proto::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{
    CommitStockRequest, GetStockRequest, Line, ReleaseStockRequest, ReserveStockRequest, RestockRequest, Stock,
};
use tokio::task::JoinHandle;
use tonic::{Code, Response, Status};

use crate::family::Home;

const USER: &str = "11111111-1111-1111-1111-111111111111";

/// The service, its home and its log. The home outlives a restart.
pub struct Shop {
    home: Home,
    log: Arc<dyn EventLog>,
    server: Env,
    client: Env,
    running: JoinHandle<()>,
}

fn config(settings: &[(&str, &str)]) -> Config {
    let settings = settings.iter().map(|(name, value)| (format!("inventory.{name}"), (*value).to_owned()));
    chassis::settings::parse(inventory::ROLE, &settings.collect::<BTreeMap<_, _>>()).unwrap()
}

fn env(role: &'static str, inventory_at: &str) -> Env {
    let seeds = Seeds::from_number(1).scope(role);
    Env {
        role,
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(BTreeMap::from([(inventory::ROLE, inventory_at.to_owned())])),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(role),
        ops: Default::default(),
        chaos: false,
        shutdown: Default::default(),
    }
}

fn free_port() -> BoundPort {
    BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::start(Home::new().await, settings).await
    }

    async fn start(home: Home, settings: &[(&str, &str)]) -> Self {
        let (main, ops) = (free_port(), free_port());
        let address = main.address().unwrap().to_string();
        let server = env(inventory::ROLE, &address);
        let client = env("order", &address);
        let log = home.backing().event_log(&client).await.unwrap();
        let service = inventory::build(config(settings), server.clone(), home.backing()).await.unwrap();
        let running = tokio::spawn(chassis::serve::run(service, main.listen().unwrap(), ops.listen().unwrap()));
        Self { home, log, server, client, running }
    }

    /// Ends the process, as far as a test can, and starts another one in the same home.
    pub async fn restart(self) -> Self {
        self.restart_with("").await
    }

    /// The same; `meanwhile`, a few statements, is done while no process runs.
    pub async fn restart_with(self, meanwhile: &str) -> Self {
        self.server.shutdown.cancel();
        self.running.await.unwrap();
        self.home.execute(meanwhile).await;
        Self::start(self.home, &[]).await
    }

    pub fn metrics(&self) -> String {
        self.server.metrics.render()
    }

    /// What is behind the service.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// A client in the name of the order service.
    pub fn service(&self) -> Client {
        Client::new(&self.client, Identity::Service(self.client.clone()), None)
    }

    pub fn anonymous(&self) -> Client {
        Client::new(&self.client, Identity::Caller(self.client.clone()), None)
    }

    pub fn user(&self, role: Role) -> Client {
        let hour = Duration::from_secs(3600);
        let token = self.client.keys.issue(USER, role, hour, self.client.clock.now());
        self.bearer(&token)
    }

    pub fn bearer(&self, token: &str) -> Client {
        Client::new(&self.client, Identity::Caller(self.client.clone()), Some(token.into()))
    }

    /// The events of an aggregate in the log, once there are `count`.
    pub async fn events(&self, aggregate: &str, count: usize) -> Vec<Event> {
        let read = async || {
            let messages = self.log.read(inventory::STREAM, aggregate).await.unwrap();
            (messages.len() >= count).then(|| messages.into_iter().map(|message| message.event).collect::<Vec<_>>())
        };
        eventually(read).await
    }

    pub async fn kinds(&self, aggregate: &str, count: usize) -> Vec<String> {
        let events = self.events(aggregate, count).await;
        assert!(events.iter().map(|event| event.version).eq(1..=events.len() as i64), "versions have no gap");
        events.into_iter().map(|event| event.kind).collect()
    }
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until there is an answer; fails after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut poll: impl FnMut() -> F) -> T {
    let poll = async {
        loop {
            if let Some(value) = poll().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("it did not happen within {PATIENCE:?}"))
}

/// The order of that number.
pub fn order(number: u32) -> OrderId {
    format!("00000000-0000-0000-0000-0000{number:08x}").parse().unwrap()
}

/// A typed client with a context of its own.
#[derive(Clone)]
pub struct Client {
    grpc: InventoryServiceClient<PeerChannel>,
    context: Context,
    tries: u32,
}

impl Client {
    fn new(env: &Env, identity: Identity, token: Option<Arc<str>>) -> Self {
        let channel = chassis::grpc::channel(env, inventory::ROLE, identity, PATIENCE).unwrap();
        let trace = env.tracer.span(None);
        Self { grpc: InventoryServiceClient::new(channel), context: Context { trace, token }, tries: 1 }
    }

    /// The same, but asks again when the service is unavailable, as callers do: in a rush on a slow machine
    /// it may have no connection to spare for a moment.
    pub fn patient(self) -> Self {
        Self { tries: 30, ..self }
    }

    async fn call<Q: Clone, A, F>(
        &self,
        request: Q,
        send: impl Fn(InventoryServiceClient<PeerChannel>, Q) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut tries = 1;
        loop {
            let answer = self.context.clone().scope(send(self.grpc.clone(), request.clone())).await;
            match answer {
                Err(status) if status.code() == Code::Unavailable && tries < self.tries => tries += 1,
                other => return other.map(Response::into_inner),
            }
        }
    }

    pub fn trace_id(&self) -> u128 {
        self.context.trace.unwrap().trace_id
    }

    pub async fn reserve(&self, order: impl ToString, lines: &[(i64, u32)]) -> Result<Outcome, Status> {
        let lines = lines.iter().map(|&(product_id, quantity)| Line { product_id, quantity }).collect();
        let request = ReserveStockRequest { order_id: order.to_string(), lines };
        let answer = self.call(request, |mut grpc, request| async move { grpc.reserve_stock(request).await }).await?;
        Ok(answer.outcome.expect("an outcome"))
    }

    /// Whether there was a reservation.
    pub async fn release(&self, order: impl ToString) -> Result<bool, Status> {
        let request = ReleaseStockRequest { order_id: order.to_string() };
        let answer = self.call(request, |mut grpc, request| async move { grpc.release_stock(request).await }).await?;
        Ok(answer.had_reservation)
    }

    pub async fn commit(&self, order: impl ToString) -> Result<(), Status> {
        let request = CommitStockRequest { order_id: order.to_string() };
        self.call(request, |mut grpc, request| async move { grpc.commit_stock(request).await }).await?;
        Ok(())
    }

    pub async fn stock(&self, product_id: i64) -> Result<Stock, Status> {
        let request = GetStockRequest { product_id };
        self.call(request, |mut grpc, request| async move { grpc.get_stock(request).await }).await
    }

    /// (available, reserved, sold)
    pub async fn counts(&self, product_id: i64) -> (i64, i64, i64) {
        let stock = self.stock(product_id).await.unwrap();
        (stock.available, stock.reserved, stock.sold)
    }

    pub async fn restock(&self, id: &str, product_id: i64, quantity: u32) -> Result<Stock, Status> {
        let request = RestockRequest { product_id, quantity, restock_id: id.to_owned() };
        self.call(request, |mut grpc, request| async move { grpc.restock(request).await }).await
    }
}

/// The code and the message of a refusal.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("it should have been refused");
    (status.code(), status.message().to_owned())
}
