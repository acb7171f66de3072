//! Failed log-ins by address: in this process's memory, or in Redis, where all instances share them.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use kernel::UserId;
use redis::Script;
use store::StoreError;
use store::expiring::ExpiringMap;
use store::redis::Redis;

use crate::application::ports::LoginAttempts;
use crate::domain::{Attempts, Email, LockedOut, LockoutPolicy};

pub struct InProcessAttempts {
    /// By the id that follows from the address.
    entries: Mutex<ExpiringMap<UserId, Attempts>>,
    policy: LockoutPolicy,
    clock: SharedClock,
}

impl InProcessAttempts {
    /// For at most `capacity` addresses.
    pub fn new(capacity: usize, policy: LockoutPolicy, clock: SharedClock) -> Self {
        Self { entries: Mutex::new(ExpiringMap::new(capacity)), policy, clock }
    }
}

#[async_trait]
impl LoginAttempts for InProcessAttempts {
    async fn admit(&self, email: &Email) -> Result<(), LockedOut> {
        let (address, now) = (email.user_id(), self.clock.now());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let before = entries.get(&address, now).copied().unwrap_or_default();
        entries.insert(address, before.admit(self.policy, now)?, self.policy.lock, now);
        Ok(())
    }

    async fn forget(&self, email: &Email) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(&email.user_id());
    }
}

/// What a counter's key begins with; the id that follows from the address comes after it, so that no
/// address stands there.
pub const KEY_PREFIX: &str = "login-failures:";

/// [`Attempts::admit`] on a counter that expires with its lock. `ARGV`: the most failures, and the lock in
/// milliseconds. Answers 0, or for how many milliseconds the address is still closed.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local count = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
         if count >= tonumber(ARGV[1]) then return math.max(redis.call('PTTL', KEYS[1]), 1) end
         redis.call('SET', KEYS[1], count + 1, 'PX', ARGV[2])
         return 0",
    )
});

pub struct RedisAttempts {
    redis: Arc<Redis>,
    policy: LockoutPolicy,
}

impl RedisAttempts {
    pub fn new(redis: Arc<Redis>, policy: LockoutPolicy) -> Self {
        Self { redis, policy }
    }

    fn key(&self, email: &Email) -> String {
        self.redis.key(format_args!("{KEY_PREFIX}{}", email.user_id()))
    }
}

#[async_trait]
impl LoginAttempts for RedisAttempts {
    async fn admit(&self, email: &Email) -> Result<(), LockedOut> {
        let LockoutPolicy { failures_max, lock } = self.policy;
        let arguments = [failures_max.to_string(), lock.as_millis().max(1).to_string()];
        // Without an answer nobody is locked out: a shop that cannot count still lets its customers in.
        let closed_ms: Result<u64, StoreError> = self.redis.run(&ADMIT, &[self.key(email)], &arguments).await;
        match closed_ms {
            Ok(0) | Err(_) => Ok(()),
            Ok(left_ms) => Err(LockedOut { retry_after: Duration::from_millis(left_ms) }),
        }
    }

    async fn forget(&self, email: &Email) {
        // What is not forgotten now expires.
        let _: Result<i64, StoreError> = self.redis.ask(redis::cmd("DEL").arg(self.key(email))).await;
    }
}
