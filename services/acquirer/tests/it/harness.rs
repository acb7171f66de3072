//! Starts the service on a free port and calls it with the generated client.

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
use chassis::settings;
use proto::acquirer::v1::acquirer_service_client::AcquirerServiceClient;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::family::Family;

pub type Client = AcquirerServiceClient<PeerChannel>;

/// A running acquirer; it stops when this is dropped.
pub struct Running {
    pub env: Env,
    pub family: Family,
    ops: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.env.shutdown.cancel();
    }
}

/// Starts an acquirer with these settings, such as `("acquirer.latency", "0ms")`.
pub async fn start(settings: &[(&str, &str)]) -> Running {
    start_with(settings, false).await
}

/// The same, open to faults.
pub async fn start_with_chaos(settings: &[(&str, &str)]) -> Running {
    start_with(settings, true).await
}

async fn start_with(settings: &[(&str, &str)], chaos: bool) -> Running {
    let family = Family::new();
    let main = BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let ops = BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let clock = Arc::new(SystemClock);
    let seeds = Seeds::from_number(1);
    let env = Env {
        role: acquirer::ROLE,
        clock,
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(BTreeMap::from([(acquirer::ROLE, main.address().unwrap().to_string())])),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(acquirer::ROLE),
        ops: Arc::default(),
        chaos,
        shutdown: CancellationToken::new(),
    };
    let values = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = settings::parse(acquirer::ROLE, &values).unwrap();
    let service = acquirer::build(config, env.clone(), family.backing()).await.unwrap();
    let ops_address = ops.address().unwrap().to_string();
    tokio::spawn(chassis::serve::run(service, main.listen().unwrap(), ops.listen().unwrap()));
    Running { env, family, ops: ops_address }
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

impl Running {
    /// A client in a service's name, with a deadline for each call.
    pub fn client_within(&self, deadline: Duration) -> Client {
        let channel = channel(&self.env, acquirer::ROLE, Identity::Service(self.env.clone()), deadline).unwrap();
        AcquirerServiceClient::new(channel)
    }

    pub fn client(&self) -> Client {
        self.client_within(PATIENCE)
    }

    /// A client that hands on the token of the context it is called in.
    pub fn client_of_caller(&self) -> Client {
        let identity = Identity::Caller(self.env.clone());
        AcquirerServiceClient::new(channel(&self.env, acquirer::ROLE, identity, PATIENCE).unwrap())
    }

    pub fn customer(&self) -> Context {
        let token = self.env.keys.issue(
            "00000000-0000-0000-0000-000000000001",
            Role::Customer,
            Duration::from_secs(60),
            self.env.clock.now(),
        );
        Context { trace: None, token: Some(token.into()) }
    }

    /// What the ops port answers to a service.
    pub async fn ops(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = self.env.keys.issue("sim", Role::Service, Duration::from_secs(60), self.env.clock.now());
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\nauthorization: Bearer {token}");
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut socket = SystemNetwork.connect(&self.ops).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Injects a fault that is called as its kind.
    pub async fn inject(&self, kind: &str, parameters: &[(&str, &str)]) {
        let name = kind.replace('_', "-");
        let parameters: BTreeMap<_, _> = parameters.iter().copied().collect();
        let body = json!({"kind": kind, "parameters": parameters}).to_string();
        let (status, answer) = self.ops("PUT", &format!("/chaos/faults/{name}"), &body).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Lifts the fault of this kind, and answers how many calls it touched.
    pub async fn lift(&self, kind: &str) -> u64 {
        let name = kind.replace('_', "-");
        let (status, answer) = self.ops("DELETE", &format!("/chaos/faults/{name}"), "").await;
        assert_eq!(status, 200, "{answer}");
        answer["hits"].as_u64().unwrap()
    }

    /// How many calls each active fault has touched, oldest first.
    pub async fn hits(&self) -> Vec<u64> {
        let (_, faults) = self.ops("GET", "/chaos/faults", "").await;
        faults["active"].as_array().unwrap().iter().map(|fault| fault["hits"].as_u64().unwrap()).collect()
    }
}
