//! A real process that kills itself at a crash point, as `kill -9` would: for tests of what it leaves behind.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chassis::hazard::{CallFate, Fate, Hazards, Passage};
use rustix::process::{Signal, getpid, kill_process};

use super::points::{Point, points};

/// Where a process is to die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashAt {
    point: &'static Point,
    /// Which time that it passes there, from 1.
    nth: u64,
}

impl CrashAt {
    /// Who passes that point.
    pub fn role(&self) -> &'static str {
        self.point.role
    }

    pub fn point(&self) -> &'static str {
        &self.point.name
    }

    /// What befalls the roles of this process.
    pub fn hazards(&self) -> Hazards {
        Hazards::new(Arc::new(Doom { point: &self.point.name, left: AtomicU64::new(self.nth) }))
    }
}

impl fmt::Display for CrashAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.point.name, self.nth)
    }
}

impl FromStr for CrashAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, nth) = match text.split_once(':') {
            None => (text, 1),
            Some((name, nth)) => {
                let nth = nth.parse().ok().filter(|nth| *nth > 0);
                (name, nth.ok_or("write it as POINT or POINT:NTH, such as order_db.create_order.after:3")?)
            }
        };
        let similar = |point: &&Point| (strsim::jaro_winkler(&point.name, name) * 1e6) as u64;
        match points().iter().find(|point| point.name == name) {
            Some(point) => Ok(Self { point, nth }),
            None => {
                let near = points().iter().max_by_key(similar).map_or("", |point| &point.name);
                Err(format!("there is no crash point `{name}`; did you mean `{near}`?"))
            }
        }
    }
}

/// Strikes once, and nobody lives to see it.
struct Doom {
    point: &'static str,
    /// How often the point is yet to be passed, this time included.
    left: AtomicU64,
}

impl Fate for Doom {
    fn pass(&self, point: &str) -> Passage {
        if point != self.point || self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Passage::On;
        }
        // This thread does not come back from that, and the others end with it: nothing is flushed, no
        // destructor runs.
        let _ = kill_process(getpid(), Signal::KILL);
        Passage::Dead
    }

    fn is_dead(&self) -> bool {
        false
    }

    fn call(&self, _: &str) -> CallFate {
        CallFate::default()
    }

    fn storage_refuses(&self, _: bool) -> Option<&'static str> {
        None
    }

    fn storage_loses_answer(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_at_a_point_that_there_is_the_first_time_unless_said_otherwise() {
        let first: CrashAt = "order_db.create_order.after".parse().unwrap();
        assert_eq!((first.role(), first.point(), first.nth), ("order", "order_db.create_order.after", 1));
        assert_eq!("order_db.create_order.after:7".parse::<CrashAt>().unwrap().nth, 7);
        let refused = |text: &str| text.parse::<CrashAt>().unwrap_err();
        assert!(refused("order_db.create_oder.after").contains("did you mean `order_db.create_order.after`"));
        for text in ["order_db.create_order.after:0", "order_db.create_order.after:x", "order_db.create_order.after:"] {
            assert!(refused(text).contains("POINT:NTH"), "{text}");
        }
    }

    #[test]
    fn whoever_passes_another_point_or_too_early_lives_on() {
        let doom = Doom { point: "here", left: AtomicU64::new(3) };
        for point in ["there", "here", "there", "here"] {
            assert!(matches!(doom.pass(point), Passage::On));
        }
        assert_eq!(doom.left.into_inner(), 1);
    }
}
