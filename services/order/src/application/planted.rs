//! PLANTED BUGS that make a run differ from its repetition, for the test that notices such things.

use std::time::Duration;

use tokio::time::sleep;

/// What a step waits for that nothing in the world decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whim {
    /// The order in which a hash map happens to hold its keys.
    HashOrder,
    /// What the machine's clock shows.
    SystemClock,
}

impl Whim {
    /// Up to 7 ms.
    pub async fn wait(self) {
        let millis = match self {
            Self::HashOrder => first_of_a_hash_map(),
            Self::SystemClock => system_clock_us() % 8,
        };
        sleep(Duration::from_millis(millis)).await;
    }
}

#[expect(clippy::disallowed_types, reason = "this is the bug")]
fn first_of_a_hash_map() -> u64 {
    let keys: std::collections::HashMap<u64, ()> = (0..8).map(|key| (key, ())).collect();
    keys.into_keys().next().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "this is the bug")]
fn system_clock_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_micros())
}
