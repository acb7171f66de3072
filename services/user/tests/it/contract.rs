//! What every adapter of [`UserStore`] must keep, together with its outbox, every [`SessionCache`], and
//! every [`LoginAttempts`]; each case starts empty.

use std::sync::Arc;
use std::time::Duration;

use eventlog::Outbox;
use kernel::{Timestamp, UserId};
use serde_json::from_str;

use user::application::ports::{Added, LoginAttempts, Registration, SessionCache, UpdateRefusal, UserStore};
use user::domain::{Change, Email, Fact, LockoutPolicy, Name, PasswordHash, ProfileChange, Role, User, UserEvent};

/// Hands the names of the store's cases to a macro that makes tests of them.
macro_rules! store_cases {
    ($keeps:ident) => {
        $keeps!(
            an_added_account_is_found_by_id_and_by_address,
            accounts_are_found_in_the_order_of_their_ids,
            a_taken_address_answers_its_holder_unchanged,
            an_address_is_never_given_to_somebody_else,
            folding_the_events_gives_the_row,
            another_role_is_kept,
            a_refused_change_does_not_stop_the_others,
            a_change_of_an_unknown_account_is_stale,
            an_address_that_was_given_up_can_be_taken_in_the_same_batch,
            a_thousand_registrations_are_one_batch,
            of_registrations_at_once_one_makes_the_account,
            batches_at_once_in_any_order_end,
            of_changes_at_once_to_one_account_one_counts,
            of_moves_at_once_to_one_address_one_counts,
            an_address_goes_to_a_newcomer_or_to_a_mover_but_not_to_both,
        );
    };
}

/// As [`store_cases`], for the cache's cases.
macro_rules! session_cases {
    ($keeps:ident) => {
        $keeps!(
            a_remembered_profile_is_answered_until_it_is_invalidated,
            a_late_reader_does_not_bring_an_old_profile_back,
            a_late_invalidation_leaves_what_is_newer,
        );
    };
}

/// As [`store_cases`], for the count of failed log-ins: with [`POLICY`], and with one of [`SHORT`].
macro_rules! attempts_cases {
    ($keeps:ident) => {
        $keeps!(
            POLICY: an_address_is_closed_when_its_attempts_are_used_up,
            POLICY: addresses_are_counted_apart,
            POLICY: the_right_password_gives_all_attempts_back,
            POLICY: of_attempts_at_once_no_more_get_through_than_one_after_the_other,
            SHORT: a_closed_address_opens_again,
        );
    };
}

pub const POLICY: LockoutPolicy = LockoutPolicy { failures_max: 5, lock: Duration::from_secs(60) };
pub const SHORT: LockoutPolicy = LockoutPolicy { failures_max: 1, lock: Duration::from_millis(30) };

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

