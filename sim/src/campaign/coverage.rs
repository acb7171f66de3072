//! What the seeds of a campaign have reached, and what none of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use order::domain::{Outcome, Status, Step};
use serde::{Deserialize, Serialize};

use crate::explain::words::status_after;
use experiment::report::Summary;
use scenario::Scenario;
use shop::fault::{points, vocabulary};

/// How many ways through the saga are kept: the first by their text, so that merging stays associative.
const PATHS_MAX: usize = 2_000;
/// How many of them are printed.
const PATHS_SHOWN: usize = 12;
/// How many unreached things of a sort are named.
const NAMED_MAX: usize = 24;
/// The target of a fault at a crash point begins with this.
const POINT: &str = "point:";

/// Faults of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    pub planned: u64,
    /// Those that touched a call at least.
    pub hit: u64,
    /// The calls that they touched.
    pub calls: u64,
}

/// One crash point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointCount {
    pub passed: u64,
    pub crashed: u64,
}

/// Counts over seeds. Adding up is associative and commutative.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub seeds: u64,
    pub orders: u64,
    /// Of virtual time.
    pub virtual_ms: u64,
    /// `payment-provider outage` → how often.
    #[serde(default)]
    pub faults: BTreeMap<String, FaultCount>,
    /// Crash points by name.
    #[serde(default)]
    pub points: BTreeMap<String, PointCount>,
    /// `PENDING → RESERVED` → how many orders went so.
    #[serde(default)]
    pub transitions: BTreeMap<String, u64>,
    /// The kinds of an order's events, in their order → how many orders.
    #[serde(default)]
    pub paths: BTreeMap<String, u64>,
    /// `reserve_stock done` → how many attempts.
    #[serde(default)]
    pub steps: BTreeMap<String, u64>,
    /// How much each invariant has looked at.
    #[serde(default)]
    pub invariants: BTreeMap<String, u64>,
}

/// A sort of things that can be reached: what was, and what never.
struct Sort {
    name: &'static str,
    reached: usize,
    never: Vec<String>,
}

impl Coverage {
    /// What one play has reached. `paths` and `points` are those of its books and of its world.
    pub fn of(summary: &Summary, paths: &BTreeMap<String, u64>, points: &BTreeMap<String, u64>) -> Self {
        let virtual_ms = (summary.seeding_ms + summary.duration_s * 1e3).max(0.0) as u64;
        let mut coverage = Self { seeds: 1, orders: summary.orders.started, virtual_ms, ..Self::default() };
        for fault in &summary.faults {
            let count = coverage.faults.entry(kind_of(&fault.target, &fault.kind)).or_default();
            count.planned += 1;
            count.hit += u64::from(fault.hits > 0);
            count.calls += fault.hits;
            if let Some(point) = fault.target.strip_prefix(POINT) {
                coverage.points.entry(point.to_owned()).or_default().crashed += u64::from(fault.hits > 0);
            }
        }
        for (point, passed) in points {
            coverage.points.entry(point.clone()).or_default().passed += passed;
        }
        for (path, orders) in paths {
            for transition in transitions(path) {
                *coverage.transitions.entry(transition).or_default() += orders;
            }
        }
        coverage.paths.clone_from(paths);
        for (step, attempts) in &summary.steps {
            for (outcome, count) in &attempts.outcomes {
                *coverage.steps.entry(format!("{step} {outcome}")).or_default() += count;
            }
        }
        for finding in &summary.invariants {
            *coverage.invariants.entry(finding.name.clone()).or_default() += finding.checked;
        }
        coverage.bound();
        coverage
    }

    /// Adds what other seeds have reached.
    pub fn merge(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.orders += other.orders;
        self.virtual_ms += other.virtual_ms;
        for (kind, more) in &other.faults {
            let count = self.faults.entry(kind.clone()).or_default();
            count.planned += more.planned;
            count.hit += more.hit;
            count.calls += more.calls;
        }
        for (point, more) in &other.points {
            let count = self.points.entry(point.clone()).or_default();
            count.passed += more.passed;
            count.crashed += more.crashed;
        }
        let pairs = [
            (&mut self.transitions, &other.transitions),
            (&mut self.paths, &other.paths),
            (&mut self.steps, &other.steps),
            (&mut self.invariants, &other.invariants),
        ];
        for (counts, more) in pairs {
            for (name, count) in more {
                *counts.entry(name.clone()).or_default() += count;
            }
        }
        self.bound();
    }

