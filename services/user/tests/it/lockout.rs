//! Guessing passwords, and what comes of it. On both families.

use tonic::{Code, Status};

use crate::harness::{ADMIN, PASSWORD, Shop, eventually, settings};

async fn guessed(shop: &Shop, email: &str, times: u32) -> Vec<Status> {
    let mut refusals = Vec::new();
    for _ in 0..times {
        refusals.push(shop.login(email, "a guess").await.unwrap_err());
    }
    refusals
}

fn codes(refusals: &[Status]) -> Vec<Code> {
    refusals.iter().map(Status::code).collect()
}

#[tokio::test]
async fn after_too_many_failures_the_right_password_is_refused_too_and_one_is_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start_with(folder.path(), settings(&[("user.login_failures_max", "3")])).await;
    shop.register("ada@example.test").await.unwrap();
    let refusals = guessed(&shop, "ada@example.test", 4).await;
    let [wrong, locked] = [Code::Unauthenticated, Code::ResourceExhausted];
    assert_eq!(codes(&refusals), [wrong, wrong, wrong, locked]);

    let refused = shop.login("ADA@example.test", PASSWORD).await.unwrap_err();
    assert_eq!(refused.code(), locked, "{refused}");
    let told: u64 = refused.metadata().get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((290..=300).contains(&told), "{told} s");
    let expected = format!("too many log-ins have failed for this address; try again in {told} s");
    assert_eq!(refused.message(), expected);

    // Others are not concerned.
    shop.login(ADMIN, PASSWORD).await.unwrap();
    let counted = shop.env.metrics.render();
    for (outcome, times) in [("wrong", 3), ("locked_out", 2)] {
        let line = format!(r#"user_logins_total{{service="user",outcome="{outcome}"}} {times}"#);
        assert!(counted.contains(&line), "{line}\n{counted}");
    }
}

#[tokio::test]
async fn an_address_without_an_account_is_closed_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start_with(folder.path(), settings(&[("user.login_failures_max", "2")])).await;
    shop.register("ada@example.test").await.unwrap();
    let (known, unknown) = (guessed(&shop, "ada@example.test", 3).await, guessed(&shop, "bob@example.test", 3).await);
    assert_eq!(codes(&known), codes(&unknown));
    let text = |refusals: &[Status]| refusals[0].message().to_owned();
    assert_eq!(text(&known), text(&unknown));
    assert!(unknown[2].message().starts_with("too many log-ins have failed"), "{}", unknown[2]);
}

#[tokio::test]
async fn the_right_password_in_time_gives_all_attempts_back() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start_with(folder.path(), settings(&[("user.login_failures_max", "3")])).await;
    shop.register("ada@example.test").await.unwrap();
    for _ in 0..3 {
        guessed(&shop, "ada@example.test", 2).await;
        shop.login("ada@example.test", PASSWORD).await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_address_opens_when_its_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(&[("user.login_failures_max", "1"), ("user.login_lock", "1s")]);
    let shop = Shop::start_with(folder.path(), config).await;
    shop.register("ada@example.test").await.unwrap();
    let refusals = guessed(&shop, "ada@example.test", 2).await;
    assert_eq!(codes(&refusals)[1], Code::ResourceExhausted);
    eventually("it is open", || async { shop.login("ada@example.test", PASSWORD).await.ok() }).await;
}
