//! The section `load`: groups of buyers, when they come, and what each does. Words and meanings are
//! k6's where k6 has them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;

use super::check::{Check, shown};
use super::error::quote;
use super::journey::{STEPS_MAX, Step, StepFile, journey};
use super::keys::{Key, Need, Shape};
use super::map::Keys;
use super::places::NodePath;
use super::schedule::{ArrivalPlan, Stage, VuPlan, VuStage};
use super::shop::Catalog;

/// A way to say when journeys start.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorKind {
    pub name: &'static str,
    /// The keys that it needs.
    pub required: &'static [&'static str],
    /// The keys that it takes as well.
    pub optional: &'static [&'static str],
    /// One line for people.
    pub meaning: &'static str,
}

/// The executors of this build.
pub const EXECUTORS: &[ExecutorKind] = &[
    ExecutorKind {
        name: "ramping-arrival-rate",
        required: &["stages", "max_vus"],
        optional: &["start_rate", "time_unit"],
        meaning: "open: the rate of arrivals moves along straight lines from target to target",
    },
    ExecutorKind {
        name: "constant-arrival-rate",
        required: &["rate", "duration", "max_vus"],
        optional: &["time_unit"],
        meaning: "open: a steady rate of arrivals",
    },
    ExecutorKind {
        name: "constant-vus",
        required: &["vus", "duration"],
        optional: &[],
        meaning: "closed: so many customers, each starts over when done",
    },
    ExecutorKind {
        name: "ramping-vus",
        required: &["stages"],
        optional: &["start_vus"],
        meaning: "closed: the number of customers moves along straight lines; one too many ends after the journey under way",
    },
    ExecutorKind {
        name: "shared-iterations",
        required: &["vus", "iterations"],
        optional: &["max_duration"],
        meaning: "closed: so many customers share so many journeys",
    },
    ExecutorKind {
        name: "per-vu-iterations",
        required: &["vus", "iterations"],
        optional: &["max_duration"],
        meaning: "closed: so many customers make so many journeys each",
    },
];
/// Executors that k6 has and this build does not.
const EXECUTORS_TO_COME: &[&str] = &["externally-controlled"];

pub(super) const KEYS: &[Key] = &[
    Key { name: "executor", shape: Shape::Executor, need: Need::Required, meaning: "when journeys start" },
    Key {
        name: "journey",
        shape: Shape::List("step", 1, STEPS_MAX),
        need: Need::Required,
        meaning: "what each customer does, in this order",
    },
    Key {
        name: "start_rate",
        shape: Shape::Rate,
        need: Need::Default("0"),
        meaning: "arrivals per `time_unit` at the start",
    },
    Key { name: "rate", shape: Shape::Rate, need: Need::Optional, meaning: "arrivals per `time_unit`" },
    Key {
        name: "time_unit",
        shape: Shape::Duration(SHORTEST, DURATION_MAX),
        need: Need::Default("1s"),
        meaning: "what rates count by",
    },
    Key {
        name: "stages",
        shape: Shape::List("stage", 1, STAGES_MAX),
        need: Need::Optional,
        meaning: "stretches of time, each with the rate or the number of customers at its end",
    },
    Key {
        name: "duration",
        shape: Shape::Duration(SHORTEST, DURATION_MAX),
        need: Need::Optional,
        meaning: "how long journeys are started",
    },
    Key {
        name: "start_vus",
        shape: Shape::Whole(0, VUS_MAX as u64),
        need: Need::Default("1"),
        meaning: "customers at the start",
    },
    Key {
        name: "vus",
        shape: Shape::Whole(1, VUS_MAX as u64),
        need: Need::Optional,
        meaning: "customers, each with one journey at a time",
    },
    Key {
        name: "max_vus",
        shape: Shape::Whole(1, VUS_MAX as u64),
        need: Need::Optional,
        meaning: "journeys under way at once; an arrival beyond them is dropped and counted",
    },
    Key {
        name: "iterations",
        shape: Shape::Whole(1, ITERATIONS_MAX),
        need: Need::Optional,
        meaning: "journeys: of all together if they are shared, else of each customer",
    },
    Key {
        name: "max_duration",
        shape: Shape::Duration(SHORTEST, DURATION_MAX),
        need: Need::Default("10m"),
        meaning: "no journey is started later, even if some are left",
    },
    Key {
        name: "only",
        shape: Shape::Numbers(ITERATIONS_MAX, ONLY_MAX),
        need: Need::Optional,
        meaning: "the journeys that are played, by their numbers from 0 on; the others keep theirs and are left out",
    },
];