    /// The first ones by their text are the first ones of any part as well.
    fn bound(&mut self) {
        while self.paths.len() > PATHS_MAX {
            self.paths.pop_last();
        }
    }

    fn sorts(&self, scenario: &Scenario) -> Vec<Sort> {
        let hit = self.faults.iter().filter(|(_, count)| count.hit > 0).map(|(kind, _)| kind.as_str());
        let passed = self.points.iter().filter(|(_, count)| count.passed > 0).map(|(point, _)| point.as_str());
        let crashed = self.points.iter().filter(|(_, count)| count.crashed > 0).map(|(point, _)| point.as_str());
        let asked = scenario.expect.invariants.iter().map(|name| (*name).to_owned());
        let checked = self.invariants.iter().filter(|(_, checked)| **checked > 0).map(|(name, _)| name.as_str());
        let points = || known_points().map(str::to_owned);
        vec![
            sort("fault kinds hit", fault_kinds(), hit),
            sort("crash points passed", points(), passed),
            sort("crashed at", points(), crashed),
            sort("state transitions", legal_transitions(), self.transitions.keys().map(String::as_str)),
            sort("step outcomes", step_outcomes(), self.steps.keys().map(String::as_str)),
            // There is no Redis in virtual time.
            sort("invariants checked", asked.filter(|name| name != "cache_converges"), checked),
        ]
    }

    /// How many of the things that could be reached have been, and how many there are.
    pub fn reached(&self, scenario: &Scenario) -> (usize, usize) {
        self.sorts(scenario)
            .iter()
            .fold((0, 0), |(reached, all), sort| (reached + sort.reached, all + sort.reached + sort.never.len()))
    }

    /// For people; ends with a line break.
    pub fn render(&self, scenario: &Scenario) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        for Sort { name, reached, never } in self.sorts(scenario) {
            let all = reached + never.len();
            if all == 0 {
                continue;
            }
            let _ = writeln!(text, "{name:<20} {reached} of {all}");
            if !never.is_empty() {
                let more = never.len().saturating_sub(NAMED_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let named = never.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
                let _ = writeln!(text, "  never              {named}{more}");
            }
        }
        let mut paths: Vec<(&String, &u64)> = self.paths.iter().collect();
        paths.sort_by_key(|(path, orders)| (std::cmp::Reverse(**orders), path.len()));
        let _ = writeln!(text, "{:<20} {} ways, by {} orders", "saga paths", paths.len(), self.orders);
        for (path, orders) in paths.iter().take(PATHS_SHOWN) {
            let _ = writeln!(text, "  {orders:>8}  {path}");
        }
        if paths.len() > PATHS_SHOWN {
            let _ = writeln!(text, "  and {} rarer ones", paths.len() - PATHS_SHOWN);
        }
        text
    }
}

fn sort<'a>(
    name: &'static str,
    all: impl IntoIterator<Item = String>,
    reached: impl IntoIterator<Item = &'a str>,
) -> Sort {
    let all: BTreeSet<String> = all.into_iter().collect();
    let reached: BTreeSet<&str> = reached.into_iter().collect();
    let never: Vec<String> = all.iter().filter(|one| !reached.contains(one.as_str())).cloned().collect();
    Sort { name, reached: all.len() - never.len(), never }
}

fn kind_of(target: &str, kind: &str) -> String {
    // Crash points are counted by themselves.
    if target.starts_with(POINT) { format!("point {kind}") } else { format!("{target} {kind}") }
}

/// Every kind of fault that this build can inject.
fn fault_kinds() -> BTreeSet<String> {
    let kinds =
        vocabulary::targets().into_iter().flat_map(|target| target.kinds.iter().map(move |kind| (target, kind)));
    kinds.map(|(target, kind)| kind_of(target.name, kind.name)).collect()
}

fn known_points() -> impl Iterator<Item = &'static str> {
    points::points().iter().map(|point| point.name.as_str())
}

fn legal_transitions() -> impl Iterator<Item = String> {
    let pairs = Status::ALL.into_iter().flat_map(|from| Status::ALL.map(|to| (from, to)));
    pairs.filter(|(from, to)| from.may_become(*to)).map(|(from, to)| format!("{from} → {to}"))
}

