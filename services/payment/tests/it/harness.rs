//! Starts the service and its acquirer on free ports and calls it with the generated client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::Env;
use chassis::auth::{Keys, Role};
use chassis::clock::SystemClock;
use chassis::context::{Context, Tracer};
use chassis::grpc::{Identity, PeerChannel, channel};
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, Network, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::Service;
use chassis::settings;
use eventlog::EventLog;
use kernel::UserId;
use proto::payment::v1::payment_service_client::PaymentServiceClient;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::family::Family;

pub type Client = PaymentServiceClient<PeerChannel>;

/// A running payment service; it stops when this is dropped, as does its acquirer.
pub struct Running {
    pub env: Env,
    pub family: Family,
    pub log: Arc<dyn EventLog>,
    /// Stops the acquirer alone.
    pub acquirer: CancellationToken,
    ops_address: String,
    acquirer_ops: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.env.shutdown.cancel();
        self.acquirer.cancel();
    }
}

fn port() -> (BoundPort, String) {
    let port = BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = port.address().unwrap().to_string();
    (port, address)
}

/// A busy machine is no outage: unless a test is about the provider's time, no call is too late and none is slow.
const NEVER_LATE: [(&str, &str); 2] = [("payment.provider_timeout", "60s"), ("payment.breaker_slow_call", "60s")];

fn values(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let settings = [&NEVER_LATE[..], settings].concat();
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a role is lent, open to faults, with its peers at these addresses.
fn env(role: &'static str, peers: BTreeMap<&'static str, String>) -> Env {
    let seeds = Seeds::from_number(1).scope(role);
    Env {
        role,
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(peers),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(role),
        ops: Arc::default(),
        chaos: true,
        shutdown: CancellationToken::new(),
    }
}

fn serve(service: Service, main: BoundPort, ops: BoundPort) {
    tokio::spawn(chassis::serve::run(service, main.listen().unwrap(), ops.listen().unwrap()));
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Starts both with these settings, such as `("acquirer.latency", "0ms")`.
pub async fn start(settings: &[(&str, &str)]) -> Running {
    let family = Family::new();
    let ((main, address), (ops, ops_address)) = (port(), port());
    let ((acquirer_main, acquirer_address), (acquirer_ops, acquirer_ops_address)) = (port(), port());
    let peers = BTreeMap::from([(payment::ROLE, address), (acquirer::ROLE, acquirer_address)]);
    let values = values(settings);

    let acquirer_env = env(acquirer::ROLE, peers.clone());
    let acquirer_stop = acquirer_env.shutdown.clone();
    let config = settings::parse(acquirer::ROLE, &values).unwrap();
    serve(acquirer::build(config, acquirer_env, family.backing()).await.unwrap(), acquirer_main, acquirer_ops);

    let env = env(payment::ROLE, peers);
    let config = settings::parse(payment::ROLE, &values).unwrap();
    serve(payment::build(config, env.clone(), family.backing()).await.unwrap(), main, ops);
    let log = family.backing().event_log(&env).await.unwrap();
    Running { env, family, log, acquirer: acquirer_stop, ops_address, acquirer_ops: acquirer_ops_address }
}

/// Why a payment service with these settings does not start, if so.
pub async fn refusal_to_start(settings: &[(&str, &str)], peers: BTreeMap<&'static str, String>) -> Option<String> {
    let family = Family::new();
    let config = settings::parse(payment::ROLE, &values(settings)).unwrap();
    let built = payment::build(config, env(payment::ROLE, peers), family.backing()).await;
    built.err().map(|error| error.to_string())
}

impl Running {
    fn client_as(&self, identity: Identity) -> Client {
        PaymentServiceClient::new(channel(&self.env, payment::ROLE, identity, PATIENCE).unwrap())
    }

    /// A client in a service's name.
    pub fn client(&self) -> Client {
        self.client_as(Identity::Service(self.env.clone()))
    }

    /// A client that hands on the token of the context it is called in.
    pub fn client_of_caller(&self) -> Client {
        self.client_as(Identity::Caller(self.env.clone()))
    }

    pub fn context_of(&self, user: UserId, role: Role) -> Context {
        let token = self.env.keys.issue(&user.to_string(), role, Duration::from_secs(60), self.env.clock.now());
        Context { trace: None, token: Some(token.into()) }
    }

    /// The body that the ops port answers to `GET path`.
    pub async fn ops(&self, path: &str) -> String {
        let (status, body) = self.ask(&self.ops_address, "GET", path, "").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Breaks something at the breaker, or mends it.
    pub async fn breaker_faults(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(&self.ops_address, method, &format!("/chaos/faults{path}"), body).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The same at the payment provider.
    pub async fn provider_faults(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(&self.acquirer_ops, method, &format!("/chaos/faults{path}"), body).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// What an ops port answers to a service.
    async fn ask(&self, address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let token = self.env.keys.issue("sim", Role::Service, Duration::from_secs(60), self.env.clock.now());
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\nauthorization: Bearer {token}");
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut socket = SystemNetwork.connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}
