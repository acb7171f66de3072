//! Redis, which may be lost: whoever asks is answered soon, by the server or by us.

use std::time::Duration;

use servers::LocalServers;
use store::redis::Redis;
use store::{Servers, StoreError};
use tokio::time::Instant;

use crate::world::soon;

fn set(redis: &Redis, name: &str, value: i64) -> redis::Cmd {
    redis::Cmd::new().arg("SET").arg(redis.key(name)).arg(value).to_owned()
}

fn get(redis: &Redis, name: &str) -> redis::Cmd {
    redis::Cmd::new().arg("GET").arg(redis.key(name)).to_owned()
}

async fn ask(redis: &Redis, name: &str) -> Result<Option<i64>, StoreError> {
    redis.ask(&get(redis, name)).await
}

/// Waits until it answers again.
async fn is_back(redis: &Redis) {
    let answered = async {
        while ask(redis, "anything").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("Redis", answered).await;
}

#[tokio::test]
async fn shops_on_one_server_are_apart() {
    let (one, other) = (servers::for_test().unwrap(), servers::for_test().unwrap());
    let one = Redis::connect(&one.connections).await.unwrap();
    let other = Redis::connect(&other.connections).await.unwrap();
    let () = one.ask(&set(&one, "a", 7)).await.unwrap();
    assert_eq!(ask(&one, "a").await.unwrap(), Some(7));
    assert_eq!(ask(&other, "a").await.unwrap(), None);
}

#[tokio::test]
async fn several_questions_and_scripts_go_in_one_round_trip() {
    let borrowed = servers::for_test().unwrap();
    let redis = Redis::connect(&borrowed.connections).await.unwrap();
    let mut both = redis::Pipeline::new();
    both.add_command(set(&redis, "a", 1)).ignore().add_command(get(&redis, "a"));
    assert_eq!(redis.ask_all::<(i64,)>(&both).await.unwrap(), (1,));
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    assert_eq!(redis.run::<i64>(&script, &[redis.key("a")], &["5".into()]).await.unwrap(), 6);
}

#[tokio::test]
async fn what_is_wrong_with_the_url_is_one_line_without_the_password() {
    let borrowed = servers::for_test().unwrap();
    let right = &borrowed.connections;
    let (password, place) = right.redis.trim_start_matches("redis://:").split_once('@').unwrap();
    let wrong = [
        format!("redis://:no-{password}@{place}"),
        format!("redis://:{password}@127.0.0.1:1"),
        format!("http://{place}"),
    ];
    for url in wrong {
        let Err(error) = Redis::connect(&Servers { redis: url, ..right.clone() }).await else { panic!("connected") };
        let line = error.to_string();
        assert!(line.contains("Redis") && line.lines().count() == 1 && !line.contains(password), "{line}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_server_is_no_silence() {
    let borrowed = servers::for_test().unwrap();
    let redis = Redis::connect(&borrowed.connections).await.unwrap();
    let nonsense = redis::Cmd::new().arg("NONSENSE").to_owned();
    assert!(redis.ask::<()>(&nonsense).await.is_err());
    assert_eq!(ask(&redis, "a").await.unwrap(), None, "it is asked again at once");
}

#[tokio::test]
async fn a_killed_server_is_left_alone_and_comes_back_by_itself() {
    let mut servers = LocalServers::throwaway().unwrap();
    let redis = Redis::connect(&servers.connections("")).await.unwrap();
    let () = redis.ask(&set(&redis, "a", 1)).await.unwrap();
    for _ in 0..2 {
        servers.redis.kill();
        assert!(ask(&redis, "a").await.is_err());
        let asked_at = Instant::now();
        for _ in 0..1_000 {
            assert!(ask(&redis, "a").await.is_err());
        }
        let took = asked_at.elapsed();
        // Asked for each of them, the server would be waited for 150 ms each time.
        assert!(took < Duration::from_secs(30), "a thousand questions took {took:?}");
        servers.redis.start().unwrap();
        is_back(&redis).await;
        let () = redis.ask(&set(&redis, "a", 2)).await.unwrap();
        assert_eq!(ask(&redis, "a").await.unwrap(), Some(2));
    }
}