pub(super) const STAGE_KEYS: &[Key] = &[
    Key {
        name: "duration",
        shape: Shape::Duration(Duration::ZERO, DURATION_MAX),
        need: Need::Required,
        meaning: "how long it takes; `0s` is a jump",
    },
    Key {
        name: "target",
        shape: Shape::Rate,
        need: Need::Required,
        meaning: "the rate per `time_unit` at its end; for `ramping-vus` the number of customers",
    },
];

pub(super) const GROUPS_MAX: usize = 32;
const STAGES_MAX: usize = 1000;
const VUS_MAX: u32 = 10_000;
const ITERATIONS_MAX: u64 = 10_000_000;
const ONLY_MAX: usize = 10_000;
const RATE_PER_S_MAX: f64 = 100_000.0;
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
const SHORTEST: Duration = Duration::from_millis(1);
const MAX_DURATION_DEFAULT: Duration = Duration::from_secs(600);
const START_VUS_DEFAULT: u32 = 1;

/// Buyers who behave alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub name: String,
    pub executor: Executor,
    pub journey: Vec<Step>,
    /// The numbers of the journeys that are played; all without it.
    pub only: Option<BTreeSet<u64>>,
}

impl Group {
    /// Whether the journey with this number is played. Arrivals count from 0 as they are due, journeys of
    /// a closed model as they are begun.
    pub fn plays(&self, number: u64) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&number))
    }

    /// Whether no journey from this number on is played.
    pub fn is_over(&self, number: u64) -> bool {
        self.only.as_ref().is_some_and(|only| only.last().is_none_or(|last| *last < number))
    }
}

/// When journeys start.
#[derive(Debug, Clone, PartialEq)]
pub enum Executor {
    /// Open: journeys start when they are due, however the shop is doing.
    Arrivals(ArrivalPlan),
    /// Closed: each virtual user starts its next journey when the last one ended.
    ConstantVus { vus: u32, duration: Duration },
    /// Closed, with a number of virtual users that changes; one too many ends after its journey.
    RampingVus(VuPlan),
    /// Closed: all virtual users together start so many journeys, none later than the longest time.
    SharedIterations { vus: u32, iterations: u64, max_duration: Duration },
    /// Closed: each virtual user starts so many journeys, none later than the longest time.
    PerVuIterations { vus: u32, iterations: u64, max_duration: Duration },
}

impl Executor {
    /// How long journeys are started; at most so long, where their number is what ends them.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Arrivals(plan) => plan.duration(),
            Self::RampingVus(plan) => plan.duration(),
            Self::ConstantVus { duration, .. } => *duration,
            Self::SharedIterations { max_duration, .. } | Self::PerVuIterations { max_duration, .. } => *max_duration,
        }
    }
}

/// A group with the keys of every executor: which of them belong is told by `executor`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    executor: Option<String>,
    start_rate: Option<String>,
    rate: Option<String>,
    time_unit: Option<String>,
    stages: Option<Vec<Keys<StageFile>>>,
    duration: Option<String>,
    start_vus: Option<String>,
    vus: Option<String>,
    max_vus: Option<String>,
    iterations: Option<String>,
    max_duration: Option<String>,
    journey: Option<Vec<StepFile>>,
    only: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageFile {
    duration: Option<String>,
    target: Option<String>,
}

