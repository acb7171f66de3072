//! Rate-limit counters in this process's memory.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chassis::StoreError;
use chassis::expiring::ExpiringMap;
use kernel::Timestamp;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    // The contract of the port, for any adapter.

    async fn counts_down_to_nothing_and_then_refuses(limiter: &dyn RateLimiter) {
        for remaining in [2, 1, 0] {
            let decision = limiter.admit("countdown", 3).await.unwrap();
            assert_eq!((decision.admitted, decision.remaining, decision.limit), (true, remaining, 3));
        }
        let refused = limiter.admit("countdown", 3).await.unwrap();
        assert!(!refused.admitted && !refused.retry_after.is_zero());
        assert!(!refused.reset.is_zero() && refused.reset <= WINDOW);
    }

    async fn keeps_buckets_apart(limiter: &dyn RateLimiter) {
        assert!(limiter.admit("left", 1).await.unwrap().admitted);
        assert!(limiter.admit("right", 1).await.unwrap().admitted);
        assert!(!limiter.admit("left", 1).await.unwrap().admitted);
    }

    async fn does_not_count_what_it_refuses(limiter: &dyn RateLimiter) {
        limiter.admit("patient", 1).await.unwrap();
        for _ in 0..50 {
            assert!(!limiter.admit("patient", 1).await.unwrap().admitted);
        }
        let raised = limiter.admit("patient", 2).await.unwrap();
        assert!(raised.admitted, "fifty refusals left one unit of two");
    }

    async fn admits_no_more_than_the_limit_under_concurrency(limiter: Arc<dyn RateLimiter>) {
        let calls: Vec<_> = (0..40)
            .map(|_| {
                let limiter = limiter.clone();
                tokio::spawn(async move { limiter.admit("rush", 10).await.unwrap().admitted })
            })
            .collect();
        let mut admitted = 0;
        for call in calls {
            admitted += u32::from(call.await.unwrap());
        }
        assert_eq!(admitted, 10);
    }

    #[tokio::test]
    async fn the_in_process_limiter_keeps_the_contract() {
        let limiter = Arc::new(InProcessRateLimiter::default());
        counts_down_to_nothing_and_then_refuses(&*limiter).await;
        keeps_buckets_apart(&*limiter).await;
        does_not_count_what_it_refuses(&*limiter).await;
        admits_no_more_than_the_limit_under_concurrency(limiter).await;
    }
}
