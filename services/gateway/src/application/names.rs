//! Names for what clients left unnamed: requests and idempotency keys.

use std::sync::{Arc, Mutex, PoisonError};

use chassis::clock::SharedClock;
use chassis::rng::Stream;
use rand::Rng as _;
use uuid::{Builder, Uuid};

/// Makes UUIDs of version 7 from the injected clock and a random stream of its own. The time in them
/// keeps a restarted gateway, whose stream may begin anew, from repeating a name.
#[derive(Clone)]
pub struct Names {
    clock: SharedClock,
    random: Arc<Mutex<Stream>>,
}

impl Names {
    pub fn new(clock: SharedClock, random: Stream) -> Self {
        Self { clock, random: Arc::new(Mutex::new(random)) }
    }

    pub fn next(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_micros() / 1000).unwrap_or(0);
        let mut random = [0; 10];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut random);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use chassis::Clock;
    use chassis::rng::Seeds;
    use kernel::Timestamp;

    use super::*;

    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0 * 1_000_000)
        }
    }

    fn names(second: i64) -> Names {
        Names::new(Arc::new(At(second)), Seeds::from_number(1).stream("names"))
    }

    #[test]
    fn a_run_repeats_its_names_and_a_restarted_gateway_does_not() {
        assert_eq!(names(5).next(), names(5).next());
        assert_ne!(names(5).next(), names(6).next());
        let names = names(5);
        assert_ne!(names.next(), names.next());
    }
}