/// Turns the groups of the file into those of the scenario.
pub(super) fn groups(
    written: IndexMap<String, Keys<GroupFile>>,
    at: &NodePath,
    catalog: &Catalog,
    check: &mut Check,
) -> Vec<Group> {
    if written.is_empty() {
        check.key(at, "`load` has no group of buyers");
    }
    if written.len() > GROUPS_MAX {
        check.key(at, format!("`load` has {} groups; {GROUPS_MAX} are the most", written.len()));
        return Vec::new();
    }
    let groups = written.into_iter().filter_map(|(name, Keys(group))| {
        let at = at.key(&name);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            check.key(&at, format!("a group's name is 1 to 64 letters, digits, `-` or `_`, not {}", quote(&name)));
        }
        group.validate(name, &at, catalog, check)
    });
    groups.collect()
}

impl GroupFile {
    fn validate(mut self, name: String, at: &NodePath, catalog: &Catalog, check: &mut Check) -> Option<Group> {
        let steps = check.required(self.journey.take(), at, "journey");
        let steps = steps.map(|steps| journey(steps, &at.key("journey"), catalog, check));
        let only = self.only.take().map(|numbers| only(&numbers, &at.key("only"), check));
        let kind = check.required(self.executor.take(), at, "executor");
        let executor = kind.and_then(|kind| self.executor(&kind, at, check));
        Some(Group { name, executor: executor?, journey: steps?, only })
    }

    fn executor(self, kind: &str, at: &NodePath, check: &mut Check) -> Option<Executor> {
        match EXECUTORS.iter().find(|known| known.name == kind) {
            Some(known) => self.keys_of(known, at, check),
            None => unknown_executor(kind, &at.key("executor"), check),
        }
        match kind {
            "ramping-arrival-rate" => self.ramping_arrivals(at, check),
            "constant-arrival-rate" => self.constant_arrivals(at, check),
            "constant-vus" => self.constant_vus(at, check),
            "ramping-vus" => self.ramping_vus(at, check),
            "shared-iterations" => self.shared_iterations(at, check),
            "per-vu-iterations" => self.per_vu_iterations(at, check),
            _ => None,
        }
    }

    /// Refuses the keys that only other executors take.
    fn keys_of(&self, kind: &ExecutorKind, at: &NodePath, check: &mut Check) {
        let written = [
            ("start_rate", self.start_rate.is_some()),
            ("rate", self.rate.is_some()),
            ("time_unit", self.time_unit.is_some()),
            ("stages", self.stages.is_some()),
            ("duration", self.duration.is_some()),
            ("start_vus", self.start_vus.is_some()),
            ("vus", self.vus.is_some()),
            ("max_vus", self.max_vus.is_some()),
            ("iterations", self.iterations.is_some()),
            ("max_duration", self.max_duration.is_some()),
        ];
        let taken: Vec<_> = kind.required.iter().chain(kind.optional).copied().collect();
        for (key, _) in written.iter().filter(|(key, there)| *there && !taken.contains(key)) {
            let problem = check.key(&at.key(key), format!("`{}` takes no `{key}`", kind.name));
            problem.help(format!("it takes: {}, journey", taken.join(", ")));
        }
    }

    fn ramping_arrivals(self, at: &NodePath, check: &mut Check) -> Option<Executor> {
        let before = check.problems.len();
        let unit_s = time_unit_s(self.time_unit.as_deref(), at, check);
        let start_rate_per_s = self.start_rate.map_or(0.0, |text| rate(&text, unit_s, &at.key("start_rate"), check));
        let stages = stages(self.stages, at, check, |stage, at, check| stage.rate(unit_s, at, check))?;
        let max_vus = vus(self.max_vus, "max_vus", at, check)?;
        Self::arrivals(ArrivalPlan { start_rate_per_s, stages, max_vus }, before, at, check)
    }

    fn constant_arrivals(self, at: &NodePath, check: &mut Check) -> Option<Executor> {
        let before = check.problems.len();
        let unit_s = time_unit_s(self.time_unit.as_deref(), at, check);
        let target = check.required(self.rate, at, "rate");
        let target = target.map(|text| rate(&text, unit_s, &at.key("rate"), check));
        let duration = duration(self.duration, at, SHORTEST..=DURATION_MAX, check);
        let max_vus = vus(self.max_vus, "max_vus", at, check);
        let (start_rate_per_s, duration, max_vus) = (target?, duration?, max_vus?);
        let stages = vec![Stage { duration, target_per_s: start_rate_per_s }];
        Self::arrivals(ArrivalPlan { start_rate_per_s, stages, max_vus }, before, at, check)
    }

