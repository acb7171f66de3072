//! What every adapter of [`UserStore`] must keep, together with its outbox; each case starts empty.

use chassis::events::Outbox;
use kernel::Timestamp;
use serde_json::from_str;

use crate::application::ports::{Added, Registration, UpdateRefusal, UserStore};
use crate::domain::{Change, Email, Fact, Name, PasswordHash, ProfileChange, Role, User, UserEvent};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn email(who: &str) -> Email {
    format!("{who}@example.test").parse().unwrap()
}

fn name(text: &str) -> Name {
    text.to_owned().try_into().unwrap()
}

fn registration(who: &str) -> Registration {
    let change = User::register(email(who), name(who), Role::Customer, at(1));
    Registration { change, password_hash: PasswordHash::from_phc(format!("hash of {who}")) }
}

async fn added(store: &dyn UserStore, who: &str) -> User {
    match store.add(&[registration(who)]).await.unwrap().remove(0) {
        Added::New(user) => user,
        Added::Existing(user) => panic!("{who} exists as {user:?}"),
    }
}

fn moved(user: &User, to: &str) -> Change {
    user.update(ProfileChange { email: Some(email(to)), name: None }, at(2)).unwrap()
}

fn renamed(user: &User, to: &str) -> Change {
    user.update(ProfileChange { email: None, name: Some(name(to)) }, at(3)).unwrap()
}

async fn events(outbox: &dyn Outbox, user: &User) -> Vec<UserEvent> {
    let rows = outbox.all_of(&user.id.to_string()).await.unwrap();
    let read = |row: chassis::events::Event| UserEvent {
        user: row.aggregate.parse().unwrap(),
        version: row.version,
        occurred_at: row.occurred_at,
        fact: match row.kind.as_str() {
            "UserRegistered" => Fact::Registered(from_str(&row.data).unwrap()),
            "UserUpdated" => Fact::Updated(from_str(&row.data).unwrap()),
            other => panic!("{other}"),
        },
    };
    rows.into_iter().map(read).collect()
}

pub async fn an_added_account_is_found_by_id_and_by_address(store: &dyn UserStore, _: &dyn Outbox) {
    let ada = added(store, "ada").await;
    assert_eq!(store.by_id(ada.id).await.unwrap(), Some(ada.clone()));
    let account = store.by_email(&ada.email).await.unwrap().unwrap();
    assert_eq!((account.user, account.password_hash.as_str()), (ada, "hash of ada"));
    assert!(store.by_email(&email("bob")).await.unwrap().is_none());
    assert!(store.by_id(email("bob").user_id()).await.unwrap().is_none());
}

pub async fn a_taken_address_answers_its_holder_unchanged(store: &dyn UserStore, outbox: &dyn Outbox) {
    let ada = added(store, "ada").await;
    let mut again = registration("ada");
    again.change = User::register(email("ada"), name("somebody else"), Role::Admin, at(9));
    let answers = store.add(&[registration("bob"), again, registration("bob")]).await.unwrap();
    let bob = registration("bob").change.user;
    assert_eq!(answers, [Added::New(bob.clone()), Added::Existing(ada.clone()), Added::Existing(bob)]);
    assert_eq!(store.by_id(ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(events(outbox, &ada).await.len(), 1);
}

pub async fn an_address_is_never_given_to_somebody_else(store: &dyn UserStore, _: &dyn Outbox) {
    let (ada, bob) = (added(store, "ada").await, added(store, "bob").await);
    let lovelace = moved(&ada, "lovelace");
    assert_eq!(store.update(std::slice::from_ref(&lovelace)).await.unwrap(), [Ok(())]);
    assert!(store.by_email(&email("ada")).await.unwrap().is_none(), "an earlier address is not a way in");

    for taken in ["ada", "lovelace"] {
        let answer = store.update(&[moved(&bob, taken)]).await.unwrap();
        assert_eq!(answer, [Err(UpdateRefusal::EmailTaken)], "{taken}");
        let answer = store.add(&[registration(taken)]).await.unwrap();
        assert_eq!(answer, [Added::Existing(lovelace.user.clone())], "{taken}");
    }
    assert_eq!(store.update(&[moved(&lovelace.user, "ada")]).await.unwrap(), [Ok(())], "its own way back is open");
}

pub async fn folding_the_events_gives_the_row(store: &dyn UserStore, outbox: &dyn Outbox) {
    let ada = added(store, "ada").await;
    let first = moved(&ada, "lovelace");
    let second = renamed(&first.user, "Countess");
    assert_eq!(store.update(&[first, second]).await.unwrap(), [Ok(()), Ok(())]);
    let events = events(outbox, &ada).await;
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2, 3]);
    let folded = events.iter().try_fold(None, |user, event| User::apply(user, event).map(Some));
    assert_eq!(folded.flatten(), store.by_id(ada.id).await.unwrap());
}

pub async fn a_refused_change_does_not_stop_the_others(store: &dyn UserStore, outbox: &dyn Outbox) {
    let (ada, bob) = (added(store, "ada").await, added(store, "bob").await);
    let (first, late) = (renamed(&ada, "first"), renamed(&ada, "late"));
    let answers = store.update(&[first.clone(), late, moved(&bob, "ada"), renamed(&bob, "Bob")]).await.unwrap();
    assert_eq!(answers, [Ok(()), Err(UpdateRefusal::Stale), Err(UpdateRefusal::EmailTaken), Ok(())]);
    assert_eq!(store.by_id(ada.id).await.unwrap(), Some(first.user));
    assert_eq!(store.by_id(bob.id).await.unwrap().map(|user| user.name), Some(name("Bob")));
    assert_eq!((events(outbox, &ada).await.len(), events(outbox, &bob).await.len()), (2, 2));
}

pub async fn a_change_of_an_unknown_account_is_stale(store: &dyn UserStore, outbox: &dyn Outbox) {
    let nobody = registration("nobody").change.user;
    let answers = store.update(&[renamed(&nobody, "Somebody")]).await.unwrap();
    assert_eq!(answers, [Err(UpdateRefusal::Stale)]);
    assert!(events(outbox, &nobody).await.is_empty());
}
