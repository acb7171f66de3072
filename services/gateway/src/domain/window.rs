//! The arithmetic of the rate limit: a sliding window made of two counters.
//!
//! Requests are counted by aligned minute. What counts against the limit is this minute's number
//! and that share of the last minute's which a window of one minute, ending now, still covers. Two
//! counters a caller suffice, and a burst at the end of one minute is not forgotten at the start of
//! the next.

use std::time::Duration;

use kernel::Timestamp;

/// The span that a limit is about.
pub const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_US: u64 = 60_000_000;

/// What one caller has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    index: i64,
    previous: u32,
    current: u32,
}

/// What became of one request, and what its caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub admitted: bool,
    pub limit: u32,
    /// How many more would be admitted right now.
    pub remaining: u32,
    /// Until the current minute is over.
    pub reset: Duration,
    /// Until a request would be admitted; zero while some remain.
    pub retry_after: Duration,
}

impl Window {
    /// Counters that were kept elsewhere: the minute, the requests of the one before, and its own.
    pub const fn from_counters(minute: i64, previous: u32, current: u32) -> Self {
        Self { index: minute, previous, current }
    }

    /// Counts a request at `now` if it is within `limit` (at least 1); refused ones are not counted.
    pub fn admit(self, limit: u32, now: Timestamp) -> (Self, Decision) {
        let (mut window, elapsed_us) = self.at(now);
        let admitted = window.used(elapsed_us) < limit;
        if admitted {
            window.current += 1;
        }
        (window, window.decision(admitted, limit, now))
    }

    /// What the caller of a request at `now` is told, once it is counted here or refused.
    pub fn decision(self, admitted: bool, limit: u32, now: Timestamp) -> Decision {
        let (window, elapsed_us) = self.at(now);
        Decision {
            admitted,
            limit,
            remaining: limit.saturating_sub(window.used(elapsed_us)),
            reset: Duration::from_micros(WINDOW_US - elapsed_us),
            retry_after: window.wait(limit, elapsed_us),
        }
    }

    /// The same usage seen at `now`, and how far `now` is into its minute. After two minutes of
    /// silence nothing is left. A call that is late by less than a minute (its clock was read before
    /// another's, or lags behind) counts at the beginning of the minute that has begun meanwhile;
    /// after a longer step back nothing is left, since a future that was wrong must not lock anybody
    /// out.
    fn at(self, now: Timestamp) -> (Self, u64) {
        let (index, elapsed_us) = minute_of(now);
        match index.checked_sub(self.index) {
            Some(0) => (self, elapsed_us),
            Some(1) => (Self { index, previous: self.current, current: 0 }, elapsed_us),
            Some(-1) => (self, 0),
            _ => (Self { index, previous: 0, current: 0 }, elapsed_us),
        }
    }

    fn used(&self, elapsed_us: u64) -> u32 {
        let carried = u64::from(self.previous) * (WINDOW_US - elapsed_us) / WINDOW_US;
        self.current.saturating_add(u32::try_from(carried).unwrap_or(u32::MAX))
    }

    /// The shortest wait after which a request is admitted, if nothing else is asked meanwhile.
    fn wait(&self, limit: u32, elapsed_us: u64) -> Duration {
        if self.used(elapsed_us) < limit {
            return Duration::ZERO;
        }
        let until = match limit.checked_sub(self.current) {
            Some(room) if room > 0 => admitted_from(self.previous, room) - elapsed_us,
            // This minute is used up by itself: the next one starts with all of it carried over.
            _ => WINDOW_US - elapsed_us + admitted_from(self.current, limit),
        };
        Duration::from_micros(until)
    }
}

/// The minute that `now` is in, and how far into it, in microseconds.
pub fn minute_of(now: Timestamp) -> (i64, u64) {
    let length = WINDOW_US.cast_signed();
    (now.as_micros().div_euclid(length), now.as_micros().rem_euclid(length).cast_unsigned())
}

