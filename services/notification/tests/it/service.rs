//! The whole service on sockets, with a user service beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chassis::Env;
use chassis::auth::{Caller, Keys};
use chassis::clock::SystemClock;
use chassis::context::Tracer;
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::{App, Service};
use eventlog::{DEAD_LETTERS, Event, EventLog, Publish};
use kernel::Timestamp;
use notification::adapters::streams::{ORDERS, PAYMENTS};
use proto::user::v1 as wire;
use proto::user::v1::user_service_server::{UserService, UserServiceServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::family::Family;
use crate::people::{STRANGER, address, order, user};

/// Knows everybody but one; answers services only, and notes who was asked for.
#[derive(Clone, Default)]
struct Users {
    asked_for: Arc<Mutex<Vec<String>>>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl UserService for Users {
    async fn get_users(&self, request: Request<wire::GetUsersRequest>) -> Answer<wire::GetUsersResponse> {
        Caller::of(&request).require_service()?;
        let ids = request.into_inner().ids;
        self.asked_for.lock().unwrap().extend(ids.iter().cloned());
        let user = |id: String| match id.parse::<kernel::UserId>().unwrap().as_uuid().as_u128() {
            STRANGER => None,
            number => Some(wire::User { id, email: address(number), ..wire::User::default() }),
        };
        let users = ids.into_iter().filter_map(user).collect();
        Ok(Response::new(wire::GetUsersResponse { users }))
    }
    async fn get_user(&self, _: Request<wire::GetUserRequest>) -> Answer<wire::User> {
        Err(Status::unimplemented(""))
    }
    async fn register(&self, _: Request<wire::RegisterRequest>) -> Answer<wire::Session> {
        Err(Status::unimplemented(""))
    }
    async fn login(&self, _: Request<wire::LoginRequest>) -> Answer<wire::Session> {
        Err(Status::unimplemented(""))
    }
    async fn update_profile(&self, _: Request<wire::UpdateProfileRequest>) -> Answer<wire::User> {
        Err(Status::unimplemented(""))
    }
    async fn change_role(&self, _: Request<wire::ChangeRoleRequest>) -> Answer<wire::User> {
        Err(Status::unimplemented(""))
    }
    async fn register_bulk(&self, _: Request<wire::RegisterBulkRequest>) -> Answer<wire::RegisterBulkResponse> {
        Err(Status::unimplemented(""))
    }
}

/// A running service; it stops when this is dropped.
pub struct Running {
    env: Env,
    users: Users,
    ops: String,
    pub log: Arc<dyn EventLog>,
    family: Arc<Family>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.env.shutdown.cancel();
    }
}

fn free_port() -> BoundPort {
    BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn start(settings: &[(&str, &str)]) -> Running {
    start_on(Arc::new(Family::new()), settings).await
}

pub async fn start_on(family: Arc<Family>, settings: &[(&str, &str)]) -> Running {
    let seeds = Seeds::from_number(1);
    let (main, ops, users_main, users_ops) = (free_port(), free_port(), free_port(), free_port());
    let ops_address = ops.address().unwrap().to_string();
    let env = Env {
        role: notification::ROLE,
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(BTreeMap::from([("user", users_main.address().unwrap().to_string())])),
        ops: Arc::default(),
        chaos: false,
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(notification::ROLE),
        shutdown: CancellationToken::new(),
    };
    let log = family.backing().event_log(&env).await.unwrap();
    for stream in [ORDERS, PAYMENTS] {
        log.prepare(stream).await.unwrap();
    }
    let users = Users::default();
    let routes = Routes::new(UserServiceServer::new(users.clone()));
    let users_env = Env { role: "user", metrics: Metrics::new("user"), ..env.clone() };
    let users_service = Service { env: users_env, app: App::Grpc(routes), ops: axum::Router::new(), tasks: Vec::new() };
    tokio::spawn(chassis::serve::run(users_service, users_main.listen().unwrap(), users_ops.listen().unwrap()));

    let values = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = chassis::settings::parse(notification::ROLE, &values).unwrap();
    let service = notification::build(config, env.clone(), family.backing()).await.unwrap();
    tokio::spawn(chassis::serve::run(service, main.listen().unwrap(), ops.listen().unwrap()));
    Running { env, users, ops: ops_address, log, family }
}

impl Running {
    pub async fn cancelled_order(&self, number: u128, user: kernel::UserId) {
        let event = Event {
            aggregate: order(number).to_string(),
            version: 1,
            kind: "OrderCancelled".into(),
            data: format!(r#"{{"user":"{user}"}}"#),
            occurred_at: Timestamp::default(),
            traceparent: None,
        };
        self.log.publish(ORDERS, &[Publish { event, expected_last: 0 }]).await.remove(0).unwrap();
    }

    async fn get(&self, path: &str) -> String {
        let mut socket = self.env.network.connect(&self.ops).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Scrapes the metrics until they show this many messages of that outcome.
    async fn counted(&self, outcome: &str, count: u32) {
        let labels = format!(r#"{{service="notification",channel="email",kind="OrderCancelled",outcome="{outcome}"}}"#);
        let line = format!("notifications_total{labels} {count}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.get("/metrics").await;
            if metrics.lines().any(|shown| shown == line) {
                return;
            }
            assert!(Instant::now() < deadline, "waited for {line}\n{metrics}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_recipient_is_asked_for_in_the_services_own_name_and_remembered() {
    let running = start(&[]).await;
    running.cancelled_order(1, user(7)).await;
    running.counted("accepted", 1).await;
    running.cancelled_order(2, user(7)).await;
    running.cancelled_order(3, user(8)).await;
    running.counted("accepted", 3).await;
    assert_eq!(*running.users.asked_for.lock().unwrap(), [user(7).to_string(), user(8).to_string()]);
    let recipients: Vec<String> = running.family.sent().await.into_iter().map(|(_, _, recipient)| recipient).collect();
    assert_eq!(recipients, [address(7), address(7), address(8)]);
}

#[tokio::test]
async fn an_unknown_user_is_given_up_on_at_once_and_not_remembered() {
    let running = start(&[]).await;
    running.cancelled_order(1, user(STRANGER)).await;
    running.cancelled_order(2, user(7)).await;
    running.counted("accepted", 1).await;
    running.counted("unaddressed", 1).await;
    let letter = format!("ORDERS.notification-service.{}/1", order(1));
    let deadline = Instant::now() + PATIENCE;
    while running.log.last(DEAD_LETTERS, &letter).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "it was never parked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.users.asked_for.lock().unwrap().len(), 2, "nobody asks again about the same event");
    running.cancelled_order(3, user(STRANGER)).await;
    running.counted("unaddressed", 2).await;
    assert_eq!(running.users.asked_for.lock().unwrap().len(), 3, "the user may have come to be meanwhile");
}

#[tokio::test]
async fn the_ops_port_says_that_it_is_ready() {
    let running = start(&[]).await;
    assert!(running.get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(running.get("/healthz").await.starts_with("HTTP/1.1 200"));
}
