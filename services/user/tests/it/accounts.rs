//! Registering, logging in, profiles, and who may see and change them.

use chassis::auth::{Claims, Role};
use proto::user::v1 as wire;
use tonic::Code;

use crate::harness::{ADMIN, PASSWORD, Shop, build, settings, with_token};

fn rename(id: &str, name: &str) -> wire::UpdateProfileRequest {
    wire::UpdateProfileRequest { id: id.to_owned(), email: None, name: Some(name.to_owned()) }
}

fn move_to(id: &str, email: &str) -> wire::UpdateProfileRequest {
    wire::UpdateProfileRequest { id: id.to_owned(), email: Some(email.to_owned()), name: None }
}

fn claims(shop: &Shop, session: &wire::Session) -> Claims {
    shop.env.keys.verify(&session.token, shop.env.clock.now()).unwrap()
}

#[tokio::test]
async fn who_registers_is_signed_in_as_a_customer() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let session = shop.register("Ada@Example.test").await.unwrap();
    let claims = claims(&shop, &session);
    let user = session.user.unwrap();
    assert_eq!((user.email.as_str(), user.name.as_str(), user.role.as_str()), ("ada@example.test", "Ada", "customer"));
    assert_eq!((claims.sub, claims.role), (user.id, Role::Customer));
    assert_eq!(session.expires_at_us, claims.exp * 1_000_000);
    assert_eq!(claims.exp - claims.iat, 24 * 3600);
}

#[tokio::test]
async fn an_address_is_registered_once_however_it_is_spelt() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    shop.register("ada@example.test").await.unwrap();
    let refused = shop.register("ADA@example.test").await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
}

#[tokio::test]
async fn two_registrations_at_once_make_one_account() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let (left, right) = tokio::join!(shop.register("ada@example.test"), shop.register("ada@example.test"));
    let codes = [left, right].map(|answer| answer.map_or_else(|status| status.code(), |_| Code::Ok));
    assert!(codes.contains(&Code::Ok) && codes.contains(&Code::AlreadyExists), "{codes:?}");
}

#[tokio::test]
async fn an_account_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let registered = shop.register("ada@example.test").await.unwrap();
    shop.stop().await;
    let shop = Shop::start(folder.path()).await;
    let session = shop.login("Ada@example.test", PASSWORD).await.unwrap();
    assert_eq!(session.user, registered.user);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    shop.register("ada@example.test").await.unwrap();
    let wrong = shop.login("ada@example.test", "wrong").await.unwrap_err();
    let unknown = shop.login("bob@example.test", PASSWORD).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    assert_eq!((wrong.code(), wrong.message()), (unknown.code(), unknown.message()));
}

#[tokio::test]
async fn bad_input_is_refused_by_the_name_of_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start_with(folder.path(), settings(&[("user.password_min", "8")])).await;
    let (good, long) = ("ada@example.test", "x".repeat(129));
    for (field, email, password, name) in [
        ("email", "ada", PASSWORD, "Ada"),
        ("email", "", PASSWORD, "Ada"),
        ("password", good, "1234567", "Ada"),
        ("password", good, "", "Ada"),
        ("password", good, &long, "Ada"),
        ("name", good, PASSWORD, &long),
        ("name", good, PASSWORD, "A\nB"),
    ] {
        let request =
            wire::RegisterRequest { email: email.to_owned(), password: password.to_owned(), name: name.to_owned() };
        let refused = shop.client().register(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{}", refused.message());
        assert!(password.is_empty() || !refused.message().contains(password), "the password is repeated");
    }
    assert_eq!(shop.login(good, &long).await.unwrap_err().code(), Code::InvalidArgument);
    let refused = shop.profile(&shop.token_of(Role::Staff), "17").await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "id: `17` is not a user id"));
}

