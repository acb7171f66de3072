//! Faults drawn by a seed, beside those that a scenario plans: each seed other kinds, so that what one kind
//! would always hide shows under another (Groce et al., *Swarm testing*, ISSTA 2012).
//!
//! What is drawn is a list of faults with their times, as a scenario would plan them: leaving one out
//! changes none of the others, since each has its own random stream, by its name.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::chaos::{Kind, Parameter, Shape, Target};
use chassis::rng::{Seeds, Stream};
use rand::RngExt;

use scenario::fault::DRAWN;
use scenario::{PlannedFault, Scenario};
use shop::fault::vocabulary::{self, Place};

/// The version of what seeds draw: another one draws other faults for the same seed.
pub const VERSION: u32 = 3;
/// Most faults of one seed.
const FAULTS_MAX: u32 = 12;
/// How likely a kind is in play, at least and at most; each seed draws its own.
const IN_PLAY: std::ops::Range<f64> = 0.05..0.6;
/// Where the saga goes: what happens there is drawn more often than the same elsewhere.
const SAGA: [&str; 4] = [acquirer::ROLE, payment::ROLE, inventory::ROLE, order::ROLE];
const SAGA_WEIGHT: usize = 6;
/// The target of a fault at a crash point begins with this.
const POINT: &str = "point:";
/// The kind of fault that every crash point has.
const CRASH: &str = "crash";

/// Crash points that no load passes: who works there comes before the load, or is a person.
const NOT_IN_A_LOAD: [&str; 21] = [
    "rebuild",
    "Rebuild",
    "shadow",
    "swap_orders",
    "retry_order",
    "RetryOrder",
    "ListStuck",
    "GetAttempts",
    "GetHistory",
    "ListOrders",
    "ListPayments",
    "egister",
    "Login",
    "pdate_profile",
    "UpdateProfile",
    "CreateProduct",
    "UpdateProduct",
    "DeleteProduct",
    "_product.",
    "estock",
    ".call.user.GetUser.",
];

/// A kind, and everything that it can happen to, each as often as it has weight.
struct Choice {
    kind: &'static Kind,
    weight: usize,
    targets: Vec<&'static Target>,
}

/// How often something of this pattern is drawn, against the others.
fn weight(pattern: &str) -> usize {
    match pattern {
        "point:NAME" => 5,
        "link:A->B" => 3,
        "link:ROLE->storage" | "process:ROLE" => 2,
        _ => 1,
    }
}

/// How often a target is drawn, against the others of its kind.
fn target_weight(target: &Target) -> usize {
    let saga = |role: &str| SAGA.contains(&role);
    let on_its_way = match vocabulary::place_of(target) {
        Some(Place::Link { from, to }) => (saga(from) || from == gateway::ROLE && to == order::ROLE) && saga(to),
        Some(
            Place::Storage(role)
            | Place::Log(role)
            | Place::Process(role)
            | Place::Clock(role)
            | Place::Point { role, .. },
        ) => saga(role),
        None => true,
    };
    if on_its_way { SAGA_WEIGHT } else { 1 }
}

/// Each kind of each family once: a family that has many targets is not more likely for that.
fn choices() -> Vec<Choice> {
    let mut choices: BTreeMap<(&str, &str), Choice> = BTreeMap::new();
    for target in vocabulary::targets() {
        if target.name.starts_with(POINT) && !in_a_load(target) {
            continue;
        }
        for kind in target.kinds {
            let family = vocabulary::pattern(target);
            let new = || Choice { kind, weight: weight(family), targets: Vec::new() };
            let choice = choices.entry((family, kind.name)).or_insert_with(new);
            choice.targets.extend(std::iter::repeat_n(target, target_weight(target)));
        }
    }
    choices.into_values().collect()
}

/// The faults that `seed` adds to the scenario's own, in the order of their beginning.
pub fn draw(scenario: &Scenario, seed: u64) -> Vec<PlannedFault> {
    let mut stream = Seeds::from_number(seed).stream("swarm");
    let share = stream.random_range(IN_PLAY);
    let in_play: Vec<Choice> = choices().into_iter().filter(|_| stream.random_bool(share)).collect();
    let in_play: Vec<&Choice> = in_play.iter().flat_map(|choice| std::iter::repeat_n(choice, choice.weight)).collect();
    if in_play.is_empty() {
        return Vec::new();
    }
    let faults = stream.random_range(1..=FAULTS_MAX);
    let mut drawn: Vec<PlannedFault> =
        (1..=faults).filter_map(|number| one(&mut stream, &in_play, number, scenario.duration())).collect();
    drawn.sort_by_key(|fault| fault.at);
    drawn
}

/// A crash at one crash point, the next one for the next seed: as many seeds as a load passes points try them
/// all, which drawing never comes near to. It begins in the first half of the load, so that the point is
/// still passed.
pub fn crash_in_turn(scenario: &Scenario, seed: u64) -> Option<PlannedFault> {
    let mut stream = Seeds::from_number(seed).stream("crash in turn");
    let targets: Vec<&'static Target> = vocabulary::targets().into_iter().filter(|target| in_a_load(target)).collect();
    let turn = usize::try_from(seed % u64::try_from(targets.len()).ok()?).ok()?;
    let target = *targets.get(turn)?;
    let kind = target.kinds.iter().find(|kind| kind.name == CRASH)?;
    let parameters =
        kind.parameters.iter().map(|parameter| (parameter.name.to_owned(), value(&mut stream, parameter))).collect();
    let fault = target.fault(&format!("{DRAWN}in-turn-{CRASH}"), kind.name, &parameters).ok()?;
    let load = u64::try_from(scenario.duration().as_millis()).unwrap_or(u64::MAX).max(4);
    let at = stream.random_range(0..load / 2);
    // To the load's end: the passage that is waited for may be a late one.
    Some(PlannedFault { fault, at: Duration::from_millis(at), lasts: Duration::from_millis(load - at) })
}

