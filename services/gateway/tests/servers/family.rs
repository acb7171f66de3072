//! The family of servers, for the harness.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use chassis::Clock;
use chassis::clock::{SharedClock, SystemClock};
use eventlog::Backing;
use kernel::Timestamp;
use servers::Borrowed;

thread_local! {
    /// A test has a thread of its own: its servers live as long as it does.
    static BORROWED: RefCell<Option<Borrowed>> = const { RefCell::new(None) };
}

/// The servers of this test, in its namespace.
pub fn connections() -> store::Servers {
    BORROWED
        .with_borrow_mut(|borrowed| borrowed.get_or_insert_with(|| servers::for_test().unwrap()).connections.clone())
}

pub fn backing(_: &Path) -> Backing {
    Backing::Servers(connections())
}

/// The system's clock, put back to the beginning of its minute when it was made: no test has a
/// minute end in its midst.
struct BegunMinute(i64);

impl Clock for BegunMinute {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().as_micros() - self.0)
    }
}

pub fn clock() -> SharedClock {
    Arc::new(BegunMinute(SystemClock.now().as_micros().rem_euclid(60_000_000)))
}
