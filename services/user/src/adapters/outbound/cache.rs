//! The session cache in this process's memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::expiring::ExpiringMap;
use kernel::UserId;

use crate::application::ports::SessionCache;
use crate::domain::User;

pub struct InProcessSessions {
    entries: Mutex<ExpiringMap<UserId, User>>,
    ttl: Duration,
    clock: SharedClock,
}

impl InProcessSessions {
    pub fn new(capacity: usize, ttl: Duration, clock: SharedClock) -> Self {
        Self { entries: Mutex::new(ExpiringMap::new(capacity)), ttl, clock }
    }

    fn entries(&self) -> MutexGuard<'_, ExpiringMap<UserId, User>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SessionCache for InProcessSessions {
    async fn get(&self, id: UserId) -> Option<User> {
        self.entries().get(&id, self.clock.now()).cloned()
    }

    async fn put(&self, user: &User) {
        self.entries().insert(user.id, user.clone(), self.ttl, self.clock.now());
    }

    async fn invalidate(&self, id: UserId) {
        self.entries().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use chassis::Clock;
    use kernel::Timestamp;

    use super::*;
    use crate::domain::Role;

    /// A clock in seconds that stands until it is moved.
    #[derive(Default)]
    struct HandClock(AtomicI64);

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed) * 1_000_000)
        }
    }

    #[tokio::test]
    async fn a_profile_is_forgotten_when_its_time_is_up_or_it_is_invalidated() {
        let clock = Arc::new(HandClock::default());
        let cache = InProcessSessions::new(10, Duration::from_secs(5), clock.clone());
        let (email, name) = ("ada@example.test".parse().unwrap(), "Ada".to_owned().try_into().unwrap());
        let ada = User::register(email, name, Role::Customer, Timestamp::default()).user;
        cache.put(&ada).await;
        clock.0.store(4, Ordering::Relaxed);
        assert_eq!(cache.get(ada.id).await, Some(ada.clone()));
        clock.0.store(5, Ordering::Relaxed);
        assert_eq!(cache.get(ada.id).await, None);
        cache.put(&ada).await;
        cache.invalidate(ada.id).await;
        assert_eq!(cache.get(ada.id).await, None);
    }
}
