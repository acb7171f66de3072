//! The built service on a free port, its peers on theirs, and clients in several roles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::Env;
use chassis::auth::{Keys, Role};
use chassis::clock::{Clock, SystemClock};
use chassis::context::{Context, Tracer};
use chassis::env::StartError;
use chassis::grpc::{Identity, PeerChannel};
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, Network, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::{App, Service};
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded, Event, EventLog, Publish, Stream};
use order::Config;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{
    Attempt, CancelOrderRequest, CreateOrderRequest, CreateOrderResponse, GetAttemptsRequest, GetHistoryRequest,
    GetOrderRequest, HistoryEvent, Item, ListOrdersRequest, ListStuckRequest, Order, RebuildProjectionRequest,
    RebuildProjectionResponse, RetryOrderRequest, StuckOrder, item::Product,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::harness::{PATIENCE, storage, user, within};
use crate::peers::Peers;
use crate::world::World;

/// The service, its files, its log and its peers. All but the service outlive a restart.
pub struct Site {
    pub world: World,
    pub peers: Peers,
    folder: TempDir,
    backing: Backing,
    pub log: Arc<dyn EventLog>,
    addresses: Arc<BTreeMap<&'static str, String>>,
    server: Env,
    ops: String,
    running: JoinHandle<()>,
}

pub fn config(settings: &[(&str, &str)]) -> Config {
    let settings = settings.iter().map(|(name, value)| (format!("order.{name}"), (*value).to_owned()));
    chassis::settings::parse(order::ROLE, &settings.collect::<BTreeMap<_, _>>()).unwrap()
}

fn free_port() -> BoundPort {
    BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

fn embedded(folder: &TempDir) -> Backing {
    let log = Arc::new(SqliteEventLog::open(&storage(folder), Arc::new(SystemClock)).unwrap());
    Backing::Embedded(Embedded { storage: storage(folder), log })
}

fn env(role: &'static str, addresses: &Arc<BTreeMap<&'static str, String>>) -> Env {
    let seeds = Seeds::from_number(1).scope(role);
    Env {
        role,
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: addresses.clone(),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(role),
        ops: Default::default(),
        chaos: false,
        shutdown: Default::default(),
    }
}

/// Whether the service can be built with these settings and these peers.
pub async fn build(settings: &[(&str, &str)], peers: &[&'static str]) -> Result<(), StartError> {
    let folder = tempfile::tempdir().unwrap();
    let addresses = peers.iter().map(|role| (*role, "127.0.0.1:1".to_owned())).collect();
    order::build(config(settings), env(order::ROLE, &Arc::new(addresses)), embedded(&folder)).await.map(drop)
}

impl Site {
    pub async fn open() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backing = embedded(&folder);
        Self::on(folder, backing, settings).await
    }

    /// On servers, whoever calls keeps them running.
    pub async fn on(folder: TempDir, backing: Backing, settings: &[(&str, &str)]) -> Self {
        let world = World::with_units(100);
        let peers = Peers::new(world.clone());
        let mut ports = BTreeMap::from(["product", "inventory", "payment", "order"].map(|role| (role, free_port())));
        let addresses = ports.iter().map(|(role, port)| (*role, port.address().unwrap().to_string())).collect();
        let addresses = Arc::new(addresses);
        let main = ports.remove("order").unwrap();
        for (role, port) in ports {
            let env = env(role, &addresses);
            let app = App::Grpc(peers.routes(role));
            let service = Service { env, app, ops: axum::Router::new(), tasks: Vec::new() };
            tokio::spawn(chassis::serve::run(service, port.listen().unwrap(), free_port().listen().unwrap()));
        }
        Self::start(world, peers, folder, backing, addresses, main, settings).await
    }

    async fn start(
        world: World,
        peers: Peers,
        folder: TempDir,
        backing: Backing,
        addresses: Arc<BTreeMap<&'static str, String>>,
        main: BoundPort,
        settings: &[(&str, &str)],
    ) -> Self {
        let server = env(order::ROLE, &addresses);
        let log = backing.event_log(&server).await.unwrap();
        let service = order::build(config(settings), server.clone(), backing.clone()).await.unwrap();
        let ops_port = free_port();
        let ops = ops_port.address().unwrap().to_string();
        let running = tokio::spawn(chassis::serve::run(service, main.listen().unwrap(), ops_port.listen().unwrap()));
        Self { world, peers, folder, backing, log, addresses, server, ops, running }
    }

    /// Ends the process, as far as a test can, and starts another one over the same files.
    pub async fn restart(self) -> Self {
        self.server.shutdown.cancel();
        self.running.abort();
        let Self { world, peers, folder, backing, addresses, .. } = self;
        let main = free_port();
        let mut addresses = (*addresses).clone();
        addresses.insert(order::ROLE, main.address().unwrap().to_string());
        Self::start(world, peers, folder, backing, Arc::new(addresses), main, &[]).await
    }

    pub fn anonymous(&self) -> Client {
        self.client(None)
    }

    pub fn user(&self, number: u128) -> Client {
        self.token(&user(number).to_string(), Role::Customer)
    }

    pub fn staff(&self) -> Client {
        self.token(&user(99).to_string(), Role::Staff)
    }

    pub fn admin(&self) -> Client {
        self.token(&user(98).to_string(), Role::Admin)
    }

    pub fn service(&self) -> Client {
        self.token("gateway", Role::Service)
    }

    fn token(&self, subject: &str, role: Role) -> Client {
        let hour = Duration::from_secs(3600);
        self.client(Some(&self.server.keys.issue(subject, role, hour, SystemClock.now())))
    }

    pub fn client(&self, token: Option<&str>) -> Client {
        let env = env("gateway", &self.addresses);
        let identity = Identity::Caller(env.clone());
        let channel = chassis::grpc::channel(&env, order::ROLE, identity, PATIENCE).unwrap();
        let context = Context { trace: env.tracer.span(None), token: token.map(Into::into) };
        Client { grpc: OrderServiceClient::new(channel), context }
    }

    /// A second connection to the service's database.
    pub fn database(&self) -> rusqlite::Connection {
        storage(&self.folder).open_read_only("order_db").unwrap()
    }

    /// The log forgets an order.
    pub fn lose_events(&self, id: &str) {
        let sql = format!("DELETE FROM messages WHERE aggregate = '{id}'");
        storage(&self.folder).open("event_log").unwrap().execute_batch(&sql).unwrap();
    }

    /// Changes the database behind the service's back.
    pub async fn tamper(&self, sql: &str) {
        let connection = storage(&self.folder).open("order_db").unwrap();
        // The service has tasks on this thread, which cannot commit while it waits in line.
        connection.busy_timeout(Duration::ZERO).unwrap();
        eventually(async || connection.execute_batch(sql).ok()).await;
    }

    /// What the log says about an order, once there are `count` events.
    pub async fn published(&self, id: &str, count: usize) -> Vec<Event> {
        eventually(async || {
            let messages = self.log.read(order::STREAM, id).await.unwrap();
            (messages.len() >= count).then(|| messages.into_iter().map(|message| message.event).collect())
        })
        .await
    }

    /// Somebody else's event about an order.
    pub async fn publish(&self, stream: Stream, kind: &str, id: &str) {
        let event = Event {
            aggregate: id.into(),
            version: 1,
            kind: kind.into(),
            data: "{}".into(),
            occurred_at: SystemClock.now(),
            traceparent: None,
        };
        self.log.publish(stream, &[Publish { event, expected_last: 0 }]).await.pop().unwrap().unwrap();
    }

    /// The answer of the ops port, head and body.
    pub async fn ops(&self, path: &str) -> String {
        let mut socket = SystemNetwork.connect(&self.ops).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// Polls until there is an answer; fails after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(poll: impl FnMut() -> F) -> T {
    within(PATIENCE, poll).await
}

pub fn by_id(product: i64, quantity: u32) -> Item {
    Item { product: Some(Product::ProductId(product)), quantity }
}

pub fn by_sku(sku: &str, quantity: u32) -> Item {
    Item { product: Some(Product::Sku(sku.into())), quantity }
}

/// An order by user 1 of one unit of product 1, waiting for its end.
pub fn request(key: &str) -> CreateOrderRequest {
    CreateOrderRequest {
        user_id: user(1).to_string(),
        idempotency_key: key.into(),
        items: vec![by_id(1, 1)],
        wait_ms: 30_000,
    }
}

/// A typed client with a trace of its own.
#[derive(Clone)]
pub struct Client {
    grpc: OrderServiceClient<PeerChannel>,
    pub context: Context,
}

impl Client {
    pub async fn create(&self, request: CreateOrderRequest) -> Result<CreateOrderResponse, Status> {
        Ok(self.context.clone().scope(self.grpc.clone().create_order(request)).await?.into_inner())
    }

    /// Creates and answers the order.
    pub async fn order(&self, request: CreateOrderRequest) -> Order {
        self.create(request).await.unwrap().order.unwrap()
    }

    pub async fn get(&self, id: &str) -> Result<Order, Status> {
        let request = GetOrderRequest { id: id.into() };
        Ok(self.context.clone().scope(self.grpc.clone().get_order(request)).await?.into_inner())
    }

    pub async fn cancel(&self, id: &str) -> Result<Order, Status> {
        let request = CancelOrderRequest { id: id.into() };
        Ok(self.context.clone().scope(self.grpc.clone().cancel_order(request)).await?.into_inner())
    }

    pub async fn history(&self, id: &str) -> Result<Vec<HistoryEvent>, Status> {
        let request = GetHistoryRequest { id: id.into() };
        Ok(self.context.clone().scope(self.grpc.clone().get_history(request)).await?.into_inner().events)
    }

    pub async fn list(&self, user_id: &str, after_created_us: i64, limit: u32) -> Result<Vec<Order>, Status> {
        self.list_behind(user_id, after_created_us, "", limit).await
    }

    pub async fn list_behind(
        &self,
        user_id: &str,
        after_created_us: i64,
        after_id: &str,
        limit: u32,
    ) -> Result<Vec<Order>, Status> {
        let (user_id, after_id) = (user_id.into(), after_id.into());
        let request = ListOrdersRequest { user_id, after_created_us, limit, after_id };
        Ok(self.context.clone().scope(self.grpc.clone().list_orders(request)).await?.into_inner().orders)
    }

    pub async fn attempts(&self, id: &str, after_sequence: i64, limit: u32) -> Result<Vec<Attempt>, Status> {
        let request = GetAttemptsRequest { id: id.into(), after_sequence, limit };
        Ok(self.context.clone().scope(self.grpc.clone().get_attempts(request)).await?.into_inner().attempts)
    }

    pub async fn stuck(&self, request: ListStuckRequest) -> Result<Vec<StuckOrder>, Status> {
        Ok(self.context.clone().scope(self.grpc.clone().list_stuck(request)).await?.into_inner().orders)
    }

    pub async fn retry(&self, id: &str) -> Result<Order, Status> {
        let request = RetryOrderRequest { id: id.into() };
        Ok(self.context.clone().scope(self.grpc.clone().retry_order(request)).await?.into_inner())
    }

    pub async fn rebuild(&self) -> Result<RebuildProjectionResponse, Status> {
        let request = RebuildProjectionRequest {};
        Ok(self.context.clone().scope(self.grpc.clone().rebuild_projection(request)).await?.into_inner())
    }

    /// The order, once it is in this state.
    pub async fn becomes(&self, id: &str, status: &str) -> Order {
        eventually(async || Some(self.get(id).await.unwrap()).filter(|order| order.status == status)).await
    }
}
