//! The section `expect`: what a run is judged by.

use indexmap::IndexMap;
use serde::Deserialize;

use super::check::Check;
use super::during::{DuringFile, during};
use super::fault::{FAULTS_MAX, Faults};
use super::invariants::{InvariantsFile, invariants};
use super::keys::{Key, Need, Shape};
use super::map::Keys;
use super::places::NodePath;
use super::threshold::{Window, thresholds};

pub use super::during::During;
pub use super::invariants::{INVARIANTS, INVARIANTS_DESCRIBED, Invariant, Oracle};
pub use super::metrics::{METRICS, Metric, MetricKind, metric};
pub use super::threshold::{Aggregate, Comparison, Expression, Threshold};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "thresholds",
        shape: Shape::Map("thresholds"),
        need: Need::Optional,
        meaning: "service levels of the whole load; latencies without its warmup",
    },
    Key {
        name: "during",
        shape: Shape::Named("during", FAULTS_MAX),
        need: Need::Optional,
        meaning: "what is expected while a fault is active, and of its end; by the fault's name",
    },
    Key {
        name: "invariants",
        shape: Shape::Map("invariants"),
        need: Need::Default("all"),
        meaning: "what must be true after the run: `all`, or a list of names",
    },
    Key {
        name: "late_journeys",
        shape: Shape::Share,
        need: Need::Default("0.01"),
        meaning: "the share of journeys that may begin 100 ms after their time before the run is inconclusive: \
                  `1` where no latency is asked for and the machine may be slow",
    },
];

/// What a run is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    pub thresholds: Vec<Threshold>,
    /// What is expected of the time of a fault, in the order of the file.
    pub during: Vec<During>,
    /// Names out of [`INVARIANTS`], in that order.
    pub invariants: Vec<&'static str>,
    /// A larger share of late journeys is a generator that could not keep its plan.
    pub late_journeys: f64,
}

/// [`Expect::late_journeys`] unless told: fewer are a hiccup of the machine, which the latencies from the due
/// instant show anyway.
const LATE_JOURNEYS: f64 = 0.01;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectFile {
    thresholds: Option<IndexMap<String, Vec<String>>>,
    during: Option<IndexMap<String, Keys<DuringFile>>>,
    invariants: Option<InvariantsFile>,
    late_journeys: Option<String>,
}

impl ExpectFile {
    pub(super) fn validate(self, at: &NodePath, faults: &Faults, check: &mut Check) -> Expect {
        let written = self.thresholds.unwrap_or_default();
        let thresholds = thresholds(written, &at.key("thresholds"), Window::Run, check);
        let during = during(self.during.unwrap_or_default(), &at.key("during"), faults, check);
        let invariants = invariants(self.invariants, &at.key("invariants"), check);
        let late = |text: String| check.decimal(&text, &at.key("late_journeys"), 0.0..=1.0);
        let late_journeys = self.late_journeys.map_or(LATE_JOURNEYS, late);
        Expect { thresholds, during, invariants, late_journeys }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn nothing_but_the_invariants_is_expected_unless_told() {
        let text = "version: 1\nname: x\nshop: { users: 1, catalog: { generate: 1, stock: 1 } }\n\
                    load: { g: { executor: constant-vus, vus: 1, duration: 1s, journey: [ view: any ] } }\n";
        let invariants = INVARIANTS.to_vec();
        let expected = Expect { thresholds: vec![], during: vec![], invariants, late_journeys: 0.01 };
        assert_eq!(parsed(text).expect, expected);
    }
}
