//! Redis stops and comes back: customers are served all the while.

use chassis::auth::Role;
use eventlog::Backing;
use servers::LocalServers;

use crate::harness::{eventually, shop_on};

#[tokio::test]
async fn without_redis_nobody_is_turned_away_and_with_it_the_limit_holds_again() {
    let mut servers = LocalServers::throwaway().unwrap();
    let backing = Backing::Servers(servers.connections(""));
    let shop = shop_on(backing, &[("rate_limit_per_minute", "2")], tempfile::tempdir().unwrap()).await;
    let status = async || shop.ask("GET", "/users/me").by(Role::Customer).send().await.status;
    let unenforced = async || {
        let metrics = shop.metrics().await;
        let line = metrics.lines().find(|line| line.starts_with("rate_limit_unenforced_total"));
        line.and_then(|line| line.rsplit_once(' ')).unwrap().1.parse::<u64>().unwrap()
    };
    assert_eq!([status().await, status().await, status().await], [200, 200, 429]);
    assert_eq!(unenforced().await, 0);

    servers.redis.kill();
    for _ in 0..5 {
        assert_eq!(status().await, 200);
    }
    assert_eq!(unenforced().await, 5);

    servers.redis.start().unwrap();
    eventually("the limit holds again", async || status().await == 429).await;
}
