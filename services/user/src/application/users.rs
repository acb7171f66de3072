//! The use cases.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chassis::auth::Keys;
use chassis::clock::SharedClock;
use kernel::{Timestamp, UserId};
use store::StoreError;

use super::ports::{
    Added, HashError, LoginAttempts, PasswordHasher, Registration, SessionCache, UpdateRefusal, UserStore,
};
use crate::domain::{
    Change, Email, LockedOut, Name, Password, PasswordError, PasswordHash, PasswordPolicy, ProfileChange, Role, User,
};

/// The pass phrase of every account that was registered in bulk. It is public: such accounts are
/// for load and demonstration, and only an admin can make them.
pub const BULK_PASSWORD: &str = "every buyer has this pass phrase";

/// How often an update is tried again when somebody else changed the account first.
const UPDATE_TRIES: usize = 3;

/// Why a use case did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UserError {
    #[error("email: this address is taken")]
    EmailTaken,
    #[error("the address or the password is wrong")]
    WrongCredentials,
    #[error(transparent)]
    LockedOut(#[from] LockedOut),
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    /// Whatever their token says.
    #[error("only who is an admin now may do this")]
    NoAdminNow,
    #[error("password: {0}")]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct Session {
    pub user: User,
    pub token: String,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub policy: PasswordPolicy,
    /// How long a token is valid.
    pub token_ttl: Duration,
}

/// Accounts to make in bulk, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct BulkRange {
    pub buyers: Vec<(Email, Name)>,
}

impl BulkRange {
    /// The most accounts of one call, so that its transaction stays short.
    pub const COUNT_MAX: u32 = 1000;
}

/// Accounts, log-in and tokens. Hashing runs inline and takes tens of milliseconds of this
/// service's one thread: log-ins and registrations queue behind each other, which is accepted
/// (buyers of a load run are registered in bulk and carry tokens).
pub struct Users {
    store: Arc<dyn UserStore>,
    hasher: Arc<dyn PasswordHasher>,
    sessions: Arc<dyn SessionCache>,
    attempts: Arc<dyn LoginAttempts>,
    clock: SharedClock,
    keys: Keys,
    settings: Settings,
    bulk_hash: OnceLock<PasswordHash>,
}

impl Users {
    pub fn new(
        store: Arc<dyn UserStore>,
        hasher: Arc<dyn PasswordHasher>,
        sessions: Arc<dyn SessionCache>,
        attempts: Arc<dyn LoginAttempts>,
        clock: SharedClock,
        keys: Keys,
        settings: Settings,
    ) -> Self {
        Self { store, hasher, sessions, attempts, clock, keys, settings, bulk_hash: OnceLock::new() }
    }

    /// Makes a customer and signs them in.
    ///
    /// # Errors
    /// `EmailTaken`, `Password`, or that hashing or storage failed.
    pub async fn register(&self, email: Email, name: Name, password: &Password) -> Result<Session, UserError> {
        self.settings.policy.check(password)?;
        // Asked first because hashing is dear; the store decides in the end.
        if self.store.by_email(&email).await?.is_some() {
            return Err(UserError::EmailTaken);
        }
        let password_hash = self.hasher.hash(password)?;
        let change = User::register(email, name, Role::Customer, self.clock.now());
        let added = self.store.add(&[Registration { change, password_hash }]).await?;
        match added.into_iter().next() {
            Some(Added::New(user)) => {
                self.sessions.put(&user).await;
                Ok(self.session(user))
            }
            Some(Added::Existing(_)) => Err(UserError::EmailTaken),
            None => Err(unanswered().into()),
        }
    }

    /// Signs a user in.
    ///
    /// # Errors
    /// `WrongCredentials` for an unknown address and for a wrong password, `LockedOut` after too many of
    /// them: the same answers after the same work, so that neither text nor duration tells who has an
    /// account.
    pub async fn login(&self, email: &Email, password: &Password) -> Result<Session, UserError> {
        // Before anything is counted: a store that is away uses up nobody's attempts.
        let account = self.store.by_email(email).await?;
        self.attempts.admit(email).await?;
        let Some(account) = account else {
            self.hasher.hash(password)?;
            return Err(UserError::WrongCredentials);
        };
        if !self.hasher.verify(password, &account.password_hash)? {
            return Err(UserError::WrongCredentials);
        }
        self.attempts.forget(email).await;
        self.sessions.put(&account.user).await;
        Ok(self.session(account.user))
    }