async fn added(store: &Arc<dyn UserStore>, who: &str) -> User {
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
    let read = |row: eventlog::Event| UserEvent {
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

async fn by_id(store: &dyn UserStore, id: UserId) -> Option<User> {
    store.by_ids(&[id]).await.unwrap().pop().unwrap()
}

pub async fn accounts_are_found_in_the_order_of_their_ids(store: Arc<dyn UserStore>, _: &dyn Outbox) {
    let (ada, bob) = (added(&store, "ada").await, added(&store, "bob").await);
    let nobody = email("nobody").user_id();
    let found = store.by_ids(&[bob.id, nobody, ada.id, bob.id]).await.unwrap();
    assert_eq!(found, [Some(bob.clone()), None, Some(ada), Some(bob)]);
    assert_eq!(store.by_ids(&[]).await.unwrap(), []);
}

pub async fn an_added_account_is_found_by_id_and_by_address(store: Arc<dyn UserStore>, _: &dyn Outbox) {
    let ada = added(&store, "ada").await;
    assert_eq!(by_id(&*store, ada.id).await, Some(ada.clone()));
    let account = store.by_email(&ada.email).await.unwrap().unwrap();
    assert_eq!((account.user, account.password_hash.as_str()), (ada, "hash of ada"));
    assert!(store.by_email(&email("bob")).await.unwrap().is_none());
    assert!(by_id(&*store, email("bob").user_id()).await.is_none());
}

pub async fn a_taken_address_answers_its_holder_unchanged(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let ada = added(&store, "ada").await;
    let mut again = registration("ada");
    again.change = User::register(email("ada"), name("somebody else"), Role::Admin, at(9));
    let answers = store.add(&[registration("bob"), again, registration("bob")]).await.unwrap();
    let bob = registration("bob").change.user;
    assert_eq!(answers, [Added::New(bob.clone()), Added::Existing(ada.clone()), Added::Existing(bob)]);
    assert_eq!(by_id(&*store, ada.id).await, Some(ada.clone()));
    assert_eq!(events(outbox, &ada).await.len(), 1);
}

pub async fn an_address_is_never_given_to_somebody_else(store: Arc<dyn UserStore>, _: &dyn Outbox) {
    let (ada, bob) = (added(&store, "ada").await, added(&store, "bob").await);
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

pub async fn folding_the_events_gives_the_row(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let ada = added(&store, "ada").await;
    let first = moved(&ada, "lovelace");
    let second = renamed(&first.user, "Countess");
    assert_eq!(store.update(&[first, second]).await.unwrap(), [Ok(()), Ok(())]);
    let events = events(outbox, &ada).await;
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2, 3]);
    let folded = events.iter().try_fold(None, |user, event| User::apply(user, event).map(Some));
    assert_eq!(folded.flatten(), by_id(&*store, ada.id).await);
}

pub async fn another_role_is_kept(store: Arc<dyn UserStore>, _: &dyn Outbox) {
    let ada = added(&store, "ada").await;
    let staff = ada.assign(Role::Staff, at(2)).unwrap();
    let renamed = staff.user.update(ProfileChange { email: None, name: Some(name("Countess")) }, at(3)).unwrap();
    assert_eq!(store.update(&[staff, renamed.clone()]).await.unwrap(), [Ok(()), Ok(())]);
    assert_eq!(renamed.user.role, Role::Staff);
    assert_eq!(store.by_ids(&[ada.id]).await.unwrap(), [Some(renamed.user)]);
}

pub async fn a_refused_change_does_not_stop_the_others(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let (ada, bob) = (added(&store, "ada").await, added(&store, "bob").await);
    let (first, late) = (renamed(&ada, "first"), renamed(&ada, "late"));
    let answers = store.update(&[first.clone(), late, moved(&bob, "ada"), renamed(&bob, "Bob")]).await.unwrap();
    assert_eq!(answers, [Ok(()), Err(UpdateRefusal::Stale), Err(UpdateRefusal::EmailTaken), Ok(())]);
    assert_eq!(by_id(&*store, ada.id).await, Some(first.user));
    assert_eq!(by_id(&*store, bob.id).await.map(|user| user.name), Some(name("Bob")));
    assert_eq!((events(outbox, &ada).await.len(), events(outbox, &bob).await.len()), (2, 2));
}

pub async fn a_change_of_an_unknown_account_is_stale(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let nobody = registration("nobody").change.user;
    let answers = store.update(&[renamed(&nobody, "Somebody")]).await.unwrap();
    assert_eq!(answers, [Err(UpdateRefusal::Stale)]);
    assert!(events(outbox, &nobody).await.is_empty());
}

pub async fn an_address_that_was_given_up_can_be_taken_in_the_same_batch(
    store: Arc<dyn UserStore>,
    outbox: &dyn Outbox,
) {
    let (ada, bob) = (added(&store, "ada").await, added(&store, "bob").await);
    let first = moved(&ada, "lovelace");
    assert_eq!(store.update(std::slice::from_ref(&first)).await.unwrap(), [Ok(())]);
    let (second, taken) = (moved(&first.user, "countess"), moved(&bob, "lovelace"));
    assert_eq!(store.update(&[second.clone(), taken.clone()]).await.unwrap(), [Ok(()), Ok(())]);
    assert_eq!(store.by_email(&email("lovelace")).await.unwrap().map(|account| account.user), Some(taken.user));
    assert_eq!(store.by_email(&email("countess")).await.unwrap().map(|account| account.user), Some(second.user));
    assert_eq!(events(outbox, &ada).await.len(), 3);
}

pub async fn a_thousand_registrations_are_one_batch(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let third = added(&store, "buyer-3").await;
    let batch: Vec<Registration> = (0..1000).map(|number| registration(&format!("buyer-{number}"))).collect();
    let answers = store.add(&batch).await.unwrap();
    for (number, (answer, asked)) in answers.iter().zip(&batch).enumerate() {
        match answer {
            Added::Existing(user) => assert_eq!((number, user), (3, &third)),
            Added::New(user) => assert_eq!(user, &asked.change.user),
        }
    }
    assert!(store.add(&batch).await.unwrap().iter().all(|answer| matches!(answer, Added::Existing(_))));
    for number in [0, 3, 999] {
        let user = &batch[number].change.user;
        assert_eq!(by_id(&*store, user.id).await.as_ref(), Some(user));
        assert_eq!(events(outbox, user).await.len(), 1);
    }
}

/// Runs `work` at once for every input.
async fn at_once<I, T, F>(inputs: impl IntoIterator<Item = I>, work: impl Fn(I) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = inputs.into_iter().map(|input| tokio::spawn(work(input))).collect();
    let mut done = Vec::new();
    for task in running {
        done.push(task.await.unwrap());
    }
    done
}

pub async fn of_registrations_at_once_one_makes_the_account(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    for round in 0..10 {
        let who = format!("ada-{round}");
        let answers = at_once(0..6, |_| {
            let (store, batch) = (store.clone(), [registration(&who)]);
            async move { store.add(&batch).await.unwrap().remove(0) }
        })
        .await;
        let user = registration(&who).change.user;
        assert_eq!(answers.iter().filter(|answer| **answer == Added::New(user.clone())).count(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == Added::Existing(user.clone())).count(), 5);
        assert_eq!(events(outbox, &user).await.len(), 1);
    }
}

pub async fn batches_at_once_in_any_order_end(store: Arc<dyn UserStore>, _: &dyn Outbox) {
    let batch: Vec<Registration> = (0..50).map(|number| registration(&format!("b-{number}"))).collect();
    let answers = at_once(0..6, |turn| {
        let (store, mut batch) = (store.clone(), batch.clone());
        batch.rotate_left(turn * 7);
        if turn % 2 == 0 {
            batch.reverse();
        }
        async move { store.add(&batch).await.unwrap() }
    })
    .await;
    let new = answers.iter().flatten().filter(|answer| matches!(answer, Added::New(_)));
    assert_eq!(new.count(), 50);

    let users: Vec<User> = batch.into_iter().map(|registration| registration.change.user).collect();
    let answers = at_once(0..6, |turn| {
        let store = store.clone();
        let to = |(number, user)| moved(user, &format!("to-{number}"));
        let mut changes: Vec<Change> = users.iter().enumerate().map(to).collect();
        changes.rotate_left(turn * 7);
        async move { store.update(&changes).await.unwrap() }
    })
    .await;
    assert_eq!(answers.iter().flatten().filter(|answer| answer.is_ok()).count(), 50);
}

pub async fn of_changes_at_once_to_one_account_one_counts(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let mut ada = added(&store, "ada").await;
    for round in 0..10 {
        let changes: Vec<Change> = (0..6).map(|turn| renamed(&ada, &format!("Ada {round}.{turn}"))).collect();
        let answers = at_once(changes.clone(), |change| {
            let store = store.clone();
            async move { store.update(&[change]).await.unwrap().remove(0) }
        })
        .await;
        let winners: Vec<&Change> =
            changes.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(change, _)| change).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(UpdateRefusal::Stale))));
        ada = by_id(&*store, ada.id).await.unwrap();
        assert_eq!(ada, winners[0].user);
    }
    assert_eq!(events(outbox, &ada).await.len(), 11);
}

