//! A bound on waiting.

use std::time::Duration;

/// Longer than anything that is expected to happen takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The outcome of `work`, which comes within [`PATIENCE`].
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
