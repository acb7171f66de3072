//! Starts a gateway with fake peers, and speaks HTTP/1.1 to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::Env;
use chassis::auth::{Keys, Role};
use chassis::clock::SharedClock;
use chassis::context::Tracer;
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, Network, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::{self, App, Service};
use eventlog::Backing;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::fakes::Fakes;

pub const USER: &str = "00000000-0000-0000-0000-000000000001";
/// The only ops port that the gateway is told of.
pub const PAYMENT_OPS: &str = "payment.test:9001";
pub const PEERS: [&str; 5] = ["user", "product", "order", "payment", "inventory"];

pub struct Shop {
    pub gateway: SocketAddr,
    pub ops: SocketAddr,
    pub fakes: Fakes,
    keys: Keys,
    clock: SharedClock,
    _folder: TempDir,
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The slug of a problem; checks on the way that it is one.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(!body["title"].as_str().unwrap().is_empty());
        body["type"].as_str().unwrap().strip_prefix("urn:shopctl:problem:").unwrap().to_owned()
    }

    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

/// A gateway with default settings but for those given.
pub async fn shop_with(settings: &[(&str, &str)]) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let backing = crate::family::backing(folder.path());
    shop_on(backing, settings, folder).await
}

pub async fn shop_on(backing: Backing, settings: &[(&str, &str)], folder: TempDir) -> Shop {
    let fakes_port = BoundPort::bind(local()).unwrap();
    let address = fakes_port.address().unwrap().to_string();
    let peers = PEERS.map(|role| (role, address.clone())).into();
    start(settings, peers, Some(fakes_port), backing, folder).await
}

pub async fn shop() -> Shop {
    shop_with(&[]).await
}

/// A gateway whose peers are all down.
pub async fn shop_without_peers() -> Shop {
    // Bound and closed again: nobody listens there.
    let address = BoundPort::bind(local()).unwrap().address().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let backing = crate::family::backing(folder.path());
    start(&[], PEERS.map(|role| (role, address.clone())).into(), None, backing, folder).await
}

pub fn env(role: &'static str, peers: BTreeMap<&'static str, String>) -> Env {
    let seeds = Seeds::from_number(1).scope(role);
    Env {
        role,
        clock: crate::family::clock(),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(peers),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(role),
        ops: Arc::new(BTreeMap::from([("payment", PAYMENT_OPS.to_owned())])),
        chaos: false,
        shutdown: CancellationToken::new(),
    }
}

async fn start(
    settings: &[(&str, &str)],
    peers: BTreeMap<&'static str, String>,
    behind: Option<BoundPort>,
    backing: Backing,
    folder: TempDir,
) -> Shop {
    let fakes = Fakes::default();
    if let Some(port) = behind {
        let env = env("fakes", BTreeMap::new());
        let app = App::Grpc(fakes.routes());
        run(Service { env, app, ops: axum::Router::new(), tasks: Vec::new() }, port);
    }
    let settings = settings.iter().map(|(name, value)| (format!("gateway.{name}"), (*value).to_owned())).collect();
    let config = chassis::settings::parse(gateway::ROLE, &settings).unwrap();
    let service = gateway::build(config, env(gateway::ROLE, peers), backing).await.unwrap();
    let (keys, clock) = (service.env.keys.clone(), service.env.clock.clone());
    let port = BoundPort::bind(local()).unwrap();
    let gateway = port.address().unwrap();
    let ops = run(service, port);
    Shop { gateway, ops, fakes, keys, clock, _folder: folder }
}

fn run(service: Service, port: BoundPort) -> SocketAddr {
    let ops = BoundPort::bind(local()).unwrap();
    let address = ops.address().unwrap();
    tokio::spawn(serve::run(service, port.listen().unwrap(), ops.listen().unwrap()));
    address
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Shop {
    pub fn token(&self, role: Role) -> String {
        self.token_for(USER, role, Duration::from_secs(60))
    }

    pub fn token_for(&self, sub: &str, role: Role, ttl: Duration) -> String {
        self.keys.issue(sub, role, ttl, self.clock.now())
    }

    /// A request in the making, under `/api/v1`.
    pub fn ask<'a>(&'a self, method: &str, path: &str) -> Ask<'a> {
        Ask {
            shop: self,
            method: method.parse().unwrap(),
            path: format!("/api/v1{path}"),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Whatever the gateway answers to these bytes until it hangs up, or until `enough` of the answer is there.
    pub async fn raw(&self, said: &[u8], enough: impl Fn(&str) -> bool) -> String {
        let mut socket = SystemNetwork.connect(&self.gateway.to_string()).await.unwrap();
        // It may hang up before it has read everything.
        let _ = socket.write_all(said).await;
        let mut answer = Vec::new();
        let reading = async {
            while !enough(&String::from_utf8_lossy(&answer)) {
                if !matches!(socket.read_buf(&mut answer).await, Ok(1..)) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Full::default()).unwrap();
        send(self.ops, request).await.text
    }
}

pub struct Ask<'a> {
    shop: &'a Shop,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn by(self, role: Role) -> Self {
        let token = self.shop.token(role);
        self.bearer(&token)
    }

    pub fn json(self, body: Value) -> Self {
        self.text(&body.to_string())
    }

    pub fn text(mut self, body: &str) -> Self {
        self.body = Some(Bytes::copy_from_slice(body.as_bytes()));
        self
    }

    /// A body that need not be text.
    pub fn bytes(mut self, body: &[u8]) -> Self {
        self.body = Some(Bytes::copy_from_slice(body));
        self
    }

    /// The path as it is, without the prefix.
    pub fn at(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    pub async fn send(self) -> Reply {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let body = self.body.map(Full::new).unwrap_or_default();
        send(self.shop.gateway, request.body(body).unwrap()).await
    }
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    let socket = SystemNetwork.connect(&address.to_string()).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    // The connection lives in this future, so that dropping the request hangs up.
    let exchange = async {
        let response = client.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        reply = &mut exchange => reply,
        _ = &mut connection => exchange.await,
    }
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again until `holds`, for at most [`PATIENCE`].
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
