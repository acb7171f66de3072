//! The session cache in this process's memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::metrics::CacheCounters;
use kernel::UserId;
use store::expiring::VersionedMap;

use crate::application::ports::SessionCache;
use crate::domain::User;

pub struct InProcessSessions {
    entries: Mutex<VersionedMap<UserId, User>>,
    ttl: Duration,
    clock: SharedClock,
    counters: CacheCounters,
}

impl InProcessSessions {
    pub fn new(capacity: usize, ttl: Duration, clock: SharedClock, counters: CacheCounters) -> Self {
        Self { entries: Mutex::new(VersionedMap::new(capacity)), ttl, clock, counters }
    }

    fn entries(&self) -> MutexGuard<'_, VersionedMap<UserId, User>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SessionCache for InProcessSessions {
    async fn get(&self, id: UserId) -> Option<User> {
        let found = self.entries().get(&id, self.clock.now()).cloned();
        self.counters.count(found.is_some());
        found
    }

    async fn put(&self, user: &User) {
        self.entries().put(user.id, user.version, user.clone(), self.ttl, self.clock.now());
    }

    async fn invalidate(&self, id: UserId, version: i64) {
        self.entries().outdate(id, version, self.ttl, self.clock.now());
    }
}
