//! What only Redis does: it is shared by several processes, and it can be gone.

use std::sync::Arc;
use std::time::Duration;

use chassis::rng::Seeds;
use inventory::adapters::outbound::redis::{KEYS, RedisLocks, RedisStockCache, key, parse};
use inventory::application::ports::{RestockLock, StockCache};
use inventory::domain::Stock;
use kernel::ProductId;
use redis::cmd;
use servers::LocalServers;
use store::redis::Redis;

use crate::family::Home;
use crate::harness::eventually;

const PRODUCT: ProductId = ProductId(7);

fn figure(version: i64) -> Stock {
    Stock { available: 5, reserved: 2, sold: 3, version, product_id: PRODUCT }
}

/// The lock of a process of its own.
async fn process(home: &Home, seed: u64) -> RedisLocks {
    RedisLocks::new(home.redis().await, &Seeds::from_number(seed))
}

fn lock_key(redis: &Redis) -> String {
    redis.key("restock-lock:7")
}

#[tokio::test]
async fn an_audit_finds_every_figure_and_reads_it() {
    let home = Home::new().await;
    let redis = home.redis().await;
    RedisStockCache::new(redis.clone(), Duration::from_secs(60)).put(&[figure(4)]).await;
    let names: Vec<String> = redis.ask(cmd("KEYS").arg(redis.key(KEYS))).await.unwrap();
    assert_eq!(names, [redis.key(key(PRODUCT))]);
    let text: String = redis.ask(cmd("GET").arg(&names[0])).await.unwrap();
    assert_eq!(text, r#"{"product_id":7,"available":5,"reserved":2,"sold":3,"version":4}"#);
    assert_eq!(parse(&text).unwrap(), figure(4));
    assert!(parse("rubbish").is_err());
    let left: i64 = redis.ask(cmd("PTTL").arg(&names[0])).await.unwrap();
    assert!((1..=60_000).contains(&left), "{left} ms to live");
}

#[tokio::test]
async fn what_is_not_a_figure_counts_for_nothing_and_makes_room() {
    let home = Home::new().await;
    let redis = home.redis().await;
    let cache = RedisStockCache::new(redis.clone(), Duration::from_secs(60));
    for rubbish in ["", "rubbish", "7", "null", "{}", r#"{"version":"x"}"#, r#"{"version":9}"#] {
        let () = redis.ask(cmd("SET").arg(redis.key(key(PRODUCT))).arg(rubbish)).await.unwrap();
        assert_eq!(cache.get(PRODUCT).await, None, "{rubbish}");
        cache.put(&[figure(9)]).await;
        assert_eq!(cache.get(PRODUCT).await, Some(figure(9)), "{rubbish}");
    }
}

#[tokio::test]
async fn two_processes_take_turns() {
    let home = Home::new().await;
    let (one, two) = (process(&home, 1).await, process(&home, 2).await);
    let turn = one.turn(PRODUCT).await.unwrap();
    let waiting = tokio::spawn(async move { two.turn(PRODUCT).await.map(drop) });
    let redis = home.redis().await;
    let token: String = redis.ask(cmd("GET").arg(lock_key(&redis))).await.unwrap();
    assert_eq!(token.len(), 32);
    assert!(!waiting.is_finished());
    drop(turn);
    waiting.await.unwrap().unwrap();
    let gone = async || {
        let held: Option<String> = redis.ask(cmd("GET").arg(lock_key(&redis))).await.unwrap();
        held.is_none().then_some(())
    };
    eventually(gone).await;
}

#[tokio::test]
async fn a_killed_holder_makes_nobody_fail() {
    let home = Home::new().await;
    let (one, two) = (process(&home, 1).await, process(&home, 2).await);
    std::mem::forget(one.turn(PRODUCT).await.unwrap());
    assert!(two.turn(PRODUCT).await.is_ok(), "the lease ends before the patience does");
}

#[tokio::test]
async fn a_holder_whose_lease_has_ended_does_not_take_the_next_one_s() {
    let home = Home::new().await;
    let (one, two) = (process(&home, 1).await, process(&home, 2).await);
    let redis = home.redis().await;
    let late = one.turn(PRODUCT).await.unwrap();
    let _: i64 = redis.ask(cmd("DEL").arg(lock_key(&redis))).await.unwrap();
    let turn = two.turn(PRODUCT).await.unwrap();
    let token: String = redis.ask(cmd("GET").arg(lock_key(&redis))).await.unwrap();
    let _: i64 = redis.ask(cmd("PEXPIRE").arg(lock_key(&redis)).arg(60_000)).await.unwrap();
    drop(late);
    assert!(one.turn(PRODUCT).await.is_err(), "it begins to ask when the late one's end has been told");
    assert_eq!(redis.ask::<Option<String>>(cmd("GET").arg(lock_key(&redis))).await.unwrap(), Some(token));
    drop(turn);
    assert!(one.turn(PRODUCT).await.is_ok());
}

#[tokio::test]
async fn without_redis_the_cache_is_empty_and_the_turn_is_given() {
    let mut servers = LocalServers::throwaway().unwrap();
    let redis = Arc::new(Redis::connect(&servers.connections("")).await.unwrap());
    let cache = RedisStockCache::new(redis.clone(), Duration::from_secs(60));
    let locks = RedisLocks::new(redis.clone(), &Seeds::from_number(1));
    cache.put(&[figure(1)]).await;
    let held = locks.turn(PRODUCT).await.unwrap();
    servers.redis.kill();
    assert_eq!(cache.get(PRODUCT).await, None);
    cache.put(&[figure(2)]).await;
    drop(held);
    for _ in 0..3 {
        assert!(locks.turn(PRODUCT).await.is_ok());
    }
    servers.redis.start().unwrap();
    eventually(async || {
        cache.put(&[figure(3)]).await;
        (cache.get(PRODUCT).await == Some(figure(3))).then_some(())
    })
    .await;
}
