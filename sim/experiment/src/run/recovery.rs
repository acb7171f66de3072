//! Whether the breaker opened and recovered in time around a fault.
//!
//! Both are times of the protocol, made of the breaker's own timers and the calls that it sees: they are
//! judged in virtual time too.

use crate::run::board::Entry;
use tokio::time::Duration;
use world::probe::observe::Transition;

/// A time of the breaker's, if there is one to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Took {
    /// In microseconds.
    Us(u64),
    /// It did not happen.
    #[default]
    Never,
    /// Another fault, or what was before, hides it.
    Unclear,
}

/// What the breaker did around a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// From the injection to the first opening of a closed breaker.
    pub opened_after: Took,
    /// From the lifting to the moment from which on it stayed closed. It never recovers if it never was
    /// open: there was nothing to recover from.
    pub recovered_after: Took,
}

impl Recovery {
    /// Of the fault with this name.
    pub fn of(fault: &str, faults: &[Entry], transitions: &[Transition]) -> Self {
        let entry = faults.iter().find(|entry| entry.fault.name == fault);
        let Some(from) = entry.and_then(|entry| entry.injected_at_us) else { return Self::default() };
        let others = faults.iter().filter(|entry| entry.fault.name != fault);
        let others: Vec<(i64, Option<i64>)> =
            others.filter_map(|entry| Some((entry.injected_at_us?, entry.lifted_at_us))).collect();
        // What the breaker does after another fault has come is that one's doing.
        let next = others.iter().map(|(injected, _)| *injected).filter(|injected| *injected > from).min();
        let under_another = others.iter().any(|(at, lifted)| *at <= from && lifted.is_none_or(|lifted| lifted > from));
        let seen: Vec<&Transition> =
            transitions.iter().filter(|one| next.is_none_or(|next| one.at_us < next)).collect();
        if under_another {
            return Self { opened_after: Took::Unclear, recovered_after: Took::Unclear };
        }
        let opened_after = opened_after(&seen, from, next.is_some());
        let lifted = entry.and_then(|entry| entry.lifted_at_us);
        let recovered_after = match lifted {
            Some(lifted) if next.is_none_or(|next| next > lifted) => {
                recovered_after(&seen, from, lifted, next.is_some())
            }
            Some(_) => Took::Unclear,
            None => Took::Never,
        };
        Self { opened_after, recovered_after }
    }
}

fn state_at<'a>(transitions: &[&'a Transition], at_us: i64) -> &'a str {
    let last = transitions.iter().rev().find(|transition| transition.at_us < at_us);
    last.map_or("closed", |transition| transition.to.as_str())
}

/// `cut_short` when another fault came, whose doing a later opening would be.
fn opened_after(transitions: &[&Transition], injected: i64, cut_short: bool) -> Took {
    let opened = |one: &&&Transition| one.from == "closed" && one.to == "open" && one.at_us >= injected;
    match transitions.iter().find(opened) {
        Some(transition) => Took::Us(u64::try_from(transition.at_us - injected).unwrap_or(0)),
        None if !cut_short && state_at(transitions, injected) == "closed" => Took::Never,
        // It was open already, so this fault cannot have opened it; or it opened when another was there.
        None => Took::Unclear,
    }
}

/// `cut_short` when another fault came after the lifting.
fn recovered_after(transitions: &[&Transition], injected: i64, lifted: i64, cut_short: bool) -> Took {
    let was_open = transitions.iter().any(|one| one.at_us >= injected && one.to != "closed")
        || state_at(transitions, injected) != "closed";
    match transitions.last() {
        _ if !was_open => Took::Never,
        Some(last) if last.to == "closed" => Took::Us(u64::try_from(last.at_us - lifted).unwrap_or(0)),
        _ if cut_short => Took::Unclear,
        _ => Took::Never,
    }
}

/// How the bound is shown.
pub fn bound_text(bound: Duration) -> String {
    format!("<={bound:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A breaker that was closed at first and then became these.
    fn history(moves: &[(i64, &str)]) -> Vec<Transition> {
        let mut from = "closed".to_owned();
        let transition = |(at_us, to): &(i64, &str)| {
            let before = std::mem::replace(&mut from, (*to).to_owned());
            Transition { at_us: *at_us, from: before, to: (*to).to_owned(), why: String::new() }
        };
        moves.iter().map(transition).collect()
    }

    fn fault(name: &str, injected: i64, lifted: i64) -> Entry {
        let fault = payment::FAULTS.fault(name, "force_open", &BTreeMap::new()).unwrap();
        let mut entry = Entry::new(fault, None);
        (entry.injected_at_us, entry.lifted_at_us) = (Some(injected), Some(lifted));
        entry
    }

    fn of(faults: &[Entry], moves: &[(i64, &str)]) -> (Took, Took) {
        let recovery = Recovery::of("a", faults, &history(moves));
        (recovery.opened_after, recovery.recovered_after)
    }

    const FLAPPING: [(i64, &str); 5] =
        [(10, "open"), (20, "half-open"), (21, "open"), (40, "half-open"), (43, "closed")];

    #[test]
    fn recovery_counts_from_the_lifting_to_the_last_closing() {
        assert_eq!(of(&[fault("a", 4, 30)], &FLAPPING), (Took::Us(6), Took::Us(13)));
        assert_eq!(of(&[fault("a", 4, 50)], &FLAPPING).1, Took::Us(0), "closed before it was lifted");
    }

    #[test]
    fn a_breaker_that_stays_open_or_never_opened_has_not_recovered() {
        assert_eq!(of(&[fault("a", 4, 15)], &[(10, "open"), (20, "half-open")]), (Took::Us(6), Took::Never));
        assert_eq!(of(&[fault("a", 4, 15)], &[]), (Took::Never, Took::Never));
        assert_eq!(
            of(&[fault("a", 4, 15)], &[(1, "open"), (2, "half-open"), (3, "closed")]),
            (Took::Never, Took::Never)
        );
    }

    #[test]
    fn what_another_fault_may_have_done_is_unclear() {
        let (a, inside, after) = (fault("a", 4, 30), fault("b", 12, 60), fault("b", 41, 60));
        assert_eq!(of(&[a.clone(), inside], &FLAPPING), (Took::Us(6), Took::Unclear));
        assert_eq!(of(&[a.clone(), after], &FLAPPING).1, Took::Unclear, "not closed when the next one came");
        assert_eq!(of(&[a.clone(), fault("b", 44, 60)], &FLAPPING).1, Took::Us(13), "recovered before");
        assert_eq!(of(&[a.clone(), fault("b", 1, 8)], &FLAPPING), (Took::Unclear, Took::Unclear));
        assert_eq!(of(&[a, fault("b", 8, 60)], &FLAPPING).0, Took::Unclear, "it opened when b had come");
    }

    #[test]
    fn an_open_breaker_cannot_be_opened() {
        assert_eq!(of(&[fault("a", 12, 30)], &FLAPPING), (Took::Unclear, Took::Us(13)));
    }
}
