//! Redis stops and comes back: slower, not wrong.

use std::sync::Arc;
use std::time::Duration;

use chassis::metrics::{CacheCounters, Metrics};
use eventlog::Backing;
use kernel::{Timestamp, UserId};
use proto::user::v1 as wire;
use servers::LocalServers;
use store::redis::Redis;
use store::redis::versioned::VersionedCache;
use user::adapters::outbound::redis::RedisSessions;
use user::application::ports::SessionCache;
use user::domain::{Role, User};

use crate::family::event_log;
use crate::harness::{PASSWORD, Shop, eventually, settings};

/// A cache beside the service's own, on the same server.
async fn second_cache(servers: &store::Servers) -> RedisSessions {
    let redis = Arc::new(Redis::connect(servers).await.unwrap());
    let counters = CacheCounters::register(&Metrics::new("user"), "session_cache_requests", "Profiles");
    RedisSessions::new(Arc::new(VersionedCache::new(redis, Duration::from_secs(60))), counters)
}

#[tokio::test]
async fn without_redis_people_log_in_and_change_their_profile_and_with_it_they_are_cached_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = LocalServers::throwaway().unwrap();
    let connections = servers.connections("");
    let backing = Backing::Servers(connections.clone());
    let shop = Shop::start_on(backing, event_log(folder.path()), settings(&[])).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = ada.user.clone().unwrap().id;
    let user: UserId = id.parse().unwrap();
    assert!(second_cache(&connections).await.get(user).await.is_some());

    servers.redis.kill();
    assert_eq!(shop.login("ada@example.test", PASSWORD).await.unwrap().user, ada.user);
    assert_eq!(shop.profile(&ada.token, &id).await.unwrap(), ada.user.unwrap());
    let rename = wire::UpdateProfileRequest { id: id.clone(), email: None, name: Some("Countess".to_owned()) };
    let renamed = shop.update(&ada.token, rename).await.unwrap();
    assert_eq!(shop.profile(&ada.token, &id).await.unwrap(), renamed);

    servers.redis.start().unwrap();
    let cache = second_cache(&connections).await;
    eventually("the profile is cached again", || async {
        assert_eq!(shop.profile(&ada.token, &id).await.unwrap(), renamed);
        cache.get(user).await.map(|cached| assert_eq!(cached.name.as_str(), "Countess"))
    })
    .await;
}

#[tokio::test]
async fn without_redis_nobody_is_locked_out_and_the_right_password_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = LocalServers::throwaway().unwrap();
    let backing = Backing::Servers(servers.connections(""));
    let config = settings(&[("user.login_failures_max", "1")]);
    let shop = Shop::start_on(backing, event_log(folder.path()), config).await;
    shop.register("ada@example.test").await.unwrap();
    servers.redis.kill();
    for _ in 0..3 {
        let wrong = shop.login("ada@example.test", "wrong").await.unwrap_err();
        assert_eq!(wrong.code(), tonic::Code::Unauthenticated, "{wrong}");
    }
    shop.login("ada@example.test", PASSWORD).await.unwrap();
}

/// Stops a process in its tracks, or lets it go on.
fn signal(signal: &str, server: &servers::Server) {
    let pid = server.pid().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[tokio::test]
async fn an_invalidation_that_redis_did_not_hear_of_is_not_forgotten() {
    let servers = LocalServers::throwaway().unwrap();
    let connections = servers.connections("");
    let (mine, theirs) = (second_cache(&connections).await, second_cache(&connections).await);
    let (email, name) = ("ada@example.test".parse().unwrap(), "Ada".to_owned().try_into().unwrap());
    let ada = User::register(email, name, Role::Customer, Timestamp::from_micros(7)).user;
    mine.put(&ada).await;
    assert_eq!(theirs.get(ada.id).await, Some(ada.clone()));

    signal("-STOP", &servers.redis);
    assert_eq!(mine.get(ada.id).await, None);
    // Redis was silent a moment ago: it is not even asked.
    mine.invalidate(ada.id, 2).await;
    signal("-CONT", &servers.redis);

    eventually("others do not see the old profile any more", || async {
        assert_ne!(mine.get(ada.id).await.as_ref(), Some(&ada), "the old profile came back");
        theirs.get(ada.id).await.is_none().then_some(())
    })
    .await;
    let changed = User { version: 2, ..ada.clone() };
    eventually("the new profile is cached", || async {
        mine.put(&changed).await;
        theirs.get(ada.id).await.map(|found| assert_eq!(found, changed))
    })
    .await;
}
