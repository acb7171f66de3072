//! Idempotency keys in Redis.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::OrderId;
use store::redis::Redis;

use crate::application::ports::IdempotencyKeys;

pub struct RedisKeys {
    redis: Arc<Redis>,
    ttl_ms: u64,
}

impl RedisKeys {
    /// Redis counts in milliseconds: a shorter `ttl` is one.
    pub fn new(redis: Arc<Redis>, ttl: Duration) -> Self {
        Self { redis, ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1) }
    }
}

#[async_trait]
impl IdempotencyKeys for RedisKeys {
    async fn used(&self, id: OrderId) -> bool {
        let mut set = redis::cmd("SET");
        set.arg(self.redis.key(format_args!("order:used:{id}"))).arg(1).arg("NX").arg("PX").arg(self.ttl_ms);
        // Only a key that was not there is set and answered `OK`.
        !matches!(self.redis.ask::<Option<String>>(&set).await, Ok(Some(_)))
    }
}
