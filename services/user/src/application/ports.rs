//! What the use cases need of the outside world.

use async_trait::async_trait;
use kernel::UserId;
use store::StoreError;

use crate::domain::{Change, Email, LockedOut, Password, PasswordHash, User};

/// A new account with what is kept of its password.
#[derive(Debug, Clone)]
pub struct Registration {
    pub change: Change,
    pub password_hash: PasswordHash,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    New(User),
    /// The address is taken; this is the account that it belongs to, unchanged.
    Existing(User),
}

/// What logging in looks at.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: User,
    pub password_hash: PasswordHash,
}

/// Why one change of a batch was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpdateRefusal {
    #[error("the address belongs to another account")]
    EmailTaken,
    /// The account is not at the version before this change, or there is no such account.
    #[error("the account has changed meanwhile")]
    Stale,
}

/// The accounts and their outbox.
///
/// An address is *taken* by the account that has it now, and by the account that was registered
/// with it: an address that somebody has moved away from is never given to somebody else.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Adds accounts; answers one result each, in order. MUST commit all new accounts with their
    /// events in one transaction, or nothing. MUST leave the account behind a taken address as it
    /// is and answer it; a second registration of one address within the batch is such a case.
    async fn add(&self, batch: &[Registration]) -> Result<Vec<Added>, StoreError>;

    /// Stores changed accounts with their events in one transaction; answers one result each, in
    /// order. A refused change MUST leave nothing behind and MUST NOT stop the others.
    async fn update(&self, batch: &[Change]) -> Result<Vec<Result<(), UpdateRefusal>>, StoreError>;

    /// The accounts of these ids, in order.
    async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Option<User>>, StoreError>;

    /// The account that has this address now. MUST NOT find it under an earlier address.
    async fn by_email(&self, email: &Email) -> Result<Option<Account>, StoreError>;
}

/// Hashing failed for a reason that is not the password.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub struct HashError(pub String);

/// A slow, salted password hash. Synchronous on purpose: it is nothing but computing.
pub trait PasswordHasher: Send + Sync + 'static {
    /// MUST draw a new salt each time; MUST cost what [`PasswordHasher::verify`] costs.
    ///
    /// # Errors
    /// When the memory is not to be had.
    fn hash(&self, password: &Password) -> Result<PasswordHash, HashError>;

    /// Whether `hash` was made of this password. MUST use the parameters that stand in `hash`.
    ///
    /// # Errors
    /// When `hash` cannot be read.
    fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError>;
}

/// Profiles of signed-in users by id, for a bounded time. A cache cannot fail: one that cannot be
/// reached is empty.
#[async_trait]
pub trait SessionCache: Send + Sync + 'static {
    /// MUST NOT answer a profile after its time to live, nor one that was invalidated.
    async fn get(&self, id: UserId) -> Option<User>;
    /// Remembers a profile, unless a later version of it was remembered or demanded: a reader that
    /// is late MUST NOT bring an old one back. MUST be bounded: older entries make room.
    async fn put(&self, user: &User);
    /// From now on nothing older than `version` is good. MUST hold also where the cache could not be
    /// reached: what it could not be told is told later, and until then it counts as empty.
    async fn invalidate(&self, id: UserId, version: i64);
}

/// Log-in attempts by address, whether there is an account or not, for a bounded time. They may be lost: then
/// an address has all its attempts again. Counters that cannot be reached count nothing and close nothing.
#[async_trait]
pub trait LoginAttempts: Send + Sync + 'static {
    /// Counts an attempt as [`Attempts::admit`](crate::domain::Attempts::admit) does. MUST count attempts that
    /// are made at once one after the other, in whichever process. MUST be bounded: older addresses make room.
    ///
    /// # Errors
    /// When the address is closed.
    async fn admit(&self, email: &Email) -> Result<(), LockedOut>;

    /// The password was right: the attempts so far are forgotten.
    async fn forget(&self, email: &Email);
}
