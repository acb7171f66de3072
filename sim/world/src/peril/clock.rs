//! A role's wall clock, which may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chassis::clock::{Clock, SharedClock};
use kernel::Timestamp;

pub(super) struct WallClock {
    pub true_time: SharedClock,
    /// Microseconds.
    pub offset: Arc<AtomicI64>,
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let wrong_by = self.offset.load(Ordering::Relaxed);
        Timestamp::from_micros(self.true_time.now().as_micros().saturating_add(wrong_by))
    }
}