    /// Judges the plan as a whole, if none of its parts was wrong.
    fn arrivals(plan: ArrivalPlan, before: usize, at: &NodePath, check: &mut Check) -> Option<Executor> {
        if check.problems.len() == before && !too_long(plan.duration(), at, check) && plan.total() == 0 {
            check.key(at, "not one buyer arrives at this rate in this time");
        }
        Some(Executor::Arrivals(plan))
    }

    fn constant_vus(self, at: &NodePath, check: &mut Check) -> Option<Executor> {
        let vus = vus(self.vus, "vus", at, check);
        let duration = duration(self.duration, at, SHORTEST..=DURATION_MAX, check);
        Some(Executor::ConstantVus { vus: vus?, duration: duration? })
    }

    fn ramping_vus(self, at: &NodePath, check: &mut Check) -> Option<Executor> {
        let before = check.problems.len();
        let start = self.start_vus.map(|text| check.whole(&text, &at.key("start_vus"), 0..=VUS_MAX));
        let stages = stages(self.stages, at, check, StageFile::vus)?;
        let plan = VuPlan { start_vus: start.unwrap_or(START_VUS_DEFAULT), stages };
        if check.problems.len() == before && !too_long(plan.duration(), at, check) {
            if plan.duration().is_zero() {
                check.key(&at.key("stages"), "the stages take no time");
            } else if plan.most() == 0 {
                check.key(at, "not one customer comes");
            }
        }
        Some(Executor::RampingVus(plan))
    }

    fn shared_iterations(self, at: &NodePath, check: &mut Check) -> Option<Executor> {
        let (vus, iterations, max_duration) = self.iterations(at, check)?;
        if iterations < u64::from(vus) {
            let message = format!("`iterations` is {iterations}, fewer than the {vus} customers who share them");
            check.value(&at.key("iterations"), message);
        }
        Some(Executor::SharedIterations { vus, iterations, max_duration })
    }

    fn per_vu_iterations(self, at: &NodePath, check: &mut Check) -> Option<Executor> {
        let (vus, iterations, max_duration) = self.iterations(at, check)?;
        Some(Executor::PerVuIterations { vus, iterations, max_duration })
    }

    fn iterations(self, at: &NodePath, check: &mut Check) -> Option<(u32, u64, Duration)> {
        let vus = vus(self.vus, "vus", at, check);
        let iterations = check.required(self.iterations, at, "iterations");
        let iterations = iterations.map(|text| check.whole(&text, &at.key("iterations"), 1..=ITERATIONS_MAX));
        let longest = self.max_duration;
        let longest = longest.map(|text| check.duration(&text, &at.key("max_duration"), SHORTEST..=DURATION_MAX));
        Some((vus?, iterations?, longest.unwrap_or(MAX_DURATION_DEFAULT)))
    }
}

fn only(numbers: &[String], at: &NodePath, check: &mut Check) -> BTreeSet<u64> {
    if numbers.is_empty() || numbers.len() > ONLY_MAX {
        check.value(at, format!("`only` is a list of 1 to {ONLY_MAX} numbers of journeys"));
        return BTreeSet::new();
    }
    let numbers = numbers.iter().enumerate();
    numbers.map(|(index, text)| check.whole(text, &at.index(index), 0..=ITERATIONS_MAX)).collect()
}

fn unknown_executor(kind: &str, at: &NodePath, check: &mut Check) {
    let names = EXECUTORS.iter().map(|known| known.name);
    if EXECUTORS_TO_COME.contains(&kind) {
        let names: Vec<_> = names.collect();
        let problem = check.value(at, format!("the executor {} is not available yet", quote(kind)));
        problem.help(format!("available are: {}", names.join(", ")));
    } else {
        let known = names.chain(EXECUTORS_TO_COME.iter().copied());
        check.value(at, format!("unknown executor {}", quote(kind))).suggest(kind, known);
    }
}

