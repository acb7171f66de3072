//! What the stream `USERS` is told.

use eventlog::Message;
use proto::user::v1 as wire;

use crate::harness::{ADMIN, Shop, build, eventually, settings};

async fn messages(shop: &Shop, user: &str, count: usize) -> Vec<Message> {
    eventually("the events are in the log", || async {
        let found = shop.log.read(user::STREAM, user).await.unwrap();
        (found.len() >= count).then_some(found)
    })
    .await
}

#[tokio::test]
async fn registering_and_updating_reach_the_log_in_order_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = ada.user.unwrap().id;
    let rename = wire::UpdateProfileRequest { id: id.clone(), email: None, name: Some("Countess".to_owned()) };
    shop.update(&ada.token, rename.clone()).await.unwrap();
    shop.update(&ada.token, rename).await.unwrap();
    let told = messages(&shop, &id, 2).await;
    let facts: Vec<_> =
        told.iter().map(|message| (message.event.version, &*message.event.kind, &*message.event.data)).collect();
    assert_eq!(
        facts,
        [
            (1, "UserRegistered", r#"{"email":"ada@example.test","name":"Ada","role":"customer"}"#),
            (2, "UserUpdated", r#"{"name":"Countess"}"#),
        ]
    );
    assert!(told.iter().all(|message| message.event.traceparent.is_some()), "{told:?}");
}

#[tokio::test]
async fn what_a_killed_process_left_untold_is_told_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    // Building commits the admin account; the relay never gets to run.
    drop(build(folder.path(), settings(&[])).await.unwrap());
    let shop = Shop::start(folder.path()).await;
    let id = ADMIN.parse::<user::Email>().unwrap().user_id().to_string();
    let told = messages(&shop, &id, 1).await;
    assert_eq!((told.len(), &*told[0].event.kind), (1, "UserRegistered"));
}
