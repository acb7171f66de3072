//! Whether the breaker opened and recovered in time around a fault.
//!
//! Both are times of the protocol, made of the breaker's own timers and the calls that it sees: they are
//! judged in virtual time too.

use super::judge::{Outcome, ThresholdResult};
use crate::fault::board::Entry;
use crate::run::Conducted;
use crate::run::observe::Transition;
use crate::scenario::expect::During;
use tokio::time::Duration;

/// What the breaker did around a fault, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// From the injection to the first opening; `None` if it did not open.
    pub opened_after: Option<u64>,
    /// From the lifting to the moment from which on it stayed closed. `None` if it never opened since the
    /// injection (there was nothing to recover from), is not closed yet, or the fault was not lifted.
    pub recovered_after: Option<u64>,
}

impl Recovery {
    /// Of the fault with this name.
    pub fn of(fault: &str, faults: &[Entry], transitions: &[Transition]) -> Self {
        let entry = faults.iter().find(|entry| entry.fault.name == fault);
        let Some(from) = entry.and_then(|entry| entry.injected_at_us) else { return Self::default() };
        let to = entry.and_then(|entry| entry.lifted_at_us);
        // Whatever opens the breaker later than the next fault's coming is that one's doing.
        let next = faults.iter().filter_map(|entry| entry.injected_at_us);
        let next = next.filter(|at| to.is_some_and(|to| *at > to)).min().unwrap_or(i64::MAX);
        let transitions: Vec<&Transition> = transitions.iter().filter(|one| one.at_us < next).collect();
        Self {
            opened_after: opens_after(&transitions, from),
            recovered_after: to.and_then(|to| recovers_after(&transitions, from, to)),
        }
    }
}

/// The results of `breaker_opens_within` and `recovers_within`, where they are asked for.
pub fn judge(during: &During, conducted: &Conducted) -> Vec<ThresholdResult> {
    let recovery = Recovery::of(&during.fault, &conducted.faults, &conducted.breaker.transitions);
    let opened = during.breaker_opens_within.map(|bound| result("breaker_opens_within", bound, recovery.opened_after));
    let recovered = during.recovers_within.map(|bound| result("recovers_within", bound, recovery.recovered_after));
    opened.into_iter().chain(recovered).collect()
}

fn opens_after(transitions: &[&Transition], injected: i64) -> Option<u64> {
    let opened = transitions.iter().find(|transition| transition.to == "open" && transition.at_us >= injected)?;
    u64::try_from(opened.at_us - injected).ok()
}

fn recovers_after(transitions: &[&Transition], injected: i64, lifted: i64) -> Option<u64> {
    opens_after(transitions, injected)?;
    let last = transitions.last().filter(|transition| transition.to == "closed")?;
    Some(u64::try_from(last.at_us - lifted).unwrap_or(0))
}

fn result(metric: &str, bound: Duration, observed_us: Option<u64>) -> ThresholdResult {
    let within = observed_us.map(|took| u128::from(took) <= bound.as_micros());
    ThresholdResult {
        metric: metric.to_owned(),
        during: None,
        expression: bound_text(bound),
        observed: observed_us.map(|us| us as f64),
        samples: u64::from(observed_us.is_some()),
        // That it did not happen is an answer, not a lack of samples.
        outcome: if within == Some(true) { Outcome::Kept } else { Outcome::Missed },
    }
}

/// How the bound is shown.
pub fn bound_text(bound: Duration) -> String {
    format!("<={bound:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(moves: &[(i64, &str)]) -> Vec<Transition> {
        let transition = |(at_us, to): &(i64, &str)| Transition {
            at_us: *at_us,
            from: String::new(),
            to: (*to).to_owned(),
            why: String::new(),
        };
        moves.iter().map(transition).collect()
    }

    #[test]
    fn recovery_counts_from_the_lifting_to_the_last_closing() {
        let all = history(&[(10, "open"), (20, "half-open"), (21, "open"), (40, "half-open"), (43, "closed")]);
        let all: Vec<&Transition> = all.iter().collect();
        assert_eq!((opens_after(&all, 4), recovers_after(&all, 4, 30)), (Some(6), Some(13)));
        assert_eq!(recovers_after(&all, 4, 50), Some(0), "closed before it was lifted");
    }

    #[test]
    fn a_breaker_that_stays_open_or_never_opened_has_not_recovered() {
        let open = history(&[(10, "open"), (20, "half-open")]);
        assert_eq!(recovers_after(&open.iter().collect::<Vec<_>>(), 4, 15), None);
        assert_eq!(recovers_after(&[], 4, 15), None);
        let before = history(&[(1, "open"), (2, "half-open"), (3, "closed")]);
        assert_eq!(opens_after(&before.iter().collect::<Vec<_>>(), 4), None);
    }
}
