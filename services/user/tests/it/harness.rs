//! Starts the service and calls it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chassis::auth::Keys;
use chassis::clock::SystemClock;
use chassis::context::{Context, Tracer};
use chassis::env::{Env, StartError};
use chassis::grpc::{Identity, PeerChannel};
use chassis::metrics::Metrics;
use chassis::net::{BoundPort, SystemNetwork};
use chassis::rng::Seeds;
use chassis::serve::{self, Service};
use eventlog::{Backing, EventLog};
use proto::user::v1 as wire;
use proto::user::v1::user_service_client::UserServiceClient;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

pub const ADMIN: &str = "admin@example.test";
pub const PASSWORD: &str = "correct horse";
/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Shop {
    pub env: Env,
    pub log: Arc<dyn EventLog>,
    running: JoinHandle<()>,
}

/// Cheap hashing and an admin, and whatever else is said.
pub fn settings(more: &[(&str, &str)]) -> user::Config {
    let cheap = [("user.argon2_memory_kib", "64"), ("user.argon2_iterations", "1")];
    let admin = [("user.admin_email", ADMIN), ("user.admin_password", PASSWORD)];
    let all = cheap.iter().chain(&admin).chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    chassis::settings::parse(user::ROLE, &all.collect::<BTreeMap<_, _>>()).unwrap()
}

fn env(address: String) -> Env {
    let seeds = Seeds::from_number(1);
    Env {
        role: user::ROLE,
        clock: Arc::new(SystemClock),
        tracer: Tracer::new(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(BTreeMap::from([(user::ROLE, address)])),
        keys: Keys::new(&[7; 32]).unwrap(),
        metrics: Metrics::new(user::ROLE),
        ops: Arc::default(),
        chaos: false,
        shutdown: CancellationToken::new(),
    }
}

async fn build_in(
    config: user::Config,
    env: Env,
    backing: Backing,
    log: Arc<dyn EventLog>,
) -> Result<Service, StartError> {
    match backing {
        Backing::Embedded(_) => user::build(config, env, backing).await,
        Backing::Servers(_) => user::build_on(config, env, backing, log).await,
    }
}

/// Builds the service without running it.
pub async fn build(folder: &Path, config: user::Config) -> Result<Service, StartError> {
    let (backing, log) = crate::family::backing(folder);
    build_in(config, env("nowhere:1".to_owned()), backing, log).await
}

impl Shop {
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, settings(&[])).await
    }

    pub async fn start_with(folder: &Path, config: user::Config) -> Self {
        let (backing, log) = crate::family::backing(folder);
        Self::start_on(backing, log, config).await
    }

    pub async fn start_on(backing: Backing, log: Arc<dyn EventLog>, config: user::Config) -> Self {
        let port = || BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (main, ops) = (port(), port());
        let env = env(main.address().unwrap().to_string());
        let service = build_in(config, env.clone(), backing, log.clone()).await.unwrap();
        let running = tokio::spawn(serve::run(service, main.listen().unwrap(), ops.listen().unwrap()));
        Self { env, log, running }
    }

    /// Stops the service as a deployment does; what it stored stays in its folder.
    pub async fn stop(self) {
        self.env.shutdown.cancel();
        self.running.await.unwrap();
    }

    /// A client that calls in the name of whoever [`with_token`] says.
    pub fn client(&self) -> UserServiceClient<PeerChannel> {
        let identity = Identity::Caller(self.env.clone());
        UserServiceClient::new(chassis::grpc::channel(&self.env, user::ROLE, identity, PATIENCE).unwrap())
    }

    /// A client that calls in the name of one of our services.
    pub fn service_client(&self) -> UserServiceClient<PeerChannel> {
        let identity = Identity::Service(self.env.clone());
        UserServiceClient::new(chassis::grpc::channel(&self.env, user::ROLE, identity, PATIENCE).unwrap())
    }

    pub async fn register(&self, email: &str) -> Result<wire::Session, Status> {
        let request =
            wire::RegisterRequest { email: email.to_owned(), password: PASSWORD.to_owned(), name: "Ada".to_owned() };
        self.client().register(request).await.map(Response::into_inner)
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<wire::Session, Status> {
        let request = wire::LoginRequest { email: email.to_owned(), password: password.to_owned() };
        self.client().login(request).await.map(Response::into_inner)
    }

    pub async fn profile(&self, token: &str, id: &str) -> Result<wire::User, Status> {
        let mut client = self.client();
        let call = client.get_user(wire::GetUserRequest { id: id.to_owned() });
        with_token(token, call).await.map(Response::into_inner)
    }

    pub async fn update(&self, token: &str, request: wire::UpdateProfileRequest) -> Result<wire::User, Status> {
        let mut client = self.client();
        with_token(token, client.update_profile(request)).await.map(Response::into_inner)
    }

    /// A token of somebody of that role who is not in the database.
    pub fn token_of(&self, role: chassis::auth::Role) -> String {
        let id = "00000000-0000-4000-8000-000000000001";
        self.env.keys.issue(id, role, PATIENCE, self.env.clock.now())
    }
}

/// Makes a call with that bearer token.
pub async fn with_token<T>(token: &str, call: impl Future<Output = T>) -> T {
    Context { trace: None, token: Some(token.into()) }.scope(call).await
}

/// Asks until `probe` answers; fails the test after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
