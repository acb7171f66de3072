//! Waiting for processes: they live in real time, which no virtual time reaches.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(3);

#[expect(clippy::disallowed_methods, reason = "this crate owns processes, which no virtual time reaches")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `met`, for `longest` at most; whether it was met.
#[expect(clippy::disallowed_methods, reason = "this crate owns processes, which no virtual time reaches")]
pub(crate) fn until(longest: Duration, mut met: impl FnMut() -> bool) -> bool {
    let began = now();
    loop {
        if met() {
            return true;
        }
        if began.elapsed() > longest {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