/// What each step can come to. Local commits succeed or are not attempts; only steps forward are
/// refused, and only a payment is under way without being unknown.
fn step_outcomes() -> impl Iterator<Item = String> {
    let can = |(step, outcome): &(Step, Outcome)| match outcome {
        Outcome::Done => true,
        Outcome::Refused => step.is_forward(),
        Outcome::Ongoing => *step == Step::ProcessPayment,
        Outcome::Unknown => !matches!(step, Step::Create | Step::Confirm | Step::Cancel),
    };
    let pairs = Step::ALL.into_iter().flat_map(|step| Outcome::ALL.map(|outcome| (step, outcome)));
    pairs.filter(can).map(|(step, outcome)| format!("{step} {}", outcome.as_str()))
}

/// The changes of state along a path, each once.
fn transitions(path: &str) -> BTreeSet<String> {
    let states: Vec<&str> = path.split(' ').filter_map(status_after).collect();
    states.windows(2).map(|pair| format!("{} → {}", pair[0], pair[1])).collect()
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;
    use scenario::parse;

    fn some_coverage() -> impl Strategy<Value = Coverage> {
        let counts = || prop::collection::btree_map("[a-c]", 0..9_u64, 0..3);
        let faults = prop::collection::btree_map("[a-c]", (0..9_u64, 0..9_u64, 0..9_u64), 0..3);
        (0..9_u64, faults, counts(), counts(), counts()).prop_map(|(seeds, faults, transitions, paths, steps)| {
            let faults =
                faults.into_iter().map(|(kind, (planned, hit, calls))| (kind, FaultCount { planned, hit, calls }));
            let points = paths.iter().map(|(name, n)| (name.clone(), PointCount { passed: *n, crashed: n / 2 }));
            let (points, faults) = (points.collect(), faults.collect());
            Coverage { seeds, faults, points, transitions, paths, steps, ..Coverage::default() }
        })
    }

    fn sum(left: &Coverage, right: &Coverage) -> Coverage {
        let mut sum = left.clone();
        sum.merge(right);
        sum
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_order_coverage_is_added_up(
            a in some_coverage(), b in some_coverage(), c in some_coverage()
        ) {
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
            prop_assert_eq!(sum(&a, &Coverage::default()), a.clone());
            let written = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Coverage>(&written).unwrap(), a);
        }
    }

    #[test]
    fn too_many_paths_leave_the_same_ones_however_they_are_added_up() {
        let many = |from: u32| {
            let paths = (0..1_500).map(|number| (format!("{:05}", from + number * 3), 1)).collect();
            Coverage { paths, ..Coverage::default() }
        };
        let (a, b, c) = (many(0), many(1), many(2));
        assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
        assert_eq!(sum(&a, &b).paths.len(), PATHS_MAX);
    }

    #[test]
    fn what_was_never_reached_is_named() {
        let text = "version: 1\nname: x\nshop: { users: 1, catalog: { generate: 1, stock: 1 } }\n\
                    load: { g: { executor: constant-vus, vus: 1, duration: 1s, journey: [ view: any ] } }\n";
        let scenario = parse(text, "x.yaml", &[], &scenario::known()).unwrap();
        let mut coverage = Coverage::default();
        let nothing = coverage.render(&scenario);
        assert!(nothing.contains("PAID → CONFIRMED") && nothing.contains("breaker force_open"), "{nothing}");
        assert_eq!(coverage.reached(&scenario).0, 0);
        let path = "OrderCreated StockReserved PaymentProcessed OrderConfirmed StockCommitted";
        transitions(path).into_iter().for_each(|one| _ = coverage.transitions.insert(one, 1));
        let forced = FaultCount { planned: 2, hit: 1, calls: 3 };
        coverage.faults.insert("breaker force_open".into(), forced);
        let some = coverage.render(&scenario);
        assert!(!some.contains("PAID → CONFIRMED") && !some.contains("breaker force_open"), "{some}");
        assert!(some.contains("CANCELLING → CANCELLED") && some.contains("cancel done"), "{some}");
        assert_eq!(coverage.reached(&scenario).0, 4);
    }
}
