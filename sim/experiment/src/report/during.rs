//! Judges how soon the breaker opened and closed again around a fault.

use tokio::time::Duration;

use super::threshold::{Outcome, ThresholdResult};
use crate::run::Conducted;
use crate::run::recovery::{Recovery, Took, bound_text};
use scenario::expect::During;

/// The results of `breaker_opens_within` and `recovers_within`, where they are asked for.
pub fn judge(during: &During, conducted: &Conducted) -> Vec<ThresholdResult> {
    let recovery = Recovery::of(&during.fault, &conducted.faults, &conducted.breaker.transitions);
    let opened = during.breaker_opens_within.map(|bound| result("breaker_opens_within", bound, recovery.opened_after));
    let recovered = during.recovers_within.map(|bound| result("recovers_within", bound, recovery.recovered_after));
    opened.into_iter().chain(recovered).collect()
}

fn result(metric: &str, bound: Duration, took: Took) -> ThresholdResult {
    let (observed, outcome) = match took {
        Took::Us(us) if u128::from(us) <= bound.as_micros() => (Some(us as f64), Outcome::Kept),
        Took::Us(us) => (Some(us as f64), Outcome::Missed),
        // That it did not happen is an answer, not a lack of samples.
        Took::Never => (None, Outcome::Missed),
        Took::Unclear => (None, Outcome::TooFewSamples),
    };
    ThresholdResult {
        metric: metric.to_owned(),
        during: None,
        expression: bound_text(bound),
        observed,
        samples: u64::from(observed.is_some()),
        outcome,
    }
}
