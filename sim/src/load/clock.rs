//! The load's time: it begins with the load, and stands still while the load is paused.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    since: Option<Instant>,
    /// All pauses that are over.
    before: Duration,
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
                held.before += now - since;
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
        let held = *self.held.borrow();
        let until = held.since.unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.start).saturating_sub(held.before)
    }

    /// Waits until so much load time has passed; answers the instant at which it had.
    pub async fn reach(&self, offset: Duration) -> Instant {
        let mut changes = self.held.subscribe();
        loop {
            let held = *changes.borrow_and_update();
            let due = self.start + held.before + offset;
            // A pause that began after the moment had come changes nothing for those who waited for it.
            match held.since {
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
    async fn what_is_past_is_not_held_up() {
        let clock = LoadClock::new(Instant::now());
        tokio::time::sleep(s(2)).await;
        clock.pause();
        assert_eq!(clock.reach(s(1)).await - clock.start(), s(1));
        assert!(clock.is_paused());
    }
}