#[tokio::test]
async fn a_profile_is_shown_to_its_owner_to_staff_and_to_services() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = &ada.user.as_ref().unwrap().id;
    for token in [ada.token.clone(), shop.token_of(Role::Staff), shop.token_of(Role::Admin)] {
        assert_eq!(Some(shop.profile(&token, id).await.unwrap()), ada.user);
    }
    let request = wire::GetUserRequest { id: id.clone() };
    assert_eq!(Some(shop.service_client().get_user(request.clone()).await.unwrap().into_inner()), ada.user);

    let stranger = shop.profile(&shop.token_of(Role::Customer), id).await.unwrap_err();
    assert_eq!(stranger.code(), Code::PermissionDenied);
    let anonymous = shop.client().get_user(request).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    let forged = shop.profile("not.a.token", id).await.unwrap_err();
    assert_eq!(forged.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn users_are_told_in_one_answer_to_staff_and_services_alone() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let bob = shop.register("bob@example.test").await.unwrap();
    let [ada, bob] = [ada, bob].map(|session| (session.token, session.user.unwrap()));
    let nobody = "00000000-0000-4000-8000-000000000002".to_owned();
    let ids = vec![bob.1.id.clone(), nobody, ada.1.id.clone(), bob.1.id.clone()];
    let request = wire::GetUsersRequest { ids };
    let mut told = shop.service_client().get_users(request.clone()).await.unwrap().into_inner().users;
    told.sort_by(|one, other| one.email.cmp(&other.email));
    assert_eq!(told, [ada.1, bob.1.clone()]);

    let mut client = shop.client();
    let refused = with_token(&bob.0, client.get_users(wire::GetUsersRequest { ids: vec![bob.1.id] })).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied, "not even a customer about himself");
    let many = wire::GetUsersRequest { ids: vec![ada.0; 257] };
    let refused = shop.service_client().get_users(many).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "ids: at most 256 are expected"));
}

