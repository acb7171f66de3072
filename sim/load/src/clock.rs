//! The load's time: it begins with the load, and stands still while the load is paused.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

#[derive(Debug, Clone, Default)]
struct Held {
    since: Option<Instant>,
    /// The pauses that are over, each with its beginning and how long it was. People make them: they are few.
    over: Vec<(Instant, Duration)>,
}

impl Held {
    /// How long it stood still in all, pauses that are over only.
    fn before(&self) -> Duration {
        self.over.iter().map(|(_, length)| *length).sum()
    }
}

/// Cheap to clone; all clones are one clock.
#[derive(Clone)]
pub struct LoadClock {
    start: Instant,
    held: Arc<watch::Sender<Held>>,
}

impl LoadClock {
    pub fn new(start: Instant) -> Self {
        Self { start, held: Arc::new(watch::Sender::new(Held::default())) }
    }

    /// When the load began, or will.
    pub fn start(&self) -> Instant {
        self.start
    }

    pub fn pause(&self) {
        let now = Instant::now();
        self.held.send_if_modified(|held| held.since.is_none() && held.since.replace(now).is_none());
    }

    pub fn resume(&self) {
        let now = Instant::now();
        self.held.send_if_modified(|held| match held.since.take() {
            Some(since) => {
                held.over.push((since, now - since));
                true
            }
            None => false,
        });
    }

    pub fn is_paused(&self) -> bool {
        self.held.borrow().since.is_some()
    }

    /// How much load time has passed.
    pub fn elapsed(&self) -> Duration {
        self.load_time_of(Instant::now())
    }

    /// How much load time had passed at an instant that is not to come.
    pub fn load_time_of(&self, instant: Instant) -> Duration {
        let held = self.held.borrow();
        let until = held.since.map_or(instant, |since| since.min(instant));
        let paused = held.over.iter().map(|(since, length)| instant.saturating_duration_since(*since).min(*length));
        until.saturating_duration_since(self.start).saturating_sub(paused.sum())
    }

    /// The instant at which so much load time has passed, if there is no further pause before.
    pub fn instant_of(&self, offset: Duration) -> Instant {
        self.start + self.held.borrow().before() + offset
    }

    /// Waits for the end of a pause; there may be none.
    pub async fn running(&self) {
        // The sender lives as long as this clock.
        let _ = self.held.subscribe().wait_for(|held| held.since.is_none()).await;
    }

    /// Waits until so much load time has passed; answers the instant at which it had.
    pub async fn reach(&self, offset: Duration) -> Instant {
        let mut changes = self.held.subscribe();
        loop {
            let (since, due) = {
                let held = changes.borrow_and_update();
                (held.since, self.start + held.before() + offset)
            };
            // A pause that began after the moment had come changes nothing for those who waited for it.
            match since {
                Some(since) if since < due => drop(changes.changed().await),
                // Timers have a grain of a millisecond; who is late already does not wait for it.
                _ if due <= Instant::now() => return due,
                _ => tokio::select! {
                    biased;
                    () = sleep_until(due) => return due,
                    _ = changes.changed() => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_during_a_pause_comes_after_it_by_as_much() {
        let clock = LoadClock::new(Instant::now());
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.reach(s(5)).await }
        });
        tokio::time::sleep(s(3)).await;
        clock.pause();
        tokio::time::sleep(s(10)).await;
        assert_eq!((clock.elapsed(), waiting.is_finished()), (s(3), false));
        clock.resume();
        clock.resume();
        assert_eq!(waiting.await.unwrap() - clock.start(), s(15));
        assert_eq!(clock.elapsed(), s(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_instant_has_the_load_time_of_its_moment_also_later() {
        let clock = LoadClock::new(Instant::now());
        let at = |seconds| clock.start() + s(seconds);
        tokio::time::sleep(s(2)).await;
        clock.pause();
        tokio::time::sleep(s(3)).await;
        clock.resume();
        tokio::time::sleep(s(1)).await;
        assert_eq!([1, 4, 6].map(|seconds| clock.load_time_of(at(seconds))), [s(1), s(2), s(3)]);
        assert_eq!(clock.instant_of(s(3)), at(6));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_is_not_held_up() {
        let clock = LoadClock::new(Instant::now());
        tokio::time::sleep(s(2)).await;
        clock.pause();
        assert_eq!(clock.reach(s(1)).await - clock.start(), s(1));
        assert!(clock.is_paused());
    }
}