/// Reads each stage with `read`.
fn stages<T>(
    written: Option<Vec<Keys<StageFile>>>,
    owner: &NodePath,
    check: &mut Check,
    read: impl Fn(StageFile, &NodePath, &mut Check) -> Option<T>,
) -> Option<Vec<T>> {
    let written = check.required(written, owner, "stages")?;
    let at = owner.key("stages");
    if written.is_empty() || written.len() > STAGES_MAX {
        check.value(&at, format!("`stages` is a list of 1 to {STAGES_MAX} stages"));
        return None;
    }
    let stages = written.into_iter().enumerate();
    Some(stages.filter_map(|(index, Keys(stage))| read(stage, &at.index(index), check)).collect())
}

fn too_long(total: Duration, at: &NodePath, check: &mut Check) -> bool {
    let too_long = total > DURATION_MAX;
    if too_long {
        let message = format!("the stages take {}; {} is the most", shown(total), shown(DURATION_MAX));
        check.key(&at.key("stages"), message);
    }
    too_long
}

impl StageFile {
    /// A stage whose target is a rate.
    fn rate(self, unit_s: f64, at: &NodePath, check: &mut Check) -> Option<Stage> {
        let duration = duration(self.duration, at, Duration::ZERO..=DURATION_MAX, check);
        let target = check.required(self.target, at, "target");
        let target = target.map(|text| rate(&text, unit_s, &at.key("target"), check));
        Some(Stage { duration: duration?, target_per_s: target? })
    }

    /// A stage whose target is a number of virtual users.
    fn vus(self, at: &NodePath, check: &mut Check) -> Option<VuStage> {
        let duration = duration(self.duration, at, Duration::ZERO..=DURATION_MAX, check);
        let target = check.required(self.target, at, "target");
        let target = target.map(|text| check.whole(&text, &at.key("target"), 0..=VUS_MAX));
        Some(VuStage { duration: duration?, target: target? })
    }
}

fn time_unit_s(text: Option<&str>, at: &NodePath, check: &mut Check) -> f64 {
    let unit = text.map(|text| check.duration(text, &at.key("time_unit"), SHORTEST..=DURATION_MAX));
    unit.map_or(1.0, |unit| unit.as_secs_f64())
}

/// A rate per time unit, as a rate per second.
fn rate(text: &str, unit_s: f64, at: &NodePath, check: &mut Check) -> f64 {
    check.decimal(text, at, 0.0..=RATE_PER_S_MAX * unit_s) / unit_s
}

fn duration(
    text: Option<String>,
    owner: &NodePath,
    range: RangeInclusive<Duration>,
    check: &mut Check,
) -> Option<Duration> {
    let text = check.required(text, owner, "duration")?;
    Some(check.duration(&text, &owner.key("duration"), range))
}