/// How far into a minute `carried` requests of the minute before leave less than `room`.
fn admitted_from(carried: u32, room: u32) -> u64 {
    // The largest share s of the minute, in microseconds, with carried · s < room · WINDOW.
    let share = (u64::from(room) * WINDOW_US).div_ceil(u64::from(carried.max(1))) - 1;
    WINDOW_US.saturating_sub(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(us: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_micros(us))
    }

    fn burst(mut window: Window, count: u32, limit: u32, us: u64) -> (Window, u32) {
        let mut admitted = 0;
        for _ in 0..count {
            let (next, decision) = window.admit(limit, at(us));
            window = next;
            admitted += u32::from(decision.admitted);
        }
        (window, admitted)
    }

    #[test]
    fn counts_down_and_then_refuses() {
        let (window, first) = Window::default().admit(2, at(15_000_000));
        assert_eq!((first.admitted, first.remaining, first.reset), (true, 1, Duration::from_secs(45)));
        let (window, second) = window.admit(2, at(15_000_000));
        assert_eq!((second.admitted, second.remaining), (true, 0));
        let (_, third) = window.admit(2, at(15_000_000));
        assert!(!third.admitted);
        assert!(third.retry_after > Duration::from_secs(45));
    }

    #[test]
    fn a_burst_at_the_end_of_a_minute_counts_in_the_next() {
        let (window, _) = burst(Window::default(), 100, 100, WINDOW_US - 1);
        let (window, admitted) = burst(window, 100, 100, WINDOW_US + 1);
        assert!(admitted <= 1, "{admitted}");
        let (_, admitted) = burst(window, 100, 100, WINDOW_US + WINDOW_US / 2);
        assert!((48..=51).contains(&admitted), "half of the burst has left the window: {admitted}");
    }

    #[test]
    fn silence_of_two_minutes_and_a_step_back_start_anew() {
        let (window, _) = burst(Window::default(), 5, 5, 10 * WINDOW_US);
        assert!(!window.admit(5, at(10 * WINDOW_US)).1.admitted);
        assert!(window.admit(5, at(12 * WINDOW_US)).1.admitted);
        assert!(window.admit(5, at(3 * WINDOW_US)).1.admitted);
    }

    #[test]
    fn calls_that_overtake_each_other_at_the_turn_of_a_minute_are_all_counted() {
        let (mut window, mut admitted) = (Window::default(), 0);
        for call in 0..40 {
            let now = if call % 2 == 0 { 7 * WINDOW_US } else { 7 * WINDOW_US - 1 };
            let (next, decision) = window.admit(10, at(now));
            window = next;
            admitted += u32::from(decision.admitted);
        }
        assert_eq!(admitted, 10);
    }

    proptest! {
        #[test]
        fn no_minute_admits_more_than_the_limit(limit in 1u32..50, gaps in proptest::collection::vec(0u64..3_000_000, 1..300)) {
            let (mut window, mut now, mut minutes) = (Window::default(), 0, std::collections::BTreeMap::new());
            for gap in gaps {
                now += gap;
                let (next, decision) = window.admit(limit, at(now));
                window = next;
                *minutes.entry(now / WINDOW_US).or_insert(0) += u32::from(decision.admitted);
            }
            prop_assert!(minutes.values().all(|admitted| *admitted <= limit));
        }

        #[test]
        fn the_announced_wait_is_long_enough_and_no_longer(
            limit in 1u32..1000, previous in 0u32..1000, current in 0u32..1000, elapsed in 0..WINDOW_US,
        ) {
            let window = Window { index: 7, previous: previous.min(limit), current: current.min(limit) };
            let now = at(7 * WINDOW_US + elapsed);
            let (window, decision) = window.admit(limit, now);
            let wait = decision.retry_after;
            prop_assert!(window.admit(limit, now.plus(wait)).1.admitted);
            if let Some(sooner) = wait.checked_sub(Duration::from_micros(1)) {
                prop_assert!(!window.admit(limit, now.plus(sooner)).1.admitted);
            }
            prop_assert_eq!(wait.is_zero(), decision.remaining > 0);
        }
    }
}
