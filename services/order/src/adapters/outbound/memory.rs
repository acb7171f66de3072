//! Idempotency keys in this process's memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use kernel::OrderId;
use store::expiring::ExpiringMap;

use crate::application::ports::IdempotencyKeys;

/// Keys remembered at most; about 10 MB.
const CAPACITY: usize = 100_000;

pub struct InProcessKeys {
    used: Mutex<ExpiringMap<OrderId, ()>>,
    ttl: Duration,
    clock: SharedClock,
}

impl InProcessKeys {
    pub fn new(ttl: Duration, clock: SharedClock) -> Self {
        Self { used: Mutex::new(ExpiringMap::new(CAPACITY)), ttl, clock }
    }
}

#[async_trait]
impl IdempotencyKeys for InProcessKeys {
    async fn used(&self, id: OrderId) -> bool {
        let now = self.clock.now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(&id, now).is_some() {
            return true;
        }
        used.insert(id, (), self.ttl, now);
        false
    }
}
