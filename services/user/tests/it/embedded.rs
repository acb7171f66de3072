//! The embedded adapters keep their ports' contracts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chassis::Clock;
use chassis::clock::SystemClock;
use chassis::metrics::{CacheCounters, Metrics};
use eventlog::outbox::sqlite::SqliteOutbox;
use kernel::Timestamp;
use store::sqlite::{Db, Storage};
use user::adapters::outbound::attempts::InProcessAttempts;
use user::adapters::outbound::cache::InProcessSessions;
use user::adapters::outbound::rows::{DATABASE, OUTBOX};
use user::adapters::outbound::sqlite::{MIGRATIONS, SqliteUsers};
use user::application::ports::SessionCache;
use user::domain::{Role, User};

use crate::contract;

macro_rules! keeps_the_stores_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let folder = tempfile::tempdir().unwrap();
            let storage = Storage::Folder(folder.path().to_owned());
            let db = Arc::new(Db::open(&storage, DATABASE, &MIGRATIONS, &Metrics::new("user")).unwrap());
            let outbox = SqliteOutbox::new(db.clone(), OUTBOX, Arc::new(SystemClock));
            contract::$case(Arc::new(SqliteUsers::new(db)), &outbox).await;
        }
    )*};
}
store_cases!(keeps_the_stores_contract);

macro_rules! keeps_the_caches_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let cache = InProcessSessions::new(10, Duration::from_secs(60), Arc::new(SystemClock), uncounted());
            contract::$case(&cache).await;
        }
    )*};
}
session_cases!(keeps_the_caches_contract);

macro_rules! keeps_the_attempts_contract {
    ($($policy:ident: $case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let attempts = InProcessAttempts::new(10, contract::$policy, Arc::new(SystemClock));
            contract::$case(&attempts).await;
        }
    )*};
}
attempts_cases!(keeps_the_attempts_contract);

fn uncounted() -> CacheCounters {
    CacheCounters::register(&Metrics::new("user"), "session_cache_requests", "Profiles")
}

/// A clock in seconds that stands until it is moved.
#[derive(Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed) * 1_000_000)
    }
}

#[tokio::test]
async fn a_profile_is_forgotten_when_its_time_is_up() {
    let clock = Arc::new(HandClock::default());
    let cache = InProcessSessions::new(10, Duration::from_secs(5), clock.clone(), uncounted());
    let (email, name) = ("ada@example.test".parse().unwrap(), "Ada".to_owned().try_into().unwrap());
    let ada = User::register(email, name, Role::Customer, Timestamp::default()).user;
    cache.put(&ada).await;
    clock.0.store(4, Ordering::Relaxed);
    assert_eq!(cache.get(ada.id).await, Some(ada.clone()));
    clock.0.store(5, Ordering::Relaxed);
    assert_eq!(cache.get(ada.id).await, None);
}
