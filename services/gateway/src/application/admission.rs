//! Whether a call is within its caller's rate limit.

use std::sync::Arc;

use chassis::auth::{Caller, Role};

use super::ports::RateLimiter;
use crate::domain::window::Decision;

/// Callers who are not signed in cannot be told apart, so they share this many users' worth.
const ANONYMOUS_FACTOR: u32 = 10;

/// The rate limit, by caller.
#[derive(Clone)]
pub struct Admission {
    limiter: Arc<dyn RateLimiter>,
    per_minute: u32,
}

impl Admission {
    pub fn new(limiter: Arc<dyn RateLimiter>, per_minute: u32) -> Self {
        Self { limiter, per_minute }
    }

    /// Counts a call of `operation` (bounded in number: a method and a route). `None` for whoever is
    /// not limited, and for everybody while the counters cannot be reached: a shop that sells without
    /// a limit is worth more than one that does not sell.
    pub async fn admit(&self, caller: &Caller, operation: &str) -> Option<Decision> {
        let (bucket, limit) = match caller {
            Caller::User { role: Role::Customer, id } => (format!("user:{id}"), self.per_minute),
            Caller::Anonymous => (format!("anonymous:{operation}"), self.per_minute.saturating_mul(ANONYMOUS_FACTOR)),
            Caller::User { .. } | Caller::Service { .. } => return None,
        };
        match self.limiter.admit(&bucket, limit).await {
            Ok(decision) => Some(decision),
            Err(error) => {
                tracing::warn!(target: "shop::http", %error, "the rate limit is not enforced");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use async_trait::async_trait;
    use chassis::StoreError;
    use kernel::UserId;
    use uuid::Uuid;

    use super::*;

    /// Admits everything and remembers what it was asked, or is out of reach.
    #[derive(Default)]
    struct FakeLimiter {
        asked: Mutex<Vec<(String, u32)>>,
        down: bool,
    }

    #[async_trait]
    impl RateLimiter for FakeLimiter {
        async fn admit(&self, bucket: &str, limit: u32) -> Result<Decision, StoreError> {
            if self.down {
                return Err(StoreError::Unavailable("down".to_owned()));
            }
            self.asked.lock().unwrap().push((bucket.to_owned(), limit));
            let (reset, retry_after) = (Duration::ZERO, Duration::ZERO);
            Ok(Decision { admitted: true, limit, remaining: limit, reset, retry_after })
        }
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
            assert_eq!(admission.admit(&user(role), "GET a").await, None);
        }
        assert!(limiter.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_is_turned_away_while_the_counters_are_out_of_reach() {
        let limiter = Arc::new(FakeLimiter { down: true, ..FakeLimiter::default() });
        assert_eq!(Admission::new(limiter, 1).admit(&user(Role::Customer), "GET a").await, None);
    }
}
