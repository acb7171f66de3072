//! The user service: accounts, log-in and tokens.
//!
//! The hexagon, from the inside out:
//!
//! - `domain` knows what an account, an address and a password are. It does no IO and asks no clock.
//! - `application` holds the use cases (register, log in, show, update, register in bulk) and the
//!   ports they need: a store that writes an account and its event in one transaction, a password
//!   hasher, a session cache.
//! - `adapters` connects them: gRPC comes in; SQLite, argon2 and an in-process cache go out. The
//!   relay carries `user_events` to the stream `USERS`.
//!
//! Nothing points outwards: the domain knows no use case, a use case no adapter.

mod adapters;
mod application;
mod config;
mod domain;

use std::sync::Arc;

use chassis::auth::Role;
use chassis::env::{Backing, Embedded, StartError};
use chassis::events::Stream;
use chassis::events::relay::Relay;
use chassis::serve::{App, Service, Task};
use chassis::sqlite::Db;
use chassis::sqlite::outbox::SqliteOutbox;
use proto::user::v1::user_service_server::UserServiceServer;
use tonic::service::Routes;

use adapters::inbound::grpc::Handler;
use adapters::outbound::argon2::Argon2id;
use adapters::outbound::cache::InProcessSessions;
use adapters::outbound::sqlite::{DATABASE, MIGRATIONS, OUTBOX, SqliteUsers};
use application::ports::{Added, HashError, PasswordHasher, Registration};
use application::{Settings, Users};
use domain::{PasswordPolicy, User};

pub use application::BULK_PASSWORD;
pub use config::Config;
pub use domain::{Email, Password};

/// The name that this service goes by.
pub const ROLE: &str = "user";

impl From<HashError> for StartError {
    fn from(error: HashError) -> Self {
        Self(format!("{ROLE}: {error}"))
    }
}

/// Builds the service and the admin account that `config` asks for. Opens the database; binds and
/// spawns nothing.
///
/// # Errors
/// When the database cannot be opened or the settings contradict each other.
pub async fn build(config: Config, env: chassis::Env) -> Result<Service, StartError> {
    let Backing::Embedded(embedded) = &env.backing else { return Err(StartError("not built".into())) };
    let Embedded { storage, log } = embedded.clone();
    let db = Arc::new(Db::open(&storage, DATABASE, &MIGRATIONS, &env.metrics)?);
    let store = Arc::new(SqliteUsers::new(db.clone()));
    let salts = env.seeds.stream("password-salts");
    let hasher = Arc::new(Argon2id::new(config.argon2_memory_kib, config.argon2_iterations, salts)?);
    let capacity = usize::try_from(config.session_entries).unwrap_or(usize::MAX);
    let sessions = Arc::new(InProcessSessions::new(capacity, config.session_ttl, env.clock.clone()));
    let chars_min = usize::try_from(config.password_min).unwrap_or(usize::MAX);
    let settings = Settings { policy: PasswordPolicy { chars_min }, token_ttl: config.token_ttl };
    make_admin(&config, settings.policy, &env, &store, hasher.as_ref())?;

    let users = Users::new(store, hasher, sessions, env.clock.clone(), env.keys.clone(), settings);
    let routes = Routes::new(UserServiceServer::new(Handler::new(users)));
    let outbox = Arc::new(SqliteOutbox::new(db, OUTBOX, env.clock.clone()));
    let relay = Relay { stream: Stream::Users, outbox, log };
    let tasks: Vec<Task> = vec![Box::pin(relay.run(env.shutdown.clone()))];
    Ok(Service { env, app: App::Grpc(routes), ops: Default::default(), tasks })
}

/// Makes the configured admin account. One that exists keeps its password; an account of that
/// address which is no admin's is never promoted behind its owner's back.
fn make_admin(
    config: &Config,
    policy: PasswordPolicy,
    env: &chassis::Env,
    store: &SqliteUsers,
    hasher: &dyn PasswordHasher,
) -> Result<(), StartError> {
    let (Some(email), Some(password)) = (&config.admin_email, &config.admin_password) else { return Ok(()) };
    let account = match store.holder(email)? {
        Some(account) => account,
        None => {
            policy.check(password).map_err(|error| StartError(format!("{ROLE}: --admin-password: {error}")))?;
            let password_hash = hasher.hash(password)?;
            let change = User::register(email.clone(), domain::Name::admin(), Role::Admin, env.clock.now());
            match store.add_all(&[Registration { change, password_hash }])?.pop() {
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