    /// # Errors
    /// `NoSuchUser`, or that storage failed.
    pub async fn profile(&self, id: UserId) -> Result<User, UserError> {
        if let Some(user) = self.sessions.get(id).await {
            return Ok(user);
        }
        let user = self.stored(id).await?;
        self.sessions.put(&user).await;
        Ok(user)
    }

    /// Those of these users that there are, each once. Not through the cache, which is for those who are
    /// signed in: this is how others ask about strangers.
    ///
    /// # Errors
    /// When storage failed.
    pub async fn profiles(&self, mut ids: Vec<UserId>) -> Result<Vec<User>, UserError> {
        ids.sort_unstable();
        ids.dedup();
        Ok(self.store.by_ids(&ids).await?.into_iter().flatten().collect())
    }

    async fn stored(&self, id: UserId) -> Result<User, UserError> {
        self.store.by_ids(&[id]).await?.pop().flatten().ok_or(UserError::NoSuchUser(id))
    }

    /// Changes a profile. Must run to its end once begun: the cache is invalidated after the commit.
    ///
    /// # Errors
    /// `NoSuchUser`, `EmailTaken`, or that storage failed; `Conflict` after several tries.
    pub async fn update(&self, id: UserId, wish: ProfileChange) -> Result<User, UserError> {
        self.change(id, |user| user.update(wish.clone(), self.clock.now())).await
    }

    /// Gives an account another role in the name of `by`, whose own account is looked at: their token keeps a
    /// role that was taken from them, and what they gave away with it would outlive that token. Must run to its
    /// end once begun, as [`Users::update`].
    ///
    /// # Errors
    /// `NoAdminNow`, `NoSuchUser`, or that storage failed; `Conflict` after several tries.
    pub async fn assign(&self, by: UserId, id: UserId, role: Role) -> Result<User, UserError> {
        let giver = self.store.by_ids(&[by]).await?.pop().flatten();
        if giver.is_none_or(|user| user.role != Role::Admin) {
            return Err(UserError::NoAdminNow);
        }
        self.change(id, |user| user.assign(role, self.clock.now())).await
    }

    async fn change(
        &self,
        id: UserId,
        decide: impl Fn(&User) -> Option<Change> + Send + Sync,
    ) -> Result<User, UserError> {
        for _ in 0..UPDATE_TRIES {
            let user = self.stored(id).await?;
            let Some(change) = decide(&user) else { return Ok(user) };
            let answers = self.store.update(std::slice::from_ref(&change)).await;
            if !matches!(answers.as_deref(), Ok([Err(_), ..])) {
                // Also after a failure: whether it was committed is not known then.
                self.sessions.invalidate(id, change.user.version).await;
            }
            match answers?.into_iter().next() {
                Some(Ok(())) => return Ok(change.user),
                Some(Err(UpdateRefusal::EmailTaken)) => return Err(UserError::EmailTaken),
                Some(Err(UpdateRefusal::Stale)) => {}
                None => return Err(unanswered().into()),
            }
        }
        Err(StoreError::Conflict(format!("user {id}")).into())
    }

    /// Makes customers who share [`BULK_PASSWORD`] and one hash of it, all in one transaction, and
    /// signs them in; those that exist are kept as they are. Sessions come in the order asked.
    ///
    /// # Errors
    /// When hashing or storage failed: then no account was made.
    pub async fn register_bulk(&self, range: BulkRange) -> Result<Vec<Session>, UserError> {
        let password_hash = self.bulk_hash()?;
        let now = self.clock.now();
        let batch: Vec<Registration> = range
            .buyers
            .into_iter()
            .map(|(email, name)| Registration {
                change: User::register(email, name, Role::Customer, now),
                password_hash: password_hash.clone(),
            })
            .collect();
        let added = self.store.add(&batch).await?;
        Ok(added.into_iter().map(|(Added::New(user) | Added::Existing(user))| self.session(user)).collect())
    }

