//! The session cache in Redis: a profile under `session:<user id>`, never a password hash or a token.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::metrics::CacheCounters;
use kernel::{Role, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use store::StoreError;
use store::redis::versioned::{self, Entry, VersionedCache};

use super::rows::corrupt;
use crate::application::ports::SessionCache;
use crate::domain::{Email, Name, User};

/// What a session's key begins with; the user's id follows.
pub const KEY_PREFIX: &str = "session:";

/// A profile as it is cached. A list of its own: what [`User`] gains is not cached by accident.
#[derive(Serialize, Deserialize)]
struct Profile {
    id: UserId,
    email: Email,
    name: Name,
    role: Role,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn written(user: &User) -> Result<String, serde_json::Error> {
    let User { id, email, name, role, version: _, created_at, updated_at } = user.clone();
    serde_json::to_string(&Profile { id, email, name, role, created_at, updated_at })
}

fn read(version: i64, value: &str) -> Result<User, StoreError> {
    let Profile { id, email, name, role, created_at, updated_at } = serde_json::from_str(value)?;
    Ok(User { id, email, name, role, version, created_at, updated_at })
}

/// What a cached value says, for audits: the profile, or nothing where only outdated ones are
/// refused.
///
/// # Errors
/// `Corrupt` for what this program did not write.
pub fn parse(held: &str) -> Result<Option<User>, StoreError> {
    let (version, value) = versioned::parse(held).ok_or_else(|| corrupt("a session is unreadable"))?;
    value.map(|value| read(version, value)).transpose()
}

pub struct RedisSessions {
    cache: Arc<VersionedCache>,
    counters: CacheCounters,
}

impl RedisSessions {
    pub fn new(cache: Arc<VersionedCache>, counters: CacheCounters) -> Self {
        Self { cache, counters }
    }

    fn key(&self, id: UserId) -> String {
        self.cache.redis().key(format_args!("{KEY_PREFIX}{id}"))
    }
}

#[async_trait]
impl SessionCache for RedisSessions {
    async fn get(&self, id: UserId) -> Option<User> {
        let held = self.cache.get(&[self.key(id)]).await.pop().flatten();
        let found = held.and_then(|(version, value)| read(version, &value).ok()).filter(|user| user.id == id);
        self.counters.count(found.is_some());
        found
    }

    async fn put(&self, user: &User) {
        let Ok(value) = written(user) else { return };
        self.cache.put(&[Entry { key: self.key(user.id), alias: None, version: user.version, value }]).await;
    }

    async fn invalidate(&self, id: UserId, version: i64) {
        self.cache.outdate(&[(self.key(id), version)]).await;
    }
}
