//! What the gateway needs from the outside, besides the services themselves.

use async_trait::async_trait;
use store::StoreError;

use crate::domain::window::Decision;

/// Counts requests.
#[async_trait]
pub trait RateLimiter: Send + Sync + 'static {
    /// Counts one request against `bucket`, of which `limit` (at least 1) are admitted a minute.
    /// MUST decide by the arithmetic of [`crate::domain::window::Window`]; MUST NOT count what it
    /// refuses; MUST NOT let two concurrent calls be admitted on the same last unit; MUST keep
    /// buckets apart and in bounded memory.
    ///
    /// # Errors
    /// `Unavailable` when the counters cannot be reached, and soon: the request waits for the answer.
    /// It is served nevertheless, uncounted: [`crate::application::admission::Verdict::Unenforced`].
    async fn admit(&self, bucket: &str, limit: u32) -> Result<Decision, StoreError>;
}