    fn bulk_hash(&self) -> Result<PasswordHash, HashError> {
        if let Some(hash) = self.bulk_hash.get() {
            return Ok(hash.clone());
        }
        let hash = self.hasher.hash(&Password::from(BULK_PASSWORD))?;
        Ok(self.bulk_hash.get_or_init(|| hash).clone())
    }

    fn session(&self, user: User) -> Session {
        let now = self.clock.now();
        let token = self.keys.issue(&user.id.to_string(), user.role, self.settings.token_ttl, now);
        // Tokens count whole seconds: the session ends exactly when its token does.
        let expires_at = Timestamp::from_micros(now.plus(self.settings.token_ttl).as_seconds() * 1_000_000);
        Session { user, token, expires_at }
    }
}

fn unanswered() -> StoreError {
    StoreError::Corrupt("the store did not answer".into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use chassis::clock::SystemClock;

    use super::super::ports::Account;
    use super::*;

    /// Hashes by reversing, and counts how much it worked.
    #[derive(Default)]
    struct CountingHasher(AtomicUsize);

    impl PasswordHasher for CountingHasher {
        fn hash(&self, password: &Password) -> Result<PasswordHash, HashError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(PasswordHash::from_phc(String::from_utf8_lossy(password.as_bytes()).chars().rev().collect()))
        }
        fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError> {
            Ok(self.hash(password)? == *hash)
        }
    }

    /// One account, and an update that loses the race as often as it is told to.
    #[derive(Default)]
    struct OneAccount {
        account: Mutex<Option<Account>>,
        races_to_lose: AtomicUsize,
    }

    #[async_trait]
    impl UserStore for OneAccount {
        async fn add(&self, batch: &[Registration]) -> Result<Vec<Added>, StoreError> {
            let mut added = Vec::new();
            for Registration { change, password_hash } in batch {
                let account = Account { user: change.user.clone(), password_hash: password_hash.clone() };
                *self.account.lock().unwrap() = Some(account);
                added.push(Added::New(change.user.clone()));
            }
            Ok(added)
        }
        async fn update(&self, batch: &[Change]) -> Result<Vec<Result<(), UpdateRefusal>>, StoreError> {
            let lost =
                self.races_to_lose.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            Ok(batch.iter().map(|_| if lost.is_ok() { Err(UpdateRefusal::Stale) } else { Ok(()) }).collect())
        }
        async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Option<User>>, StoreError> {
            let user = self.account.lock().unwrap().as_ref().map(|account| account.user.clone());
            Ok(ids.iter().map(|_| user.clone()).collect())
        }
        async fn by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
            Ok(self.account.lock().unwrap().clone().filter(|account| account.user.email == *email))
        }
    }

    #[derive(Default)]
    struct MapCache(Mutex<BTreeMap<UserId, User>>);

    #[async_trait]
    impl SessionCache for MapCache {
        async fn get(&self, id: UserId) -> Option<User> {
            self.0.lock().unwrap().get(&id).cloned()
        }
        async fn put(&self, user: &User) {
            self.0.lock().unwrap().insert(user.id, user.clone());
        }
        async fn invalidate(&self, id: UserId, _: i64) {
            self.0.lock().unwrap().remove(&id);
        }
    }

    /// Says whether it would admit anybody, and counts whom it did.
    #[derive(Default)]
    struct Door {
        closed: AtomicBool,
        admitted: AtomicUsize,
        forgotten: AtomicUsize,
    }

    #[async_trait]
    impl LoginAttempts for Door {
        async fn admit(&self, _: &Email) -> Result<(), LockedOut> {
            self.admitted.fetch_add(1, Ordering::Relaxed);
            match self.closed.load(Ordering::Relaxed) {
                true => Err(LockedOut { retry_after: Duration::from_secs(9) }),
                false => Ok(()),
            }
        }
        async fn forget(&self, _: &Email) {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Shop {
        store: Arc<OneAccount>,
        hasher: Arc<CountingHasher>,
        door: Arc<Door>,
        users: Users,
    }

    fn shop() -> Shop {
        let (store, hasher) = (Arc::new(OneAccount::default()), Arc::new(CountingHasher::default()));
        let settings = Settings { policy: PasswordPolicy { chars_min: 6 }, token_ttl: Duration::from_secs(60) };
        let keys = Keys::new(&[7; 32]).unwrap();
        let cache = Arc::new(MapCache::default());
        let door = Arc::new(Door::default());
        let clock = Arc::new(SystemClock);
        let users = Users::new(store.clone(), hasher.clone(), cache, door.clone(), clock, keys, settings);
        Shop { store, hasher, door, users }
    }

    fn ada() -> (Email, Name) {
        ("ada@example.test".parse().unwrap(), "Ada".to_owned().try_into().unwrap())
    }

    #[tokio::test]
    async fn an_unknown_address_costs_what_a_wrong_password_costs() {
        let Shop { hasher, users, .. } = shop();
        let (email, name) = ada();
        users.register(email.clone(), name, &"secret".into()).await.unwrap();
        let mut costs = Vec::new();
        for (address, password) in [(email, "wrong!"), ("bob@example.test".parse().unwrap(), "secret")] {
            let before = hasher.0.load(Ordering::Relaxed);
            let refused = users.login(&address, &password.into()).await;
            assert!(matches!(refused, Err(UserError::WrongCredentials)), "{refused:?}");
            costs.push(hasher.0.load(Ordering::Relaxed) - before);
        }
        assert_eq!(costs[0], costs[1]);
        assert!(costs[0] > 0);
    }

    #[tokio::test]
    async fn a_closed_address_costs_no_hash_and_tells_nothing_of_its_account() {
        let Shop { hasher, door, users, .. } = shop();
        let (email, name) = ada();
        users.register(email.clone(), name, &"secret".into()).await.unwrap();
        door.closed.store(true, Ordering::Relaxed);
        let before = hasher.0.load(Ordering::Relaxed);
        let mut told = Vec::new();
        for (address, password) in [(&email, "secret"), (&email, "wrong!"), (&"bob@example.test".parse().unwrap(), "x")]
        {
            let refused = users.login(address, &password.into()).await.unwrap_err();
            assert!(matches!(refused, UserError::LockedOut(_)), "{refused:?}");
            told.push(refused.to_string());
        }
        assert_eq!(hasher.0.load(Ordering::Relaxed), before);
        assert!(told.iter().all(|text| text == &told[0]), "{told:?}");
    }

    #[tokio::test]
    async fn only_the_right_password_makes_attempts_forgotten() {
        let Shop { door, users, .. } = shop();
        let (email, name) = ada();
        users.register(email.clone(), name, &"secret".into()).await.unwrap();
        let forgotten = || door.forgotten.load(Ordering::Relaxed);
        let _ = users.login(&email, &"wrong!".into()).await;
        let _ = users.login(&"bob@example.test".parse().unwrap(), &"secret".into()).await;
        assert_eq!((door.admitted.load(Ordering::Relaxed), forgotten()), (2, 0));
        users.login(&email, &"secret".into()).await.unwrap();
        assert_eq!((door.admitted.load(Ordering::Relaxed), forgotten()), (3, 1));
    }

    #[tokio::test]
    async fn a_lost_race_is_run_again_and_given_up_in_the_end() {
        let Shop { store, users, .. } = shop();
        let (email, name) = ada();
        let id = users.register(email, name, &"secret".into()).await.unwrap().user.id;
        let wish = || ProfileChange { email: None, name: Some("Countess".to_owned().try_into().unwrap()) };
        store.races_to_lose.store(UPDATE_TRIES - 1, Ordering::Relaxed);
        assert_eq!(users.update(id, wish()).await.unwrap().name.as_str(), "Countess");
        store.races_to_lose.store(UPDATE_TRIES, Ordering::Relaxed);
        assert!(matches!(users.update(id, wish()).await, Err(UserError::Store(StoreError::Conflict(_)))));
    }

    #[tokio::test]
    async fn a_thousand_accounts_cost_one_hash() {
        let Shop { hasher, users, .. } = shop();
        for _ in 0..2 {
            let buyers = (0..500).map(|n| (format!("b-{n}@example.test").parse().unwrap(), ada().1)).collect();
            assert_eq!(users.register_bulk(BulkRange { buyers }).await.unwrap().len(), 500);
        }
        assert_eq!(hasher.0.load(Ordering::Relaxed), 1);
    }
}
