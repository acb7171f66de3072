//! The limiter on Redis keeps its port's contract, and counts as the domain does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chassis::Clock;
use gateway::adapters::outbound::redis::{KEY_PREFIX, RedisRateLimiter};
use gateway::application::ports::RateLimiter;
use gateway::domain::window::Window;
use kernel::Timestamp;
use store::redis::Redis;

use crate::contract;
use crate::family::connections;

/// A clock in microseconds that stands until it is moved.
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Some minute of the year 2026.
const NOW_US: i64 = 1_780_000_000_000_000;

async fn limiter() -> (RedisRateLimiter, Arc<Redis>, Arc<HandClock>) {
    let redis = Arc::new(Redis::connect(&connections()).await.unwrap());
    let clock = Arc::new(HandClock(AtomicI64::new(NOW_US)));
    (RedisRateLimiter::new(redis.clone(), clock.clone()), redis, clock)
}

macro_rules! keeps_the_contract {
    ($($case:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            contract::$case(Arc::new(limiter().await.0)).await;
        }
    )*};
}
limiter_cases!(keeps_the_contract);

#[tokio::test]
async fn decides_as_the_domain_does_whatever_the_clock_shows() {
    let (limiter, _, clock) = limiter().await;
    let minute = 60_000_000;
    let turn = NOW_US - NOW_US.rem_euclid(minute);
    // Within a minute, over its turn and back, on the edge, after silence, and after a step back.
    let times = [0, 1, 20, 30, 59, 60, 59, 61, 90, 119, 120, 130, 119, 121, 150, 179, 300, 310, 100, 101, 160]
        .map(|second| turn + second * 1_000_000);
    for limit in [1, 2, 7, 100_000_000] {
        let (bucket, mut window) = (format!("l-{limit}"), Window::default());
        for at in times.into_iter().flat_map(|at| [at - 1, at, at, at + 1, at + 333_333]) {
            clock.0.store(at, Ordering::Relaxed);
            for _ in 0..3 {
                let (next, expected) = window.admit(limit, Timestamp::from_micros(at));
                window = next;
                assert_eq!(limiter.admit(&bucket, limit).await.unwrap(), expected, "limit {limit} at {at}");
            }
        }
    }
}

#[tokio::test]
async fn is_exact_where_the_numbers_are_largest() {
    let (limiter, redis, clock) = limiter().await;
    let (limit, minute) = (100_000_000, 60_000_000);
    let turn = NOW_US - NOW_US.rem_euclid(minute);
    for (previous, current, elapsed) in [
        (100_000_000, 0, 0),
        (100_000_000, 0, 1),
        (100_000_000, 1, 1),
        (99_999_999, 49_999_999, 29_999_999),
        (99_999_999, 50_000_000, 30_000_001),
        (100_000_000, 50_000_000, 30_000_000),
        (100_000_000, 49_999_999, 30_000_000),
        (0, 99_999_999, 5),
        (0, 100_000_000, 5),
    ] {
        let key = redis.key(format!("{KEY_PREFIX}b"));
        let held = format!("{} {previous} {current}", turn / minute);
        let _: () = redis.ask(redis::cmd("SET").arg(key).arg(held)).await.unwrap();
        clock.0.store(turn + elapsed, Ordering::Relaxed);
        let window = Window::from_counters(turn / minute, previous, current);
        let expected = window.admit(limit, clock.now()).1;
        let decision = limiter.admit("b", limit).await.unwrap();
        assert_eq!(decision, expected, "{previous} {current} {elapsed}");
    }
}

#[tokio::test]
async fn counters_expire_and_what_somebody_else_wrote_counts_as_nothing() {
    let (limiter, redis, _) = limiter().await;
    let key = redis.key(format!("{KEY_PREFIX}b"));
    let _: () = redis.ask(redis::cmd("SET").arg(&key).arg("rubbish")).await.unwrap();
    assert!(limiter.admit("b", 1).await.unwrap().admitted);
    assert!(!limiter.admit("b", 1).await.unwrap().admitted);
    let left: i64 = redis.ask(redis::cmd("PTTL").arg(&key)).await.unwrap();
    assert!((1..=120_000).contains(&left), "{left} ms");
}
