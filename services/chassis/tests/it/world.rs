//! What the tests lend the code: a clock that goes with tokio's time, and a bound on waiting.

use std::time::Duration;

use chassis::Clock;
use kernel::Timestamp;
use tokio::time::Instant;

/// A wall clock that goes with tokio's time, which tests pause.
pub struct TestClock(Instant);

impl TestClock {
    const EPOCH: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Self::EPOCH.plus(self.0.elapsed())
    }
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The outcome of `work`, which comes within [`PATIENCE`].
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
