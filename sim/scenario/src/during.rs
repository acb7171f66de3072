//! `expect.during`: what is expected while a fault is active, and of its end.

use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;

use super::check::{Check, shown};
use super::error::quote;
use super::fault::Faults;
use super::keys::{Key, Need, Shape};
use super::map::Keys;
use super::places::NodePath;
use super::threshold::{Threshold, Window, thresholds};
use super::{PlannedFault, Scenario};

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Faults of these targets show in the circuit breaker.
const BREAKER_TARGETS: &[&str] = &["payment-provider", "breaker"];

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "breaker_opens_within",
        shape: Shape::Duration(SHORTEST, LONGEST),
        need: Need::Optional,
        meaning: "from the injection to the circuit breaker's opening; for faults of `payment-provider` and `breaker`",
    },
    Key {
        name: "recovers_within",
        shape: Shape::Duration(SHORTEST, LONGEST),
        need: Need::Optional,
        meaning: "from the lifting to the moment from which on the breaker stays closed; for the same faults",
    },
    Key {
        name: "thresholds",
        shape: Shape::Map("thresholds"),
        need: Need::Optional,
        meaning: "judged on what was due while the fault was active; not every metric can be",
    },
];

/// What is expected while one of the scenario's faults is active, and of its end.
#[derive(Debug, Clone, PartialEq)]
pub struct During {
    /// The name of a fault of this scenario.
    pub fault: String,
    /// From the injection to the breaker's opening.
    pub breaker_opens_within: Option<Duration>,
    /// From the lifting to the moment from which on the breaker stays closed.
    pub recovers_within: Option<Duration>,
    /// Judged on what was due while the fault was active.
    pub thresholds: Vec<Threshold>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DuringFile {
    breaker_opens_within: Option<String>,
    recovers_within: Option<String>,
    thresholds: Option<IndexMap<String, Vec<String>>>,
}

/// A breaker closes by the calls that it tries; after the load there are none.
pub(super) fn judge_times(scenario: &Scenario, at: &NodePath, check: &mut Check) {
    let load = scenario.duration();
    for during in scenario.expect.during.iter().filter(|during| during.recovers_within.is_some()) {
        let planned = scenario.faults.iter().find(|planned| planned.fault.name == during.fault);
        // One that begins too late is told so at its own place.
        let within = |planned: &&PlannedFault| planned.at < load && planned.at + planned.lasts >= load;
        let Some(planned) = planned.filter(within) else { continue };
        let message = format!(
            "`{}` ends {} after the load's start, but the load is over after {}: nobody calls the breaker any more",
            during.fault,
            shown(planned.at + planned.lasts),
            shown(load)
        );
        let problem = check.value(&at.key(&during.fault).key("recovers_within"), message);
        problem.help("let the load go on for longer, or the fault end sooner");
    }
}

/// Turns the expectations of the file into those of the scenario, in the file's order.
pub(super) fn during(
    written: IndexMap<String, Keys<DuringFile>>,
    at: &NodePath,
    faults: &Faults,
    check: &mut Check,
) -> Vec<During> {
    let mut during = Vec::new();
    for (fault, Keys(expected)) in written {
        let at = at.key(&fault);
        match faults.named.get(&fault) {
            Some(target) => expected.judge_target(target.map(|target| target.name), &at, check),
            None => {
                let problem = check.key(&at, format!("the scenario has no fault {}", quote(&fault)));
                problem.suggest(&fault, faults.named.keys().map(String::as_str));
            }
        }
        during.push(expected.validate(fault, &at, check));
    }
    during
}

impl DuringFile {
    /// Refuses what a fault of this target cannot show. A target that is not known was reported.
    fn judge_target(&self, target: Option<&str>, at: &NodePath, check: &mut Check) {
        let written =
            [("breaker_opens_within", &self.breaker_opens_within), ("recovers_within", &self.recovers_within)];
        let Some(target) = target.filter(|target| !BREAKER_TARGETS.contains(target)) else { return };
        for (key, _) in written.into_iter().filter(|(_, text)| text.is_some()) {
            let message = format!("`{key}` is about the circuit breaker, which a fault of `{target}` does not touch");
            check.key(&at.key(key), message).help(format!("it needs a fault of {}", BREAKER_TARGETS.join(" or ")));
        }
    }

