//! Wall-clock time, injected. For durations use `tokio::time::Instant`, which is virtual too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kernel::Timestamp;
use tokio::time::Instant;

/// Tells what the wall clock shows. It may jump; nothing may rely on it to measure a duration.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this adapter owns the system clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().plus(since_epoch)
    }
}

/// How far a wall clock has to jump to be told of, in microseconds.
const JUMP_US: i64 = 1_000_000;

/// What the wall clock showed when this was made, and the time that has passed since by a clock that does not
/// jump: what a process decides by when something is due or too old. A jump of the wall clock while the process
/// runs brings nothing forward and puts nothing off. Whoever is started later reads the wall clock anew, so what
/// one process has stored for another is as right as the wall clock was when each of them started.
///
/// Not for what others judge by their own clocks, such as the expiry of a token.
pub struct SteadyClock {
    wall: SharedClock,
    begin: Timestamp,
    started: Instant,
    /// By how much the wall clock was known to differ when that was last told, in microseconds.
    told_us: AtomicI64,
}

impl SteadyClock {
    /// Reads the wall clock, this once.
    pub fn start(wall: SharedClock) -> Self {
        let begin = wall.now();
        Self { wall, begin, started: Instant::now(), told_us: AtomicI64::new(0) }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let now = self.begin.plus(self.started.elapsed());
        let ahead_us = self.wall.now().as_micros().saturating_sub(now.as_micros());
        if ahead_us.saturating_sub(self.told_us.load(Ordering::Relaxed)).abs() >= JUMP_US {
            self.told_us.store(ahead_us, Ordering::Relaxed);
            let ahead_ms = ahead_us / 1000;
            tracing::warn!(ahead_ms, "the wall clock has jumped; until the next start it is not followed");
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Wrong(AtomicI64);

    impl Clock for Wrong {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_clock_goes_on_while_the_wall_clock_jumps() {
        let wall = Arc::new(Wrong(AtomicI64::new(5_000_000)));
        let steady = SteadyClock::start(wall.clone());
        assert_eq!(steady.now().as_micros(), 5_000_000);
        for wrong in [3_600_000_000, -3_600_000_000] {
            wall.0.store(wrong, Ordering::Relaxed);
            let before = steady.now();
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(steady.now(), before.plus(Duration::from_secs(2)));
        }
        assert_eq!(SteadyClock::start(wall).now().as_micros(), -3_600_000_000, "who starts later reads it anew");
    }
}
