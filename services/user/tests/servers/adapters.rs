//! The adapters keep their ports' contracts.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::SystemClock;
use chassis::metrics::{CacheCounters, Metrics};
use eventlog::outbox::postgres::PostgresOutbox;
use kernel::Timestamp;
use store::postgres::Db;
use store::redis::Redis;
use store::redis::versioned::VersionedCache;
use user::adapters::outbound::attempts::RedisAttempts;
use user::adapters::outbound::postgres::{MIGRATIONS, PostgresUsers};
use user::adapters::outbound::redis::{KEY_PREFIX, RedisSessions, parse};
use user::adapters::outbound::rows::{DATABASE, OUTBOX};
use user::application::ports::{LoginAttempts, SessionCache};
use user::domain::{Role, User};

use crate::contract;
use crate::family::connections;
use crate::harness::eventually;

macro_rules! keeps_the_stores_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let db = Db::open(&connections(), DATABASE, MIGRATIONS, &Metrics::new("user")).await.unwrap();
            let db = Arc::new(db);
            let outbox = PostgresOutbox::new(db.clone(), OUTBOX, Arc::new(SystemClock));
            contract::$case(Arc::new(PostgresUsers::new(db)), &outbox).await;
        }
    )*};
}
store_cases!(keeps_the_stores_contract);

async fn cache(ttl: Duration) -> (RedisSessions, Arc<Redis>) {
    let redis = Arc::new(Redis::connect(&connections()).await.unwrap());
    let counters = CacheCounters::register(&Metrics::new("user"), "session_cache_requests", "Profiles");
    (RedisSessions::new(Arc::new(VersionedCache::new(redis.clone(), ttl)), counters), redis)
}

macro_rules! keeps_the_caches_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let (cache, _) = cache(Duration::from_secs(60)).await;
            contract::$case(&cache).await;
        }
    )*};
}
session_cases!(keeps_the_caches_contract);

macro_rules! keeps_the_attempts_contract {
    ($($policy:ident: $case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let redis = Arc::new(Redis::connect(&connections()).await.unwrap());
            contract::$case(&RedisAttempts::new(redis, contract::$policy)).await;
        }
    )*};
}
attempts_cases!(keeps_the_attempts_contract);

#[tokio::test]
async fn a_count_of_failures_names_nobody_and_expires() {
    let redis = Arc::new(Redis::connect(&connections()).await.unwrap());
    let ada = "ada@example.test".parse().unwrap();
    RedisAttempts::new(redis.clone(), contract::POLICY).admit(&ada).await.unwrap();
    let keys: Vec<String> = redis.ask(redis::cmd("KEYS").arg(redis.key("*"))).await.unwrap();
    assert_eq!(keys, [redis.key(format!("login-failures:{}", ada.user_id()))]);
    let left: i64 = redis.ask(redis::cmd("PTTL").arg(&keys[0])).await.unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms");
}

fn ada() -> User {
    let (email, name) = ("ada@example.test".parse().unwrap(), "Ada".to_owned().try_into().unwrap());
    User::register(email, name, Role::Customer, Timestamp::from_micros(7)).user
}

#[tokio::test]
async fn a_profile_is_forgotten_when_its_time_is_up() {
    let (cache, redis) = cache(Duration::from_secs(60)).await;
    cache.put(&ada()).await;
    let key = redis.key(format!("{KEY_PREFIX}{}", ada().id));
    let left: i64 = redis.ask(redis::cmd("PTTL").arg(&key)).await.unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms");

    let (cache, _) = self::cache(Duration::from_millis(1)).await;
    cache.put(&renamed()).await;
    eventually("it is gone", || async { cache.get(ada().id).await.is_none().then_some(()) }).await;
}

fn renamed() -> User {
    User { name: "Countess".to_owned().try_into().unwrap(), version: 2, ..ada() }
}

#[tokio::test]
async fn a_session_says_who_somebody_is_and_nothing_secret() {
    let (cache, redis) = cache(Duration::from_secs(60)).await;
    cache.put(&ada()).await;
    let held: String = redis.ask(redis::cmd("GET").arg(redis.key(format!("{KEY_PREFIX}{}", ada().id)))).await.unwrap();
    let expected =
        r#"1 {"id":"ID","email":"ada@example.test","name":"Ada","role":"customer","created_at":7,"updated_at":7}"#;
    assert_eq!(held, expected.replace("ID", &ada().id.to_string()));
    assert_eq!(parse(&held).unwrap(), Some(ada()));
    assert_eq!(parse("9").unwrap(), None);
    assert!(parse("1 {}").is_err() && parse("{}").is_err());
}