    fn validate(self, fault: String, at: &NodePath, check: &mut Check) -> During {
        let before = check.problems.len();
        let mut within =
            |text: Option<String>, key: &str| text.map(|text| check.duration(&text, &at.key(key), SHORTEST..=LONGEST));
        let breaker_opens_within = within(self.breaker_opens_within, "breaker_opens_within");
        let recovers_within = within(self.recovers_within, "recovers_within");
        let thresholds = self.thresholds.unwrap_or_default();
        let thresholds = thresholds_of(thresholds, at, check);
        let nothing = breaker_opens_within.is_none() && recovers_within.is_none() && thresholds.is_empty();
        if nothing && check.problems.len() == before {
            let problem = check.key(at, format!("nothing is expected of {}", quote(&fault)));
            problem.help("give `breaker_opens_within`, `recovers_within` or `thresholds`, or leave it out");
        }
        During { fault, breaker_opens_within, recovers_within, thresholds }
    }
}

fn thresholds_of(written: IndexMap<String, Vec<String>>, at: &NodePath, check: &mut Check) -> Vec<Threshold> {
    thresholds(written, &at.key("thresholds"), Window::Fault, check)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, parsed};
    use super::*;

    /// A scenario with two faults; what is expected begins on line 10, column 7.
    fn during(expected: &str) -> String {
        format!(
            "version: 1
name: x
shop: {{ users: 1, catalog: {{ generate: 1, stock: 1 }} }}
load: {{ g: {{ executor: constant-vus, vus: 1, duration: 10s, journey: [ view: any ] }} }}
faults:
  - {{ name: down, at: 2s, for: 3s, target: payment-provider, kind: outage }}
  - {{ name: cold, at: 2s, for: 3s, target: fridge, kind: open }}
expect:
  during:
    {{ {expected} }}
"
        )
    }

    #[test]
    fn the_time_of_a_fault_has_its_own_expectations() {
        let text =
            "down: { breaker_opens_within: 1s, recovers_within: 5s, thresholds: { order_errors: [ rate<0.5 ] } }";
        let read = parsed(&during(text)).expect.during.remove(0);
        assert_eq!((read.fault.as_str(), read.thresholds[0].text.as_str()), ("down", "rate<0.5"));
        assert_eq!(
            (read.breaker_opens_within, read.recovers_within),
            (Some(Duration::from_secs(1)), Some(Duration::from_secs(5)))
        );
        let read = parsed(&during("cold: { thresholds: { orders: [ count>1 ] } }")).expect.during.remove(0);
        assert_eq!((read.breaker_opens_within, read.recovers_within), (None, None));
    }

    #[test]
    fn what_is_expected_must_be_possible() {
        for (text, place, message) in [
            ("dwn: { recovers_within: 5s }", "10:7", "the scenario has no fault `dwn`, did you mean `down`?"),
            ("zebra: { recovers_within: 5s }", "10:7", "the scenario has no fault `zebra`"),
            ("cold: { recovers_within: 5s }", "10:15", "which a fault of `fridge` does not touch"),
            ("down: { recovers_within: 0s }", "10:32", "`recovers_within` is a duration from 1ms to 24h"),
            ("down: { breaker_opens_within: soon }", "10:37", "`breaker_opens_within` is a duration such as"),
            ("down: { recovrs_within: 5s }", "10:15", "unknown key `recovrs_within`, did you mean `recovers_within`?"),
            ("down: {}", "10:7", "nothing is expected of `down`"),
            ("down:", "10:7", "nothing is expected of `down`"),
            ("down: 5s", "10:13", "`down` is a map of keys; a single value stands here"),
            ("down: { thresholds: { ordrs: [ count>1 ] } }", "10:29", "unknown metric `ordrs`"),
        ] {
            check(&during(text), &[(place, message)]);
        }
    }

    #[test]
    fn some_metrics_have_no_meaning_for_a_part_of_the_run() {
        for (metric, expression, why) in [
            ("iterations", "count>1", "its steps may be due before, in and after the fault"),
            ("iteration_duration", "max<1s", "its steps may be due before, in and after the fault"),
            ("dropped_iterations", "count<1", "counted for the whole load only"),
            ("cancellations", "count<1", "read from the books, which are closed after the run"),
        ] {
            let text = during(&format!("down: {{ thresholds: {{ {metric}: [ {expression} ] }} }}"));
            check(&text, &[("10:29", &format!("`{metric}` cannot be judged during a fault: {why}"))]);
        }
    }
}