fn vus(text: Option<String>, key: &str, owner: &NodePath, check: &mut Check) -> Option<u32> {
    let text = check.required(text, owner, key)?;
    Some(check.whole(&text, &owner.key(key), 1..=VUS_MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, parsed};
    use super::*;

    const HEAD: &str = "version: 1\nname: x\nshop: { users: 1, catalog: { generate: 1, stock: 1 } }\n";

    /// A scenario with one group; its first key is on line 6, column 5.
    fn group(keys: &[&str]) -> String {
        let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
        format!("{HEAD}load:\n  g:\n{keys}    journey: [ view: any ]\n")
    }

    fn executor(keys: &[&str]) -> Executor {
        parsed(&group(keys)).load.remove(0).executor
    }

    #[test]
    fn rates_are_per_time_unit() {
        let read =
            executor(&["executor: constant-arrival-rate", "rate: 120", "time_unit: 1m", "duration: 1m", "max_vus: 5"]);
        let stages = vec![Stage { duration: Duration::from_secs(60), target_per_s: 2.0 }];
        assert_eq!(read, Executor::Arrivals(ArrivalPlan { start_rate_per_s: 2.0, stages, max_vus: 5 }));
    }

    #[test]
    fn a_ramp_starts_at_nothing_unless_told() {
        let read =
            executor(&["executor: ramping-arrival-rate", "stages: [ { duration: 10s, target: 10 } ]", "max_vus: 5"]);
        let Executor::Arrivals(plan) = read else { panic!("{read:?}") };
        assert_eq!(plan.total(), 50);
    }

    #[test]
    fn virtual_users_need_a_number_and_a_time() {
        let read = executor(&["executor: constant-vus", "vus: 3", "duration: 1.5s"]);
        assert_eq!(read, Executor::ConstantVus { vus: 3, duration: Duration::from_millis(1500) });
        check(&group(&["executor: constant-vus"]), &[("5:3", "`g` needs `vus`"), ("5:3", "`g` needs `duration`")]);
    }

    #[test]
    fn the_number_of_virtual_users_may_ramp() {
        let read = executor(&["executor: ramping-vus", "stages: [ { duration: 2s, target: 5 } ]"]);
        let stages = vec![VuStage { duration: Duration::from_secs(2), target: 5 }];
        assert_eq!(read, Executor::RampingVus(VuPlan { start_vus: 1, stages }));
        let ramp = |start: &str, stage: &str| {
            group(&["executor: ramping-vus", &format!("start_vus: {start}"), &format!("stages: [ {{ {stage} }} ]")])
        };
        check(&ramp("0", "duration: 1s, target: 0"), &[("5:3", "not one customer comes")]);
        check(&ramp("1", "duration: 0s, target: 9"), &[("8:5", "the stages take no time")]);
        check(&ramp("1", "duration: 1s, target: 0.5"), &[("8:39", "`target` is a whole number from 0 to 10000")]);
        check(&ramp("-1", "duration: 1s, target: 1"), &[("7:16", "`start_vus` is a whole number from 0 to 10000")]);
        check(&group(&["executor: ramping-vus"]), &[("5:3", "`g` needs `stages`")]);
    }

    #[test]
    fn journeys_may_be_numbered() {
        let longest = Duration::from_secs(600);
        assert_eq!(
            executor(&["executor: shared-iterations", "vus: 3", "iterations: 10"]),
            Executor::SharedIterations { vus: 3, iterations: 10, max_duration: longest }
        );
        let read = executor(&["executor: per-vu-iterations", "vus: 3", "iterations: 2", "max_duration: 5s"]);
        assert_eq!(read.duration(), Duration::from_secs(5));
        assert_eq!(read, Executor::PerVuIterations { vus: 3, iterations: 2, max_duration: Duration::from_secs(5) });
        check(
            &group(&["executor: shared-iterations", "vus: 3", "iterations: 2"]),
            &[("8:17", "`iterations` is 2, fewer than the 3 customers who share them")],
        );
        check(
            &group(&["executor: per-vu-iterations", "vus: 3", "max_duration: 0s"]),
            &[("5:3", "`g` needs `iterations`"), ("8:19", "`max_duration` is a duration from 1ms to 24h")],
        );
    }

    #[test]
    fn journeys_may_be_chosen_by_their_numbers() {
        let vus = ["executor: constant-vus", "vus: 1", "duration: 1s"];
        let all = parsed(&group(&vus)).load.remove(0);
        assert!(all.plays(0) && !all.is_over(u64::MAX));
        let some = parsed(&group(&[&vus[..], &["only: [ 17, 3 ]"]].concat())).load.remove(0);
        assert_eq!([2, 3, 17, 18].map(|number| some.plays(number)), [false, true, true, false]);
        assert!(!some.is_over(17) && some.is_over(18));
        for (only, message) in [
            ("only: []", "`only` is a list of 1 to 10000 numbers of journeys"),
            ("only: [ 3, -1 ]", "an item of `only` is a whole number from 0 to 10000000, not `-1`"),
        ] {
            let place = if only.contains('3') { "9:16" } else { "9:11" };
            check(&group(&[&vus[..], &[only]].concat()), &[(place, message)]);
        }
    }

    #[test]
    fn an_executor_refuses_the_keys_of_another() {
        check(
            &group(&["executor: constant-vus", "vus: 1", "duration: 1s", "max_vus: 1", "stages: []"]),
            &[("9:5", "`constant-vus` takes no `max_vus`"), ("10:5", "`constant-vus` takes no `stages`")],
        );
        check(
            &group(&[
                "executor: ramping-arrival-rate",
                "stages: [ { duration: 1s, target: 9 } ]",
                "max_vus: 1",
                "rate: 1",
            ]),
            &[("9:5", "`ramping-arrival-rate` takes no `rate`")],
        );
    }

    #[test]
    fn executors_of_k6_that_are_to_come_are_told_from_slips() {
        check(
            &group(&["executor: externally-controlled"]),
            &[("6:15", "the executor `externally-controlled` is not available yet")],
        );
        check(
            &group(&["executor: constant-arival-rate"]),
            &[("6:15", "unknown executor `constant-arival-rate`, did you mean `constant-arrival-rate`?")],
        );
        check(&group(&["executor: zebra"]), &[("6:15", "unknown executor `zebra`")]);
        check(&group(&["vus: 1"]), &[("5:3", "`g` needs `executor`")]);
        check(&group(&["vus: 1", "executor:"]), &[("7:5", "`g` needs `executor`")]);
    }

    #[test]
    fn impossible_numbers_are_refused_where_they_stand() {
        let ramp = |start: &str, stage: &str, vus: &str| {
            group(&[
                "executor: ramping-arrival-rate",
                &format!("start_rate: {start}"),
                &format!("stages: [ {stage} ]"),
                &format!("max_vus: {vus}"),
            ])
        };
        check(
            &ramp("-1", "{ duration: 1s, target: 9 }", "1"),
            &[("7:17", "`start_rate` is a number from 0 to 100000, not `-1`")],
        );
        check(&ramp("1", "{ duration: 1s, target: 1e6 }", "1"), &[("8:39", "not `1e6`")]);
        check(&ramp("1", "{ duration: 4, target: 9 }", "1"), &[("8:27", "such as 50ms, 1.5s or 2m, not `4`")]);
        check(
            &ramp("1", "{ durration: 4s, target: 9 }", "1"),
            &[("8:17", "unknown key `durration`, did you mean `duration`?")],
        );
        check(&ramp("1", "{ duration: 4s }", "1"), &[("8:15", "an item of `stages` needs `target`")]);
        check(&ramp("1", "", "1"), &[("8:13", "`stages` is a list of 1 to 1000 stages")]);
        check(&ramp("1", "[ 4s, 9 ]", "1"), &[("8:15", "an item of `stages` is a map of keys; a list stands here")]);
        check(
            &ramp("1", "{ duration: 24h, target: 9 }, { duration: 1s, target: 9 }", "1"),
            &[("8:5", "24h is the most")],
        );
        check(&ramp("0", "{ duration: 1s, target: 0.5 }", "1"), &[("5:3", "not one buyer arrives")]);
        check(
            &ramp("1", "{ duration: 1s, target: 9 }", "10001"),
            &[("9:14", "`max_vus` is a whole number from 1 to 10000")],
        );
    }

    #[test]
    fn groups_are_named_and_counted() {
        let one = "{ executor: constant-vus, vus: 1, duration: 1s, journey: [ view: any ] }";
        check(&format!("{HEAD}load:\n  a b: {one}\n"), &[("5:3", "a group's name is")]);
        let many: String = (0..33).map(|index| format!("  g{index}: {one}\n")).collect();
        check(&format!("{HEAD}load:\n{many}"), &[("4:1", "`load` has 33 groups; 32 are the most")]);
        check(&format!("{HEAD}load: {{}}\n"), &[("4:1", "`load` has no group")]);
        check(&format!("{HEAD}load:\n  g:\n"), &[("5:3", "`g` needs `journey`"), ("5:3", "`g` needs `executor`")]);
    }
}