pub async fn of_moves_at_once_to_one_address_one_counts(store: Arc<dyn UserStore>, outbox: &dyn Outbox) {
    let mut users = Vec::new();
    for number in 0..6 {
        users.push(added(&store, &format!("user-{number}")).await);
    }
    for round in 0..10 {
        let to = format!("free-{round}");
        let changes: Vec<Change> = users.iter().map(|user| moved(user, &to)).collect();
        let answers = at_once(changes.clone(), |change| {
            let store = store.clone();
            async move { store.update(&[change]).await.unwrap().remove(0) }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        let winner = answers.iter().position(Result::is_ok).unwrap();
        let account = store.by_email(&email(&to)).await.unwrap().unwrap();
        assert_eq!(account.user, changes[winner].user);
        assert_eq!(i64::try_from(events(outbox, &account.user).await.len()).unwrap(), account.user.version);
        users[winner] = account.user;
    }
}

pub async fn an_address_goes_to_a_newcomer_or_to_a_mover_but_not_to_both(store: Arc<dyn UserStore>, _: &dyn Outbox) {
    let mut ada = added(&store, "ada").await;
    for round in 0..20 {
        let who = format!("free-{round}");
        let (newcomer, mover) = (registration(&who), moved(&ada, &who));
        let (newcomers, movers) = ([newcomer.clone()], [mover.clone()]);
        let (added, changed) = tokio::join!(store.add(&newcomers), store.update(&movers));
        let holder = store.by_email(&email(&who)).await.unwrap().unwrap().user;
        match (added.unwrap().remove(0), changed.unwrap().remove(0)) {
            (Added::New(user), Err(UpdateRefusal::EmailTaken)) => assert_eq!(holder, user),
            (Added::Existing(user), Ok(())) => {
                assert_eq!((&holder, &user), (&mover.user, &mover.user));
                ada = holder;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn ada() -> User {
    registration("ada").change.user
}

pub async fn a_remembered_profile_is_answered_until_it_is_invalidated(cache: &dyn SessionCache) {
    let ada = ada();
    assert_eq!(cache.get(ada.id).await, None);
    cache.put(&ada).await;
    assert_eq!(cache.get(ada.id).await, Some(ada.clone()));
    assert_eq!(cache.get(email("bob").user_id()).await, None);
    cache.invalidate(ada.id, 2).await;
    assert_eq!(cache.get(ada.id).await, None);
    let changed = renamed(&ada, "Countess").user;
    cache.put(&changed).await;
    assert_eq!(cache.get(ada.id).await, Some(changed));
}

pub async fn a_late_reader_does_not_bring_an_old_profile_back(cache: &dyn SessionCache) {
    let ada = ada();
    let changed = renamed(&ada, "Countess").user;
    // It was read before the change, and is stored after it.
    cache.invalidate(ada.id, changed.version).await;
    cache.put(&ada).await;
    assert_eq!(cache.get(ada.id).await, None);
    cache.put(&changed).await;
    cache.put(&ada).await;
    assert_eq!(cache.get(ada.id).await, Some(changed));
}

pub async fn a_late_invalidation_leaves_what_is_newer(cache: &dyn SessionCache) {
    let second = renamed(&ada(), "Countess").user;
    let third = renamed(&second, "Lovelace").user;
    cache.invalidate(third.id, 3).await;
    cache.put(&third).await;
    cache.invalidate(third.id, 2).await;
    assert_eq!(cache.get(third.id).await, Some(third.clone()));
    cache.put(&second).await;
    assert_eq!(cache.get(third.id).await, Some(third));
}

async fn use_up(attempts: &dyn LoginAttempts, who: &str) {
    for _ in 0..POLICY.failures_max {
        attempts.admit(&email(who)).await.unwrap();
    }
}

pub async fn an_address_is_closed_when_its_attempts_are_used_up(attempts: &dyn LoginAttempts) {
    use_up(attempts, "ada").await;
    let closed = attempts.admit(&email("ada")).await.unwrap_err();
    assert!(closed.retry_after > Duration::from_secs(50) && closed.retry_after <= POLICY.lock, "{closed:?}");
}

pub async fn addresses_are_counted_apart(attempts: &dyn LoginAttempts) {
    use_up(attempts, "ada").await;
    use_up(attempts, "bob").await;
    assert!(attempts.admit(&email("ada")).await.is_err() && attempts.admit(&email("bob")).await.is_err());
}

pub async fn the_right_password_gives_all_attempts_back(attempts: &dyn LoginAttempts) {
    attempts.forget(&email("ada")).await;
    use_up(attempts, "ada").await;
    use_up(attempts, "bob").await;
    attempts.forget(&email("ada")).await;
    use_up(attempts, "ada").await;
    assert!(attempts.admit(&email("bob")).await.is_err());
}

pub async fn of_attempts_at_once_no_more_get_through_than_one_after_the_other(attempts: &dyn LoginAttempts) {
    let ada = email("ada");
    let (one, two, three, four) = tokio::join!(
        async { (attempts.admit(&ada).await.is_ok(), attempts.admit(&ada).await.is_ok()) },
        async { (attempts.admit(&ada).await.is_ok(), attempts.admit(&ada).await.is_ok()) },
        async { (attempts.admit(&ada).await.is_ok(), attempts.admit(&ada).await.is_ok()) },
        async { (attempts.admit(&ada).await.is_ok(), attempts.admit(&ada).await.is_ok()) },
    );
    let through =
        [one, two, three, four].into_iter().flat_map(|(left, right)| [left, right]).filter(|through| *through);
    assert_eq!(through.count(), POLICY.failures_max as usize);
}

pub async fn a_closed_address_opens_again(attempts: &dyn LoginAttempts) {
    attempts.admit(&email("ada")).await.unwrap();
    crate::harness::eventually("it is open", || async { attempts.admit(&email("ada")).await.ok() }).await;
}
