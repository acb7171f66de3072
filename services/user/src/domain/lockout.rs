//! Locking an address out after too many wrong passwords.

use std::time::Duration;

use kernel::Timestamp;

/// How many attempts an address has, and for how long it is closed when they are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// At least 1.
    pub failures_max: u32,
    /// Since the last attempt. Attempts on a closed address do not make it longer: nobody can keep somebody
    /// else out for ever by trying again and again.
    pub lock: Duration,
}

/// The address is closed: its password, right or wrong, is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many log-ins have failed for this address; try again in {} s", self.retry_after_s())]
pub struct LockedOut {
    /// Until it opens again.
    pub retry_after: Duration,
}

impl LockedOut {
    /// In whole seconds, rounded up, so that whoever waits as long is not refused again.
    pub fn retry_after_s(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }
}

/// The attempts on one address that have not been followed by the right password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    count: u32,
    last: Timestamp,
}

impl Attempts {
    /// One more attempt, counted before its password is looked at, so that attempts at once are counted too.
    ///
    /// # Errors
    /// When the address is closed; then nothing is counted.
    pub fn admit(self, policy: LockoutPolicy, now: Timestamp) -> Result<Self, LockedOut> {
        let opens = self.last.plus(policy.lock);
        if self.count == 0 || opens <= now {
            return Ok(Self { count: 1, last: now });
        }
        if self.count >= policy.failures_max {
            return Err(LockedOut { retry_after: opens.since(now) });
        }
        Ok(Self { count: self.count + 1, last: now })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: LockoutPolicy = LockoutPolicy { failures_max: 3, lock: Duration::from_secs(60) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn an_address_is_closed_when_its_attempts_are_used_up_and_opens_again() {
        let mut attempts = Attempts::default();
        for second in [100, 110, 120] {
            attempts = attempts.admit(POLICY, at(second)).unwrap();
        }
        let closed = attempts.admit(POLICY, at(121)).unwrap_err();
        assert_eq!((closed.retry_after, closed.retry_after_s()), (Duration::from_secs(59), 59));
        assert!(closed.to_string().ends_with("try again in 59 s"), "{closed}");
        // Trying while it is closed does not put off the end.
        assert!(attempts.admit(POLICY, at(179)).is_err());
        assert_eq!(attempts.admit(POLICY, at(180)), Ok(Attempts { count: 1, last: at(180) }));
    }

    #[test]
    fn a_part_of_a_second_is_waited_for_as_a_whole_one() {
        assert_eq!(LockedOut { retry_after: Duration::from_millis(1001) }.retry_after_s(), 2);
    }

    proptest! {
        #[test]
        fn within_any_lock_no_more_than_the_allowed_attempts_get_through(
            gaps in prop::collection::vec(0_i64..30, 1..200),
            failures_max in 1_u32..6,
        ) {
            let policy = LockoutPolicy { failures_max, lock: Duration::from_secs(60) };
            let (mut attempts, mut now, mut through) = (Attempts::default(), 1_000, Vec::new());
            for gap in gaps {
                now += gap;
                match attempts.admit(policy, at(now)) {
                    Ok(next) => {
                        attempts = next;
                        through.push(now);
                    }
                    Err(closed) => {
                        // What it says is when it opens: one moment before it does not.
                        prop_assert!(closed.retry_after > Duration::ZERO && closed.retry_after <= policy.lock);
                        let opens = at(now).plus(closed.retry_after);
                        prop_assert!(attempts.admit(policy, opens).is_ok());
                        let before = Timestamp::from_micros(opens.as_micros() - 1);
                        prop_assert!(attempts.admit(policy, before).is_err());
                    }
                }
            }
            let most = failures_max as usize;
            for window in through.windows(most + 1) {
                prop_assert!(window.windows(2).any(|pair| pair[1] - pair[0] >= 60), "one too many: {window:?}");
            }
        }
    }
}
