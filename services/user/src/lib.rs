//! The user service: accounts, log-in and tokens.
//!
//! The hexagon, from the inside out:
//!
//! - `domain` knows what an account, an address and a password are. It does no IO and asks no clock.
//! - `application` holds the use cases (register, log in, show, update, register in bulk) and the
//!   ports they need: a store that writes an account and its event in one transaction, a password
//!   hasher, a session cache, a count of failed log-ins.
//! - `adapters` connects them: gRPC comes in; argon2 and one of two families go out, SQLite with an
//!   in-process cache or PostgreSQL with Redis. The relay carries `user_events` to the stream `USERS`.
//!
//! Nothing points outwards: the domain knows no use case, a use case no adapter.

pub mod adapters;
pub mod application;
mod config;
pub mod domain;

use std::sync::Arc;

use chassis::Env;
use chassis::auth::Role;
use chassis::clock::SteadyClock;
use chassis::env::StartError;
use chassis::grpc::serving;
use chassis::metrics::CacheCounters;
use chassis::serve::{App, Building, Service, Task};
use eventlog::outbox::postgres::PostgresOutbox;
use eventlog::outbox::sqlite::SqliteOutbox;
use eventlog::relay::Relay;
use eventlog::{Backing, EventLog, Outbox, Stream};
use proto::user::v1::user_service_server::UserServiceServer;
use store::redis::Redis;
use store::redis::versioned::VersionedCache;
use store::{postgres, sqlite};

use adapters::inbound::grpc::Handler;
use adapters::outbound::argon2::Argon2id;
use adapters::outbound::attempts::{InProcessAttempts, RedisAttempts};
use adapters::outbound::cache::InProcessSessions;
use adapters::outbound::postgres::PostgresUsers;
use adapters::outbound::redis::RedisSessions;
pub use adapters::outbound::rows::DATABASE;
use adapters::outbound::rows::OUTBOX;
use adapters::outbound::sqlite::SqliteUsers;
use application::ports::{Added, HashError, LoginAttempts, PasswordHasher, Registration, SessionCache, UserStore};
use application::{Settings, Users};
use domain::{LockoutPolicy, PasswordPolicy, User};

pub use application::BULK_PASSWORD;
pub use config::Config;
pub use domain::{Email, Password};

/// The name that this service goes by.
pub const ROLE: &str = "user";
/// The stream that this service publishes to.
pub const STREAM: Stream = Stream::new("USERS", "user");

impl From<HashError> for StartError {
    fn from(error: HashError) -> Self {
        Self(format!("{ROLE}: {error}"))
    }
}

/// Builds the service and the admin account that `config` asks for. Opens the database; binds and
/// spawns nothing.
///
/// # Errors
/// When a server or the database cannot be reached, or the settings contradict each other.
pub fn build(config: Config, env: Env, backing: Backing) -> Building {
    Box::pin(wire(config, env, backing))
}

async fn wire(config: Config, env: Env, backing: Backing) -> Result<Service, StartError> {
    let log = backing.event_log(&env).await?;
    wire_on(config, env, backing, log).await
}

/// [`build`] with an event log of the caller's.
///
/// # Errors
/// As [`build`].
pub fn build_on(config: Config, env: Env, backing: Backing, log: Arc<dyn EventLog>) -> Building {
    Box::pin(wire_on(config, env, backing, log))
}

async fn wire_on(config: Config, env: Env, backing: Backing, log: Arc<dyn EventLog>) -> Result<Service, StartError> {
    let Outbound { store, sessions, attempts, outbox, mut tasks } = Outbound::connect(&config, &env, &backing).await?;
    let salts = env.seeds.stream("password-salts");
    let hasher = Arc::new(Argon2id::new(config.argon2_memory_kib, config.argon2_iterations, salts)?);
    let chars_min = usize::try_from(config.password_min).unwrap_or(usize::MAX);
    let settings = Settings { policy: PasswordPolicy { chars_min }, token_ttl: config.token_ttl };
    make_admin(&config, settings.policy, &env, store.as_ref(), hasher.as_ref()).await?;

    let users = Users::new(store, hasher, sessions, attempts, env.clock.clone(), env.keys.clone(), settings);
    let handler = UserServiceServer::new(Handler::new(users, &env.metrics));
    let routes = serving(&env, handler, proto::DESCRIPTORS)?;
    let relay = Relay { stream: STREAM, outbox, log };
    tasks.push(relay.run(env.shutdown.clone()));
    Ok(Service { env, app: App::Grpc(routes), ops: Default::default(), tasks })
}

