//! Whether a call is within its caller's rate limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chassis::auth::{Caller, Role};

use super::ports::RateLimiter;
use crate::domain::window::Decision;

/// Callers who are not signed in cannot be told apart, so they share this many users' worth.
const ANONYMOUS_FACTOR: u32 = 10;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This caller is not limited.
    Unlimited,
    Decided(Decision),
    /// The counters cannot be reached, so the call is let through uncounted.
    Unenforced,
}

/// The rate limit, by caller. While the counters cannot be reached everybody is admitted: a shop that
/// sells without a limit is worth more than one that does not sell. The log says so once an outage.
#[derive(Clone)]
pub struct Admission {
    limiter: Arc<dyn RateLimiter>,
    per_minute: u32,
    is_out: Arc<AtomicBool>,
}

impl Admission {
    pub fn new(limiter: Arc<dyn RateLimiter>, per_minute: u32) -> Self {
        Self { limiter, per_minute, is_out: Arc::default() }
    }

    /// Counts a call of `operation` (bounded in number: a method and a route).
    pub async fn admit(&self, caller: &Caller, operation: &str) -> Verdict {
        let (bucket, limit) = match caller {
            Caller::User { role: Role::Customer, id } => (format!("user:{id}"), self.per_minute),
            Caller::Anonymous => (format!("anonymous:{operation}"), self.per_minute.saturating_mul(ANONYMOUS_FACTOR)),
            Caller::User { .. } | Caller::Service { .. } => return Verdict::Unlimited,
        };
        match self.limiter.admit(&bucket, limit).await {
            Ok(decision) => {
                if self.is_out.swap(false, Ordering::Relaxed) {
                    tracing::info!(target: "shop::http", "the rate limit is enforced again");
                }
                Verdict::Decided(decision)
            }
            Err(error) => {
                if !self.is_out.swap(true, Ordering::Relaxed) {
                    tracing::warn!(target: "shop::http", %error, "the rate limit is not enforced");
                }
                Verdict::Unenforced
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use async_trait::async_trait;
    use kernel::UserId;
    use store::StoreError;
    use uuid::Uuid;

    use super::*;

    /// Admits everything and remembers what it was asked, or is out of reach.
    #[derive(Default)]
    struct FakeLimiter {
        asked: Mutex<Vec<(String, u32)>>,
        down: AtomicBool,
    }

    #[async_trait]
    impl RateLimiter for FakeLimiter {
        async fn admit(&self, bucket: &str, limit: u32) -> Result<Decision, StoreError> {
            if self.down.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("down".to_owned()));
            }
            self.asked.lock().unwrap().push((bucket.to_owned(), limit));
            let (reset, retry_after) = (Duration::ZERO, Duration::ZERO);
            Ok(Decision { admitted: true, limit, remaining: limit, reset, retry_after })
        }
    }

    /// Counts what is logged.
    struct Lines(Arc<AtomicUsize>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    fn user(role: Role) -> Caller {
        Caller::User { id: UserId::from_uuid(Uuid::from_u128(1)), role }
    }

    #[tokio::test]
    async fn a_customer_has_one_bucket_and_the_unknown_share_one_for_each_operation() {
        let limiter = Arc::new(FakeLimiter::default());
        let admission = Admission::new(limiter.clone(), 100);
        admission.admit(&user(Role::Customer), "GET a").await;
        admission.admit(&user(Role::Customer), "GET b").await;
        admission.admit(&Caller::Anonymous, "GET a").await;
        admission.admit(&Caller::Anonymous, "GET b").await;
        let mine = "user:00000000-0000-0000-0000-000000000001".to_owned();
        let expected = [
            (mine.clone(), 100),
            (mine, 100),
            ("anonymous:GET a".to_owned(), 1000),
            ("anonymous:GET b".to_owned(), 1000),
        ];
        assert_eq!(*limiter.asked.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn staff_and_admins_are_not_counted() {
        let limiter = Arc::new(FakeLimiter::default());
        let admission = Admission::new(limiter.clone(), 1);
        for role in [Role::Staff, Role::Admin] {
            assert_eq!(admission.admit(&user(role), "GET a").await, Verdict::Unlimited);
        }
        assert!(limiter.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_is_turned_away_while_the_counters_are_out_of_reach_and_the_log_says_so_once() {
        let lines = Arc::new(AtomicUsize::new(0));
        let _logged = tracing::subscriber::set_default(Lines(lines.clone()));
        let limiter = Arc::new(FakeLimiter::default());
        let admission = Admission::new(limiter.clone(), 1);
        let mut expected = 0;
        for (down, what) in [(true, "goes"), (false, "comes back"), (true, "goes again")] {
            limiter.down.store(down, Ordering::Relaxed);
            for _ in 0..3 {
                let verdict = admission.clone().admit(&user(Role::Customer), "GET a").await;
                assert_eq!(verdict == Verdict::Unenforced, down);
            }
            expected += 1;
            assert_eq!(lines.load(Ordering::Relaxed), expected, "{what}");
        }
    }
}
