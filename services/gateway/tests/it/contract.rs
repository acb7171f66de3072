//! What every adapter of [`RateLimiter`] must keep; each case starts empty.

use std::sync::Arc;

use gateway::application::ports::RateLimiter;
use gateway::domain::window::WINDOW;

/// Hands the names of the cases to a macro that makes tests of them.
macro_rules! limiter_cases {
    ($keeps:ident) => {
        $keeps!(
            counts_down_to_nothing_and_then_refuses,
            keeps_buckets_apart,
            does_not_count_what_it_refuses,
            admits_exactly_the_limit_under_concurrency,
        );
    };
}

pub async fn counts_down_to_nothing_and_then_refuses(limiter: Arc<dyn RateLimiter>) {
    for remaining in [2, 1, 0] {
        let decision = limiter.admit("countdown", 3).await.unwrap();
        assert_eq!((decision.admitted, decision.remaining, decision.limit), (true, remaining, 3));
    }
    let refused = limiter.admit("countdown", 3).await.unwrap();
    assert!(!refused.admitted && !refused.retry_after.is_zero());
    assert!(!refused.reset.is_zero() && refused.reset <= WINDOW);
}

pub async fn keeps_buckets_apart(limiter: Arc<dyn RateLimiter>) {
    assert!(limiter.admit("left", 1).await.unwrap().admitted);
    assert!(limiter.admit("right", 1).await.unwrap().admitted);
    assert!(!limiter.admit("left", 1).await.unwrap().admitted);
}

pub async fn does_not_count_what_it_refuses(limiter: Arc<dyn RateLimiter>) {
    limiter.admit("patient", 1).await.unwrap();
    for _ in 0..50 {
        assert!(!limiter.admit("patient", 1).await.unwrap().admitted);
    }
    let raised = limiter.admit("patient", 2).await.unwrap();
    assert!(raised.admitted, "fifty refusals left one unit of two");
}

pub async fn admits_exactly_the_limit_under_concurrency(limiter: Arc<dyn RateLimiter>) {
    for (bucket, limit) in [("rush-1", 1), ("rush-10", 10), ("rush-64", 64), ("rush-100", 100)] {
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let limiter = limiter.clone();
                tokio::spawn(async move { limiter.admit(bucket, limit).await.unwrap().admitted })
            })
            .collect();
        let mut admitted = 0;
        for call in calls {
            admitted += u32::from(call.await.unwrap());
        }
        assert_eq!(admitted, limit.min(64), "{bucket}");
    }
}
