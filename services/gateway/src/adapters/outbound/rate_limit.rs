//! Rate-limit counters in this process's memory.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use kernel::Timestamp;
use store::StoreError;
use store::expiring::ExpiringMap;
use tokio::time::Instant;

use crate::application::ports::RateLimiter;
use crate::domain::window::{Decision, WINDOW, Window};

/// At so many buckets, the one that was used longest ago makes room.
const BUCKETS_MAX: usize = 100_000;

/// Counts by time since its own start, so that a wall clock that jumps neither locks anybody out
/// nor lets anybody through.
pub struct InProcessRateLimiter {
    started: Instant,
    windows: Mutex<ExpiringMap<String, Window>>,
}

impl Default for InProcessRateLimiter {
    fn default() -> Self {
        Self { started: Instant::now(), windows: Mutex::new(ExpiringMap::new(BUCKETS_MAX)) }
    }
}

#[async_trait]
impl RateLimiter for InProcessRateLimiter {
    async fn admit(&self, bucket: &str, limit: u32) -> Result<Decision, StoreError> {
        let now = Timestamp::default().plus(self.started.elapsed());
        let bucket = bucket.to_owned();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&bucket, now).copied().unwrap_or_default();
        let (window, decision) = window.admit(limit, now);
        // A minute's count matters until the next minute is over.
        windows.insert(bucket, window, WINDOW * 2, now);
        Ok(decision)
    }
}
