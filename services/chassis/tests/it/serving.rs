//! Serving over real sockets: the ops port, the drain, and what the gRPC guard does to every call.
//! Where only time matters, the sockets are in memory, so that time can be paused.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use chassis::Clock;
use chassis::auth::{Caller, Keys, Role};
use chassis::clock::SystemClock;
use chassis::context::{Context, Trace, Tracer};
use chassis::env::Env;
use chassis::grpc::{Identity, PeerChannel, channel};
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, Listener, Network, Socket, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::{App, Service, run};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kernel::Timestamp;
use proto::acquirer::v1::acquirer_service_client::AcquirerServiceClient;
use proto::acquirer::v1::acquirer_service_server::{AcquirerService, AcquirerServiceServer};
use proto::acquirer::v1::{
    ChargeRequest, ChargeResponse, RefundRequest, RefundResponse, StatusRequest, StatusResponse, VoidRequest,
    VoidResponse,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::world::{PATIENCE, soon};

#[path = "hazard.rs"]
mod hazard;
#[path = "standard.rs"]
mod standard;

type Client = AcquirerServiceClient<PeerChannel>;

const CALLER: &str = "caller";
const CALLEE: &str = "callee";
const METHOD: &str = "acquirer.v1.AcquirerService/Status";

/// What a handler saw of a call.
#[derive(Debug, Clone)]
struct Seen {
    caller: Caller,
    trace: Option<Trace>,
}

/// A service whose one method does as its key says: `hold` waits to be released, `never` has no
/// end, `onward` asks the next service, anything else answers.
#[derive(Clone, Default)]
struct Probe {
    seen: Arc<Mutex<Vec<Seen>>>,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    dropped: Arc<Notify>,
    next: Option<Client>,
}

/// Tells when the handler's future ends before its time.
struct Alarm(Arc<Notify>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl AcquirerService for Probe {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let seen = Seen { caller: Caller::of(&request), trace: Context::current().trace };
        self.seen.lock().unwrap().push(seen);
        self.entered.notify_one();
        let answer = StatusResponse { reference: "here".into(), ..StatusResponse::default() };
        match request.into_inner().key.as_str() {
            "hold" => self.release.notified().await,
            "never" => {
                let _alarm = Alarm(self.dropped.clone());
                std::future::pending::<()>().await;
            }
            "onward" => {
                let mut next = self.next.clone().unwrap();
                return next.status(StatusRequest { key: "now".into() }).await;
            }
            _ => {}
        }
        Ok(Response::new(answer))
    }

    async fn charge(&self, _: Request<ChargeRequest>) -> Result<Response<ChargeResponse>, Status> {
        Err(Status::internal("not asked here"))
    }
    async fn void(&self, _: Request<VoidRequest>) -> Result<Response<VoidResponse>, Status> {
        Err(Status::internal("not asked here"))
    }
    async fn refund(&self, _: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        Err(Status::internal("not asked here"))
    }
}

impl Probe {
    fn grpc(&self) -> App {
        App::Grpc(Routes::new(AcquirerServiceServer::new(self.clone())))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A running service; it is stopped when this is dropped.
struct Running {
    env: Env,
    ops: String,
    main: String,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.env.shutdown.cancel();
    }
}

pub fn env(role: &'static str, peers: BTreeMap<&'static str, String>) -> Env {
    let clock = Arc::new(SystemClock);
    let seeds = Seeds::from_number(1).scope(role);
    Env {
        role,
        clock,
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(peers),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(role),
        ops: Arc::default(),
        chaos: false,
        shutdown: CancellationToken::new(),
    }
}

fn free_port() -> BoundPort {
    BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Starts `app` on free ports of this machine.
fn start(app: App) -> Running {
    start_as(CALLEE, app)
}

fn start_as(role: &'static str, app: App) -> Running {
    let (main, ops) = (free_port(), free_port());
    let (main_at, ops_at) = (main.address().unwrap().to_string(), ops.address().unwrap().to_string());
    let env = env(role, BTreeMap::from([(role, main_at.clone())]));
    let extra = Router::new().route("/extra", get(|| async { "more" }));
    let service = Service { env: env.clone(), app, ops: extra, tasks: Vec::new() };
    let task = tokio::spawn(run(service, main.listen().unwrap(), ops.listen().unwrap()));
    Running { env, ops: ops_at, main: main_at, task }
}

impl Running {
    fn client_as(&self, env: Env) -> Client {
        let deadline = PATIENCE;
        AcquirerServiceClient::new(channel(&env, self.env.role, Identity::Service(env.clone()), deadline).unwrap())
    }

    fn client(&self) -> Client {
        self.client_as(self.env.clone())
    }

    /// Waits for the end of what was started.
    async fn ended(mut self) {
        soon("the drain", &mut self.task).await.unwrap();
    }
}

async fn ask(client: &mut Client, key: &str) -> Result<StatusResponse, Status> {
    soon("an answer", client.status(StatusRequest { key: key.into() })).await.map(Response::into_inner)
}

/// What `GET path` answers, head and body, on a connection of its own.
async fn http_get(authority: &str, path: &str) -> String {
    let mut socket = SystemNetwork.connect(authority).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an HTTP answer", socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// Calls `Status` with these headers and no client library that would have its own opinion of them;
/// answers the gRPC status and its message.
async fn raw_call(authority: &str, path: &str, headers: &[(&str, &str)]) -> (Code, String) {
    let socket = SystemNetwork.connect(authority).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://{authority}/{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // One uncompressed message of 7 bytes: field 1, the text `never`.
    let message = Bytes::from_static(b"\0\0\0\0\x07\x0a\x05never");
    let request = request.body(Full::new(message)).unwrap();
    let response = soon("a response", sender.send_request(request)).await.unwrap();
    let status = Status::from_header_map(response.headers()).expect("a status in the headers");
    (status.code(), status.message().to_owned())
}

// The ops port.

#[tokio::test]
async fn the_ops_port_shows_metrics_health_and_the_services_own_routes() {
    let running = start(Probe::default().grpc());
    ask(&mut running.client(), "now").await.unwrap();
    let metrics = http_get(&running.ops, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("openmetrics-text"), "{metrics}");
    let counted = metrics.lines().find(|line| line.starts_with("rpc_server_duration_seconds_count"));
    let counted = counted.expect("a count of calls");
    for part in ["service=\"callee\"", METHOD, "code=\"Ok\""] {
        assert!(counted.contains(part), "{part}: {counted}");
    }
    assert!(counted.ends_with(" 1"), "{counted}");
    assert!(metrics.trim_end().ends_with("# EOF"), "complete");
    assert!(http_get(&running.ops, "/healthz").await.ends_with("ok"));
    assert!(http_get(&running.ops, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(&running.ops, "/extra").await.ends_with("more"));
    assert!(http_get(&running.ops, "/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn made_up_methods_do_not_grow_the_metrics() {
    let running = start(Probe::default().grpc());
    for number in 0..20 {
        let path = format!("made.up.Service/Method{number}");
        assert_eq!(raw_call(&running.main, &path, &[]).await.0, Code::Unimplemented);
        let forged = [("authorization", "Bearer nonsense")];
        assert_eq!(raw_call(&running.main, &path, &forged).await.0, Code::Unauthenticated);
    }
    let metrics = http_get(&running.ops, "/metrics").await;
    assert!(!metrics.contains("made.up"), "what callers make up is not shown");
    let refused: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("rpc_server_duration_seconds_count")).collect();
    assert_eq!(refused.len(), 2, "they are counted all the same: {refused:?}");
}

#[tokio::test]
async fn an_http_service_is_served_as_well() {
    let running = start(App::Http(Router::new().route("/", get(|| async { "hello" }))));
    assert!(http_get(&running.main, "/").await.ends_with("hello"));
}

#[tokio::test]
async fn garbage_on_a_port_ends_that_connection_alone() {
    let running = start(Probe::default().grpc());
    for port in [&running.main, &running.ops] {
        let mut socket = SystemNetwork.connect(port).await.unwrap();
        socket.write_all(b"\x16\x03\x01 what is this, a hello in another tongue?\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        // Closed in order or by a reset: either is an end.
        let _ = soon("the end of the connection", socket.read_to_end(&mut rest)).await;
    }
    ask(&mut running.client(), "now").await.unwrap();
    assert!(http_get(&running.ops, "/healthz").await.ends_with("ok"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let env = env(CALLEE, BTreeMap::new());
    let (main_at, main) = in_memory();
    let (ops_at, ops) = in_memory();
    let app = Probe::default().grpc();
    let service = Service { env: env.clone(), app, ops: Router::new(), tasks: Vec::new() };
    tokio::spawn(run(service, Box::new(main), Box::new(ops)));
    for (network, begins) in [(&main_at, &b"PRI * HTTP"[..]), (&ops_at, b"GET /heal")] {
        for said in [&b""[..], begins] {
            let mut socket = network.connect("h:1").await.unwrap();
            socket.write_all(said).await.unwrap();
            let connected_at = Instant::now();
            let end = tokio::time::timeout(Duration::from_secs(11), socket.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok(), "still connected after {:?}, having said {said:?}", connected_at.elapsed());
        }
    }
    env.shutdown.cancel();
}

// The drain.

#[tokio::test]
async fn a_drain_lets_a_call_under_way_finish_and_takes_no_new_connection() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    let mut client = running.client();
    let call = tokio::spawn(async move { ask(&mut client, "hold").await });
    soon("the call", probe.entered.notified()).await;
    running.env.shutdown.cancel();
    let refused = async {
        while SystemNetwork.connect(&running.main).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("the port to be closed", refused).await;
    assert!(!running.task.is_finished(), "a call is under way");
    probe.release.notify_one();
    assert_eq!(call.await.unwrap().unwrap().reference, "here");
    running.ended().await;
}

#[tokio::test]
async fn a_drain_lets_an_http_request_under_way_finish() {
    let probe = Probe::default();
    let held = probe.clone();
    let slow = get(move || async move {
        held.entered.notify_one();
        held.release.notified().await;
        "at last"
    });
    let running = start(App::Http(Router::new().route("/", slow)));
    let main = running.main.clone();
    let call = tokio::spawn(async move { http_get(&main, "/").await });
    soon("the request", probe.entered.notified()).await;
    running.env.shutdown.cancel();
    probe.release.notify_one();
    assert!(call.await.unwrap().ends_with("at last"));
    running.ended().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_do_not_hold_up_a_drain() {
    let (running, ops) = start_in_memory(|_| Probe::default().grpc());
    let mut client = running.client();
    ask(&mut client, "now").await.unwrap();
    let mut kept_alive = ops.connect("h:1").await.unwrap();
    kept_alive.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    kept_alive.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let told_at = Instant::now();
    running.env.shutdown.cancel();
    running.ended().await;
    assert!(told_at.elapsed() < Duration::from_secs(3), "{:?}", told_at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn silent_connections_do_not_hold_up_a_drain() {
    let (running, ops) = start_in_memory(|_| Probe::default().grpc());
    let _silent = running.env.network.connect("h:1").await.unwrap();
    let _silent_too = ops.connect("h:1").await.unwrap();
    ask(&mut running.client(), "now").await.unwrap();
    let mut asked = ops.connect("h:1").await.unwrap();
    asked.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    soon("an HTTP answer", asked.read_to_string(&mut String::new())).await.unwrap();
    let told_at = Instant::now();
    running.env.shutdown.cancel();
    running.ended().await;
    assert!(told_at.elapsed() < Duration::from_secs(3), "{:?}", told_at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_tasks_and_gives_up_in_the_end() {
    for (takes, drained_after) in [(2, 2), (100, 5)] {
        let env = env(CALLEE, BTreeMap::new());
        let shutdown = env.shutdown.clone();
        let stopping = shutdown.clone();
        let task = Box::pin(async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_secs(takes)).await;
        });
        let service = Service { env, app: App::Http(Router::new()), ops: Router::new(), tasks: vec![task] };
        let (_main, main) = in_memory();
        let (_ops, ops) = in_memory();
        let running = tokio::spawn(run(service, Box::new(main), Box::new(ops)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!running.is_finished());
        let told_at = Instant::now();
        shutdown.cancel();
        soon("the drain", running).await.unwrap();
        assert_eq!(told_at.elapsed().as_secs(), drained_after);
    }
}

// The guard: who calls.

#[tokio::test]
async fn a_service_is_known_by_its_token() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    ask(&mut running.client(), "now").await.unwrap();
    assert_eq!(probe.seen()[0].caller, Caller::Service { name: CALLEE.into() });
}

#[tokio::test]
async fn a_caller_is_passed_on_with_the_token_of_the_request_or_as_nobody() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    let env = &running.env;
    let identity = Identity::Caller(env.clone());
    let mut client = AcquirerServiceClient::new(channel(env, CALLEE, identity, Duration::from_secs(5)).unwrap());
    let id = "00000000-0000-0000-0000-000000000001";
    let token = env.keys.issue(id, Role::Staff, Duration::from_secs(60), env.clock.now());
    let context = Context { trace: None, token: Some(token.into()) };
    context.scope(ask(&mut client, "now")).await.unwrap();
    ask(&mut client, "now").await.unwrap();
    let callers: Vec<_> = probe.seen().into_iter().map(|seen| seen.caller).collect();
    assert_eq!(callers, [Caller::User { id: id.parse().unwrap(), role: Role::Staff }, Caller::Anonymous]);
}

#[tokio::test]
async fn forged_expired_and_malformed_tokens_never_reach_the_handler() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    let forger = Env { keys: Keys::new(&[8; 32]).unwrap(), ..running.env.clone() };
    let refused = ask(&mut running.client_as(forger), "now").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let late = Env { clock: Arc::new(Yesterday), ..running.env.clone() };
    let refused = ask(&mut running.client_as(late), "now").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("expired"), "{refused}");
    for header in ["Bearer ", "Bearer a.b.c", "Basic dXNlcjpwYXNz", "nonsense", ""] {
        let (code, _) = raw_call(&running.main, METHOD, &[("authorization", header)]).await;
        assert_eq!(code, Code::Unauthenticated, "`{header}`");
    }
    assert!(probe.seen().is_empty(), "{:?}", probe.seen());
}

struct Yesterday;

impl Clock for Yesterday {
    fn now(&self) -> Timestamp {
        let day_us = 24 * 3600 * 1_000_000;
        Timestamp::from_micros(SystemClock.now().as_micros() - day_us)
    }
}

// The guard: the trace.

#[tokio::test]
async fn a_trace_goes_from_caller_to_callee_with_a_new_span_each() {
    let callee = Probe::default();
    let behind = start_as(CALLEE, callee.grpc());
    let caller = Probe { next: Some(behind.client()), ..Probe::default() };
    let front = start_as(CALLER, caller.grpc());
    let trace = Trace { trace_id: 0xabc, span_id: 0xdef, sampled: false };
    let context = Context { trace: Some(trace), token: None };
    context.scope(ask(&mut front.client(), "onward")).await.unwrap();
    let (first, second) = (caller.seen()[0].trace.unwrap(), callee.seen()[0].trace.unwrap());
    for seen in [first, second] {
        assert_eq!((seen.trace_id, seen.sampled), (trace.trace_id, trace.sampled));
    }
    assert_ne!(first.span_id, trace.span_id);
    assert_ne!(second.span_id, first.span_id);
}

#[tokio::test]
async fn without_a_trace_or_with_a_broken_one_a_new_one_starts() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    ask(&mut running.client(), "now").await.unwrap();
    ask(&mut running.client(), "now").await.unwrap();
    let headers = [("traceparent", "00-nonsense-01"), ("grpc-timeout", "10m")];
    raw_call(&running.main, METHOD, &headers).await;
    let traces: Vec<_> = probe.seen().into_iter().map(|seen| seen.trace.unwrap().trace_id).collect();
    assert_eq!(traces.len(), 3);
    assert!(traces[0] != traces[1] && traces[1] != traces[2] && traces[0] != traces[2], "{traces:x?}");
}

// Deadlines.

#[tokio::test]
async fn the_callers_deadline_ends_the_work() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    let started = Instant::now();
    let (code, _) = raw_call(&running.main, METHOD, &[("grpc-timeout", "50m")]).await;
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(started.elapsed() >= Duration::from_millis(50));
    soon("the end of the handler", probe.dropped.notified()).await;
    let metrics = http_get(&running.ops, "/metrics").await;
    assert!(metrics.contains("code=\"DeadlineExceeded\""), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_channels_deadline_ends_the_call_and_the_work_too() {
    let probe = Probe::default();
    let (running, _ops) = start_in_memory(|_| probe.grpc());
    let identity = Identity::Service(running.env.clone());
    let deadline = Duration::from_millis(50);
    let mut client = AcquirerServiceClient::new(channel(&running.env, CALLEE, identity, deadline).unwrap());
    let status = ask(&mut client, "never").await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    soon("the end of the handler", probe.dropped.notified()).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_work() {
    let probe = Probe::default();
    let running = start(probe.grpc());
    let mut client = running.client();
    let call = tokio::spawn(async move { ask(&mut client, "never").await });
    soon("the call", probe.entered.notified()).await;
    call.abort();
    soon("the end of the handler", probe.dropped.notified()).await;
}

// Peers that are not there.

/// Where at first no server listens.
#[derive(Default)]
struct Place(Mutex<Option<MemoryNetwork>>);

#[async_trait]
impl Network for Place {
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
        let there = self.0.lock().unwrap().clone();
        there.ok_or(io::ErrorKind::ConnectionRefused)?.connect(authority).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_down_fails_the_call_and_its_return_is_noticed() {
    let place = Arc::new(Place::default());
    let env = Env { network: place.clone(), ..env(CALLEE, BTreeMap::from([(CALLEE, "h:1".into())])) };
    let identity = Identity::Service(env.clone());
    let mut client = AcquirerServiceClient::new(channel(&env, CALLEE, identity, Duration::from_secs(5)).unwrap());
    let started = Instant::now();
    let status = ask(&mut client, "now").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let ((main_at, main), (_ops, ops)) = (in_memory(), in_memory());
    *place.0.lock().unwrap() = Some(main_at);
    let service = Service { env: env.clone(), app: Probe::default().grpc(), ops: Router::new(), tasks: Vec::new() };
    tokio::spawn(run(service, Box::new(main), Box::new(ops)));
    let back = async {
        while client.status(StatusRequest { key: "now".into() }).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the same channel to work again", back).await;
    env.shutdown.cancel();
}

/// A network that loses every attempt to connect.
struct BlackHole;

#[async_trait]
impl Network for BlackHole {
    async fn connect(&self, _: &str) -> io::Result<Box<dyn Socket>> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_cannot_be_reached_fails_the_call_at_the_connect_deadline() {
    let env = Env { network: Arc::new(BlackHole), ..env(CALLER, BTreeMap::from([(CALLEE, "h:1".into())])) };
    let identity = Identity::Service(env.clone());
    let mut client = AcquirerServiceClient::new(channel(&env, CALLEE, identity, Duration::from_secs(30)).unwrap());
    for _ in 0..2 {
        let started = Instant::now();
        let status = ask(&mut client, "now").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(started.elapsed().as_secs(), 1, "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_fails_the_call_at_its_deadline() {
    let probe = Probe::default();
    let (network, listener) = in_memory();
    let (_ops, ops) = in_memory();
    let env = Env { network: Arc::new(network), ..env(CALLEE, BTreeMap::from([(CALLEE, "h:1".into())])) };
    let service = Service { env: env.clone(), app: probe.grpc(), ops: Router::new(), tasks: Vec::new() };
    tokio::spawn(run(service, Box::new(listener), Box::new(ops)));
    let identity = Identity::Service(env.clone());
    let mut client = AcquirerServiceClient::new(channel(&env, CALLEE, identity, Duration::from_secs(3)).unwrap());
    ask(&mut client, "now").await.unwrap();
    let started = Instant::now();
    let status = ask(&mut client, "never").await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled, "{status}");
    assert_eq!(started.elapsed().as_secs(), 3);
    env.shutdown.cancel();
}

#[tokio::test]
async fn a_peer_nobody_told_of_is_a_start_error() {
    let env = env(CALLER, BTreeMap::new());
    let refused = channel(&env, CALLEE, Identity::Service(env.clone()), Duration::from_secs(1)).err().unwrap();
    assert!(refused.to_string().contains(CALLEE), "{refused}");
}

/// Sockets in memory: a network with one listener in it.
#[derive(Clone)]
struct MemoryNetwork(mpsc::UnboundedSender<DuplexStream>);
struct MemoryListener(mpsc::UnboundedReceiver<DuplexStream>);

fn in_memory() -> (MemoryNetwork, MemoryListener) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (MemoryNetwork(sender), MemoryListener(receiver))
}

/// Starts what `app` makes where time can be paused; answers the way to its ops port as well.
fn start_in_memory(app: impl FnOnce(&Env) -> App) -> (Running, MemoryNetwork) {
    let ((main_at, main), (ops_at, ops)) = (in_memory(), in_memory());
    let peers = BTreeMap::from([(CALLEE, "h:1".into())]);
    let env = Env { network: Arc::new(main_at), ..env(CALLEE, peers) };
    let service = Service { env: env.clone(), app: app(&env), ops: Router::new(), tasks: Vec::new() };
    let task = tokio::spawn(run(service, Box::new(main), Box::new(ops)));
    (Running { env, ops: "h:1".into(), main: "h:1".into(), task }, ops_at)
}

#[async_trait]
impl Network for MemoryNetwork {
    async fn connect(&self, _: &str) -> io::Result<Box<dyn Socket>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.0.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Box::new(ours))
    }
}

#[async_trait]
impl Listener for MemoryListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Socket>> {
        match self.0.recv().await {
            Some(socket) => Ok(Box::new(socket)),
            None => std::future::pending().await,
        }
    }
}