/// What the two families of adapters have in common.
struct Outbound {
    store: Arc<dyn UserStore>,
    sessions: Arc<dyn SessionCache>,
    attempts: Arc<dyn LoginAttempts>,
    outbox: Arc<dyn Outbox>,
    tasks: Vec<Task>,
}

impl Outbound {
    async fn connect(config: &Config, env: &Env, backing: &Backing) -> Result<Self, StartError> {
        let policy = LockoutPolicy { failures_max: config.login_failures_max, lock: config.login_lock };
        let looked_up = CacheCounters::register(&env.metrics, "session_cache_requests", "Profiles");
        match backing {
            Backing::Embedded(embedded) => {
                let migrations = &adapters::outbound::sqlite::MIGRATIONS;
                let steady = Arc::new(SteadyClock::start(env.clock.clone()));
                let db = Arc::new(sqlite::Db::open(&embedded.storage, DATABASE, migrations, &env.metrics)?);
                let capacity = usize::try_from(config.session_entries).unwrap_or(usize::MAX);
                Ok(Self {
                    store: Arc::new(SqliteUsers::new(db.clone())),
                    attempts: Arc::new(InProcessAttempts::new(capacity, policy, steady.clone())),
                    sessions: Arc::new(InProcessSessions::new(capacity, config.session_ttl, steady, looked_up)),
                    outbox: Arc::new(SqliteOutbox::new(db, OUTBOX, env.clock.clone())),
                    tasks: Vec::new(),
                })
            }
            Backing::Servers(servers) => {
                let migrations = adapters::outbound::postgres::MIGRATIONS;
                let db = Arc::new(postgres::Db::open(servers, DATABASE, migrations, &env.metrics).await?);
                let redis = Arc::new(Redis::connect(servers).await?);
                let cache = Arc::new(VersionedCache::new(redis.clone(), config.session_ttl));
                Ok(Self {
                    store: Arc::new(PostgresUsers::new(db.clone())),
                    attempts: Arc::new(RedisAttempts::new(redis, policy)),
                    sessions: Arc::new(RedisSessions::new(cache.clone(), looked_up)),
                    outbox: Arc::new(PostgresOutbox::new(db, OUTBOX, env.clock.clone())),
                    tasks: vec![cache.catch_up(env.shutdown.clone())],
                })
            }
        }
    }
}

/// Makes the configured admin account. One that exists keeps its password; an account of that
/// address which is no admin's is never promoted behind its owner's back.
async fn make_admin(
    config: &Config,
    policy: PasswordPolicy,
    env: &Env,
    store: &dyn UserStore,
    hasher: &dyn PasswordHasher,
) -> Result<(), StartError> {
    let (Some(email), Some(password)) = (&config.admin_email, &config.admin_password) else { return Ok(()) };
    let account = match store.by_email(email).await? {
        Some(account) => account.user,
        None => {
            policy.check(password).map_err(|error| StartError(format!("{ROLE}: --admin-password: {error}")))?;
            let password_hash = hasher.hash(password)?;
            let change = User::register(email.clone(), domain::Name::admin(), Role::Admin, env.clock.now());
            // It may be the address that somebody was registered with and has moved away from.
            match store.add(&[Registration { change, password_hash }]).await?.pop() {
                Some(Added::New(account) | Added::Existing(account)) => account,
                None => return Err(StartError(format!("{ROLE}: the store did not answer"))),
            }
        }
    };
    if account.role != Role::Admin {
        return Err(StartError(format!("{ROLE}: --admin-email: {email} is the account of a {}", account.role)));
    }
    Ok(())
}
