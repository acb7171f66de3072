//! Faults drawn by a seed, beside those that a scenario plans: each seed another few kinds, so that what
//! one kind would always hide shows under another (Groce et al., *Swarm testing*, ISSTA 2012).
//!
//! What is drawn is a list of faults with their times, as a scenario would plan them: leaving one out
//! changes none of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::chaos::Target;
use chassis::rng::{Seeds, Stream};
use rand::RngExt;

use crate::scenario::{PlannedFault, Scenario};

static PROVIDER_TARGET: &Target = &acquirer::FAULTS;

/// The version of what seeds draw: another one draws other faults for the same seed.
pub const VERSION: u32 = 1;
/// Most faults of one seed.
const FAULTS_MAX: u32 = 6;

/// What can be drawn: kind and parameters.
const PROVIDER: [(&str, &[(&str, &str)]); 5] = [
    ("outage", &[]),
    ("latency", &[("latency", "50ms..2s")]),
    ("error_rate", &[("rate", "0.3")]),
    ("decline_rate", &[("rate", "0.5")]),
    ("timeout_after_charge", &[("rate", "0.3")]),
];

/// The faults that `seed` adds to the scenario's own, in the order of their beginning.
pub fn draw(scenario: &Scenario, seed: u64) -> Vec<PlannedFault> {
    let mut stream = Seeds::from_number(seed).stream("swarm");
    let kinds: Vec<_> = PROVIDER.into_iter().filter(|_| stream.random_bool(0.5)).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let faults = stream.random_range(1..=FAULTS_MAX);
    let mut drawn: Vec<PlannedFault> = (1..=faults)
        .filter_map(|number| {
            let (kind, parameters) = kinds[stream.random_range(0..kinds.len())];
            let parameters: BTreeMap<String, String> =
                parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let (at, lasts) = times(&mut stream, scenario.duration());
            let fault = PROVIDER_TARGET.fault(&format!("swarm-{number}-{}", kind.replace('_', "-")), kind, &parameters);
            Some(PlannedFault { fault: fault.ok()?, at, lasts })
        })
        .collect();
    drawn.sort_by_key(|fault| fault.at);
    drawn
}

/// A beginning within the load, and a length up to half of it.
fn times(stream: &mut Stream, load: Duration) -> (Duration, Duration) {
    let load = u64::try_from(load.as_millis()).unwrap_or(u64::MAX).max(4);
    let (at, lasts) = (stream.random_range(0..load), stream.random_range(1..=load / 2));
    (Duration::from_millis(at), Duration::from_millis(lasts))
}
