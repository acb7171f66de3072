//! Registering in bulk.

use chassis::auth::Role;
use proto::user::v1 as wire;
use tonic::{Code, Response, Status};

use crate::harness::{Shop, with_token};

async fn bulk(shop: &Shop, token: &str, prefix: &str, first: u32, count: u32) -> Result<Vec<wire::Session>, Status> {
    let request = wire::RegisterBulkRequest { prefix: prefix.to_owned(), first, count };
    let mut client = shop.client();
    let answer = with_token(token, client.register_bulk(request)).await;
    answer.map(Response::into_inner).map(|response| response.sessions)
}

#[tokio::test]
async fn makes_a_thousand_customers_with_tokens_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let sessions = bulk(&shop, &shop.token_of(Role::Admin), "buyer", 1, 1000).await.unwrap();
    assert_eq!(sessions.len(), 1000);
    for (session, number) in sessions.iter().zip(1..) {
        let user = session.user.as_ref().unwrap();
        assert_eq!(user.email, format!("buyer-{number}@example.test"));
        let claims = shop.env.keys.verify(&session.token, shop.env.clock.now()).unwrap();
        assert_eq!((&claims.sub, claims.role), (&user.id, Role::Customer));
    }
    let session = shop.login("buyer-500@example.test", user::BULK_PASSWORD).await.unwrap();
    assert_eq!(session.user, sessions[499].user);
}

#[tokio::test]
async fn repeating_it_answers_the_same_accounts_and_keeps_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let admin = shop.token_of(Role::Admin);
    let first = bulk(&shop, &admin, "buyer", 0, 3).await.unwrap();
    let id = first[1].user.as_ref().unwrap().id.clone();
    let rename = wire::UpdateProfileRequest { id, email: None, name: Some("Renamed".to_owned()) };
    let renamed = shop.update(&first[1].token, rename).await.unwrap();

    let again = bulk(&shop, &admin, "buyer", 0, 4).await.unwrap();
    let users: Vec<_> = again.iter().map(|session| session.user.clone().unwrap()).collect();
    assert_eq!(Some(&users[0]), first[0].user.as_ref());
    assert_eq!(users[1], renamed);
    assert_eq!(users[3].email, "buyer-3@example.test");
}

#[tokio::test]
async fn another_shop_derives_the_same_ids() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::start(folder.path()).await;
        let sessions = bulk(&shop, &shop.token_of(Role::Admin), "buyer", 7, 2).await.unwrap();
        ids.push(sessions.into_iter().map(|session| session.user.unwrap().id).collect::<Vec<_>>());
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn only_an_admin_may() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    for role in [Role::Customer, Role::Staff, Role::Service] {
        let refused = bulk(&shop, &shop.token_of(role), "buyer", 0, 1).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
    }
    let request = wire::RegisterBulkRequest { prefix: "buyer".to_owned(), first: 0, count: 1 };
    assert_eq!(shop.client().register_bulk(request).await.unwrap_err().code(), Code::Unauthenticated);
    let unmade = shop.login("buyer-0@example.test", user::BULK_PASSWORD).await.unwrap_err();
    assert_eq!(unmade.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn bounds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let admin = shop.token_of(Role::Admin);
    for (field, prefix, first, count) in [
        ("count", "buyer", 0, 0),
        ("count", "buyer", 0, 1001),
        ("prefix", "", 0, 1),
        ("prefix", "a b", 0, 1),
        ("prefix", "a@b", 0, 1),
        ("first", "buyer", u32::MAX, 1),
    ] {
        let refused = bulk(&shop, &admin, prefix, first, count).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{}", refused.message());
    }
}