#[tokio::test]
async fn an_unknown_user_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let nobody = "00000000-0000-4000-8000-000000000002";
    let token = shop.token_of(Role::Admin);
    assert_eq!(shop.profile(&token, nobody).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(shop.update(&token, rename(nobody, "X")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_changed_profile_is_seen_at_once_although_it_was_cached() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = ada.user.unwrap().id;
    assert_eq!(shop.profile(&ada.token, &id).await.unwrap().name, "Ada");
    let changed = shop.update(&ada.token, rename(&id, "Countess")).await.unwrap();
    assert_eq!(changed.name, "Countess");
    assert_eq!(shop.profile(&ada.token, &id).await.unwrap(), changed);
}

#[tokio::test]
async fn whoever_signed_in_is_looked_up_in_the_cache_and_strangers_once() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = ada.user.unwrap().id;
    let admin = shop.login(ADMIN, PASSWORD).await.unwrap();
    let nobody = "00000000-0000-4000-8000-000000000002";
    let looked_up = |result: &str| {
        let sample = format!(r#"session_cache_requests_total{{service="user",result="{result}"}} "#);
        let text = shop.env.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&sample)).unwrap().parse::<u32>().unwrap()
    };
    for _ in 0..2 {
        shop.profile(&ada.token, &id).await.unwrap();
        assert_eq!(shop.profile(&admin.token, nobody).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!((looked_up("hit"), looked_up("miss")), (2, 2), "what is missing is not remembered as missing");
    // After a change the profile is read from the store once, and remembered again.
    shop.update(&ada.token, rename(&id, "Countess")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(shop.profile(&ada.token, &id).await.unwrap().name, "Countess");
    }
    assert_eq!((looked_up("hit"), looked_up("miss")), (3, 3));
}

#[tokio::test]
async fn a_profile_is_changed_by_its_owner_or_an_admin_only() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = ada.user.unwrap().id;
    for role in [Role::Customer, Role::Staff] {
        let refused = shop.update(&shop.token_of(role), rename(&id, "X")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{role}");
    }
    let anonymous = shop.client().update_profile(rename(&id, "X")).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
    assert_eq!(shop.profile(&ada.token, &id).await.unwrap().name, "Ada");
    assert_eq!(shop.update(&shop.token_of(Role::Admin), rename(&id, "X")).await.unwrap().name, "X");
}

#[tokio::test]
async fn a_new_address_logs_in_and_another_accounts_address_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    shop.register("bob@example.test").await.unwrap();
    let id = ada.user.unwrap().id;
    let taken = shop.update(&ada.token, move_to(&id, "BOB@example.test")).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists, "{taken}");

    shop.update(&ada.token, move_to(&id, "lovelace@example.test")).await.unwrap();
    assert_eq!(shop.login("lovelace@example.test", PASSWORD).await.unwrap().user.unwrap().id, id);
    assert_eq!(shop.login("ada@example.test", PASSWORD).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(shop.register("ada@example.test").await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn the_configured_admin_is_made_once_and_keeps_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let first = shop.login(ADMIN, PASSWORD).await.unwrap();
    assert_eq!(claims(&shop, &first).role, Role::Admin);
    shop.stop().await;
    let shop = Shop::start_with(folder.path(), settings(&[("user.admin_password", "another one")])).await;
    assert_eq!(shop.login(ADMIN, PASSWORD).await.unwrap().user, first.user);
    assert_eq!(shop.login(ADMIN, "another one").await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_customer_is_not_promoted_by_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    shop.register("ada@example.test").await.unwrap();
    shop.stop().await;
    let refused = build(folder.path(), settings(&[("user.admin_email", "ada@example.test")])).await.err().unwrap();
    assert!(refused.to_string().contains("ada@example.test is the account of a customer"), "{refused}");
}

#[tokio::test]
async fn an_admin_password_is_checked_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(&[("user.admin_password", "hush")]);
    assert!(!format!("{config:?}").contains("hush"));
    let refused = build(folder.path(), config).await.err().unwrap().to_string();
    assert!(refused.contains("--admin-password") && !refused.contains("hush"), "{refused}");
}

#[tokio::test]
async fn an_expired_token_is_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap().user.unwrap();
    let an_hour_ago = kernel::Timestamp::from_micros(shop.env.clock.now().as_micros() - 3_600_000_000);
    let expired = shop.env.keys.issue(&ada.id, Role::Customer, std::time::Duration::from_secs(60), an_hour_ago);
    let mut client = shop.client();
    let refused = with_token(&expired, client.get_user(wire::GetUserRequest { id: ada.id })).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_admin_gives_roles_to_others_and_nobody_to_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let ada = shop.register("ada@example.test").await.unwrap();
    let id = ada.user.unwrap().id;
    let assign = async |token: &str, id: &str, role: &str| {
        let request = wire::ChangeRoleRequest { id: id.to_owned(), role: role.to_owned() };
        with_token(token, shop.client().change_role(request)).await.map(|answer| answer.into_inner().role)
    };
    let session = shop.login(ADMIN, PASSWORD).await.unwrap();
    let (admin, own) = (session.token, session.user.unwrap().id);
    for token in [&ada.token, &shop.token_of(Role::Staff)] {
        let refused = assign(token, &id, "admin").await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    for role in ["staff", "staff", "admin", "customer", "staff"] {
        assert_eq!(assign(&admin, &id, role).await.unwrap(), role);
        let now = shop.profile(&ada.token, &id).await.unwrap();
        assert_eq!(now.role, role, "the session cache knows it at once");
    }
    assert_eq!(shop.login("ada@example.test", PASSWORD).await.unwrap().user.unwrap().role, "staff");
    assert_eq!(assign(&admin, &own, "customer").await.unwrap_err().code(), Code::FailedPrecondition);
    let nobody = "00000000-0000-4000-8000-000000000002";
    assert_eq!(assign(&admin, nobody, "staff").await.unwrap_err().code(), Code::NotFound);
    for role in ["service", "root", ""] {
        let refused = assign(&admin, &id, role).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{role}");
        assert!(refused.message().starts_with("role: "), "{}", refused.message());
    }
}

#[tokio::test]
async fn who_was_an_admin_gives_no_roles_with_the_token_of_that_time() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::start(folder.path()).await;
    let [ada, bob] = ["ada@example.test", "bob@example.test"]
        .map(async |address| shop.register(address).await.unwrap().user.unwrap().id);
    let (ada, bob) = (ada.await, bob.await);
    let assign = async |token: &str, id: &str, role: &str| {
        let request = wire::ChangeRoleRequest { id: id.to_owned(), role: role.to_owned() };
        with_token(token, shop.client().change_role(request)).await.map(|answer| answer.into_inner().role)
    };
    let first = shop.login(ADMIN, PASSWORD).await.unwrap().token;
    assign(&first, &ada, "admin").await.unwrap();
    let second = shop.login("ada@example.test", PASSWORD).await.unwrap().token;
    assert_eq!(assign(&second, &bob, "staff").await.unwrap(), "staff");

    assign(&first, &ada, "customer").await.unwrap();
    for role in ["admin", "customer"] {
        let refused = assign(&second, &bob, role).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let stranger = assign(&shop.token_of(Role::Admin), &bob, "admin").await.unwrap_err();
    assert_eq!(stranger.code(), Code::PermissionDenied, "a token of nobody's account: {stranger}");
    assert_eq!(shop.profile(&first, &bob).await.unwrap().role, "staff");
}