/// Whether this is a crash point that a load passes.
fn in_a_load(target: &Target) -> bool {
    target.name.starts_with(POINT) && !NOT_IN_A_LOAD.iter().any(|part| target.name.contains(part))
}

fn one(stream: &mut Stream, in_play: &[&Choice], number: u32, load: Duration) -> Option<PlannedFault> {
    let choice = in_play.get(stream.random_range(0..in_play.len()))?;
    let target = choice.targets.get(stream.random_range(0..choice.targets.len()))?;
    let kind = choice.kind;
    let parameters =
        kind.parameters.iter().map(|parameter| (parameter.name.to_owned(), value(stream, parameter))).collect();
    let (at, lasts) = times(stream, load);
    let name = format!("{DRAWN}{number}-{}", kind.name.replace('_', "-"));
    let fault = target.fault(&name, kind.name, &parameters);
    Some(PlannedFault { fault: fault.ok()?, at, lasts })
}

/// A value as it would be written. Small ones are as likely as large ones.
fn value(stream: &mut Stream, parameter: &Parameter) -> String {
    match parameter.shape {
        Shape::Share => {
            const SHARES: [&str; 6] = ["0.02", "0.1", "0.3", "0.5", "0.8", "1"];
            SHARES[stream.random_range(0..SHARES.len())].to_owned()
        }
        Shape::Durations => {
            // Longer than any deadline of the saga's now and then.
            let most = if stream.random_bool(0.5) { 5000 } else { 100 };
            let (one, other) = (stream.random_range(0..=most), stream.random_range(0..=most));
            format!("{}ms..{}ms", one.min(other), one.max(other))
        }
        Shape::Offset => {
            let sign = if stream.random_bool(0.5) { "-" } else { "" };
            format!("{sign}{}ms", millis(stream, 10_000))
        }
        Shape::Count => millis(stream, 30).to_string(),
    }
}

/// From 1 to `most`, evenly over the magnitudes.
fn millis(stream: &mut Stream, most: u64) -> u64 {
    let magnitude = stream.random_range(0..=most.ilog2());
    stream.random_range(1..=most.min(2 << magnitude))
}

/// A beginning within the load, and a length of up to the whole of it; every other one is a long one.
fn times(stream: &mut Stream, load: Duration) -> (Duration, Duration) {
    let load = u64::try_from(load.as_millis()).unwrap_or(u64::MAX).max(4);
    let lasts = if stream.random_bool(0.5) { stream.random_range(load / 4..=load) } else { millis(stream, load) };
    (Duration::from_millis(stream.random_range(0..load)), Duration::from_millis(lasts))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use scenario::parse;
    use shop::fault::points::points;

    const TEXT: &str = "
version: 1
name: x
shop: { users: 1, catalog: { generate: 1, stock: 1 } }
load: { g: { executor: constant-vus, vus: 1, duration: 10s, journey: [ view: any ] } }
";

    #[test]
    fn every_kind_comes_up_and_a_seed_draws_the_same_twice() {
        let scenario = parse(TEXT, "x", &[], &scenario::known()).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..1000 {
            let drawn = draw(&scenario, seed);
            assert_eq!(drawn, draw(&scenario, seed));
            for PlannedFault { fault, at, lasts } in drawn {
                assert!(at < scenario.duration() && !lasts.is_zero() && lasts <= scenario.duration());
                seen.insert((vocabulary::pattern(fault.target), fault.kind.name));
            }
        }
        let all: BTreeSet<_> = vocabulary::targets()
            .into_iter()
            .flat_map(|target| target.kinds.iter().map(|kind| (vocabulary::pattern(target), kind.name)))
            .collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn seeds_in_a_row_crash_at_every_point_that_a_load_passes() {
        let scenario = parse(TEXT, "x", &[], &scenario::known()).unwrap();
        let all: BTreeSet<_> =
            vocabulary::targets().into_iter().filter(|target| in_a_load(target)).map(|target| target.name).collect();
        assert!(all.len() > 100, "{}", all.len());
        let seeds = 1000..1000 + all.len() as u64;
        let crashed: BTreeSet<_> = seeds
            .map(|seed| {
                let planned = crash_in_turn(&scenario, seed).unwrap();
                assert_eq!(Some(&planned), crash_in_turn(&scenario, seed).as_ref());
                assert_eq!(planned.fault.kind.name, CRASH);
                assert_eq!(planned.at + planned.lasts, scenario.duration());
                planned.fault.target.name
            })
            .collect();
        assert_eq!(crashed, all);
    }

    #[test]
    fn what_a_load_does_not_pass_is_only_what_is_named_so() {
        for part in NOT_IN_A_LOAD {
            assert!(points().iter().any(|point| point.name.contains(part)), "{part}");
        }
    }
}
