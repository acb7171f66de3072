//! The section `faults`: what breaks, when, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::chaos::{Fault, Kind, Target};
use indexmap::IndexMap;

use super::check::{Check, shown};
use super::error::{nearest, quote};
use super::keys::{Key, Need, Shape};
use super::places::NodePath;
use super::shop::Known;

pub(super) const FAULTS_MAX: usize = 64;
const AT_MAX: Duration = Duration::from_secs(24 * 3600);
const LASTS_MIN: Duration = Duration::from_millis(1);
const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);

/// Targets that the format knows by their beginning and this build cannot break.
const TARGETS_TO_COME: &[&str] = &["server:"];

/// The keys of every fault; the parameters of its kind stand beside them.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "name",
        shape: Shape::Name,
        need: Need::Required,
        meaning: "what reports and `during` call it; unique",
    },
    Key {
        name: "at",
        shape: Shape::Duration(Duration::ZERO, AT_MAX),
        need: Need::Required,
        meaning: "when it is injected; before the end of the load",
    },
    Key {
        name: "for",
        shape: Shape::Duration(LASTS_MIN, LASTS_MAX),
        need: Need::Required,
        meaning: "how long it lasts; it is lifted at the end of the load at the latest",
    },
    Key { name: "target", shape: Shape::Target, need: Need::Required, meaning: "what breaks" },
    Key { name: "kind", shape: Shape::Kind, need: Need::Required, meaning: "how it breaks" },
];

/// A fault and its time. It is always lifted at the end of the load, if it has not been before.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    pub fault: Fault,
    /// From the load's start; within the load.
    pub at: Duration,
    /// More than nothing.
    pub lasts: Duration,
}

/// A fault as it is written: which keys belong beside the five is told by `kind`.
pub(super) type FaultFile = IndexMap<String, Option<String>>;

/// How the names of faults begin that somebody injects during a run.
pub const BY_HAND: &str = "by-hand-";
/// How the names of faults begin that a seed draws. Nobody chose their times: that one touches no call, or finds
/// its role down, is nobody's mistake.
pub const DRAWN: &str = "swarm-";

/// The faults of a file.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Those that can be injected: all, if nothing was reported.
    pub planned: Vec<PlannedFault>,
    /// The names of all, each with its target where that one exists.
    pub named: IndexMap<String, Option<&'static Target>>,
}

/// Turns the faults of the file into those of the scenario.
pub(super) fn faults(written: Vec<FaultFile>, at: &NodePath, known: &Known, check: &mut Check) -> Faults {
    if written.len() > FAULTS_MAX {
        check.key(at, format!("`faults` has {} faults; {FAULTS_MAX} are the most", written.len()));
    }
    let mut faults = Faults::default();
    for (index, fault) in written.into_iter().enumerate() {
        let at = at.index(index);
        let name = fault.get("name").cloned().flatten();
        let target = fault.get("target").cloned().flatten().and_then(|target| target_named(&target, known));
        faults.planned.extend(planned(fault, &at, known, check));
        if let Some(name) = name
            && faults.named.insert(name.clone(), target).is_some()
        {
            check.value(&at.key("name"), format!("{} is the name of two faults", quote(&name)));
        }
    }
    faults
}

/// Says which faults would begin when the load is over. `faults` are all that `at` lists.
pub(super) fn judge_times(faults: &[PlannedFault], load: Duration, at: &NodePath, check: &mut Check) {
    for (index, fault) in faults.iter().enumerate().filter(|(_, fault)| fault.at >= load) {
        let message = format!("`at` is {}, but the load is over after {}", shown(fault.at), shown(load));
        check.value(&at.index(index).key("at"), message);
    }
}

fn planned(mut written: FaultFile, at: &NodePath, known: &Known, check: &mut Check) -> Option<PlannedFault> {
    let before = check.problems.len();
    let texts = ["name", "at", "for", "target", "kind"].map(|key| (key, written.shift_remove(key).flatten()));
    let [(_, name), (_, begins), (_, lasts), (_, target), (_, kind)] = texts.clone();
    if let Some(name) = &name {
        check.name(name, &at.key("name"));
        if name.starts_with(BY_HAND) {
            check.value(&at.key("name"), format!("names that begin with `{BY_HAND}` are given to faults by hand"));
        }
    }
    let begins = begins.map(|text| check.duration(&text, &at.key("at"), Duration::ZERO..=AT_MAX));
    let lasts = lasts.map(|text| check.duration(&text, &at.key("for"), LASTS_MIN..=LASTS_MAX));
    let target = target.and_then(|text| self::target(&text, &at.key("target"), known, check));
    let kind = target.zip(kind).and_then(|(target, text)| self::kind(target, &text, &at.key("kind"), check));
    let meant = slips(&written, kind, at, known, check);
    for (key, text) in texts.into_iter().filter(|(key, _)| !meant.contains(key)) {
        check.required(text, at, key);
    }
    let (target, kind) = (target?, kind?);
    let parameters = parameters(&written, kind, &meant, at, check);
    match target.fault(&name?, kind.name, &parameters) {
        Ok(fault) => Some(PlannedFault { fault, at: begins?, lasts: lasts? }),
        Err(unfit) if check.problems.len() == before => {
            check.key(at, unfit.to_string());
            None
        }
        Err(_) => None,
    }
}

fn target_named(name: &str, known: &Known) -> Option<&'static Target> {
    known.targets.iter().copied().find(|target| target.name == name)
}

fn target(text: &str, at: &NodePath, known: &Known, check: &mut Check) -> Option<&'static Target> {
    let found = target_named(text, known);
    if found.is_none() {
        let names = known.targets.iter().map(|target| target.name);
        if TARGETS_TO_COME.iter().any(|prefix| text.starts_with(prefix)) {
            let problem = check.value(at, format!("the target {} is not in this build yet", quote(text)));
            problem.help("`shopctl fault kinds` lists what can be broken".to_owned());
        } else {
            check.value(at, format!("unknown target {}", quote(text))).suggest(text, names);
        }
    }
    found
}

fn kind(target: &'static Target, text: &str, at: &NodePath, check: &mut Check) -> Option<&'static Kind> {
    let found = target.kind(text);
    if found.is_none() {
        let problem = check.value(at, format!("`{}` has no fault of kind {}", target.name, quote(text)));
        problem.suggest(text, target.kinds.iter().map(|kind| kind.name));
    }
    found
}

/// Refuses what is neither one of the five keys nor a parameter: of the kind, or of any where the kind
/// is not known. Answers with the names that were probably meant, which nobody needs to miss as well.
fn slips(given: &FaultFile, kind: Option<&Kind>, at: &NodePath, known: &Known, check: &mut Check) -> Vec<&'static str> {
    let kinds = match kind {
        Some(kind) => vec![kind],
        None => known.targets.iter().flat_map(|target| target.kinds).collect(),
    };
    let taken: Vec<_> = kinds.iter().flat_map(|kind| kind.parameters).map(|parameter| parameter.name).collect();
    let mut meant = Vec::new();
    for key in given.keys().filter(|key| !taken.contains(&key.as_str())) {
        let message = match kind {
            Some(kind) => format!("{} is neither a key of a fault nor a parameter of `{}`", quote(key), kind.name),
            None => format!("unknown key {}", quote(key)),
        };
        let names = KEYS.iter().map(|key| key.name).chain(taken.iter().copied());
        meant.extend(nearest(key, names.clone()));
        check.key(&at.key(key), message).suggest(key, names);
    }
    meant
}

/// The parameters that are written, each judged where it stands.
fn parameters(
    given: &FaultFile,
    kind: &Kind,
    meant: &[&str],
    at: &NodePath,
    check: &mut Check,
) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for parameter in kind.parameters {
        let name = parameter.name;
        match given.get(name).cloned().flatten() {
            Some(text) => {
                if let Err(why) = parameter.shape.read(&text) {
                    check.value(&at.key(name), format!("`{name}`: {why}"));
                }
                parameters.insert(name.to_owned(), text);
            }
            None if parameter.default.is_none() && !meant.contains(&name) => {
                check.key(&at.key(name), format!("`{}` needs `{name}`: {}", kind.name, parameter.meaning));
            }
            None => {}
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, overridden, parsed};
    use super::*;

    const HEAD: &str = "version: 1
name: x
shop: { users: 1, catalog: { generate: 1, stock: 1 } }
load: { g: { executor: constant-vus, vus: 1, duration: 10s, journey: [ view: any ] } }
faults:
";
    const OUTAGE: &str = "name: down, at: 2s, for: 3s, target: payment-provider, kind: outage";

    /// A scenario with these faults; the first key of the first is on line 6, column 7.
    fn faults(faults: &[&str]) -> String {
        faults.iter().fold(HEAD.to_owned(), |text, fault| format!("{text}  - {{ {fault} }}\n"))
    }

    #[test]
    fn a_fault_is_read_with_its_time_and_its_parameters() {
        let scenario = parsed(&faults(&[
            OUTAGE,
            "name: slow, at: 0s, for: 24h, target: payment-provider, kind: latency, latency: 300ms..600ms",
            "name: lost, at: 9.5s, for: 1ms, target: payment-provider, kind: timeout_after_charge",
        ]));
        let [down, slow, lost] = scenario.faults.as_slice() else { panic!("{:?}", scenario.faults) };
        assert_eq!((down.at, down.lasts), (Duration::from_secs(2), Duration::from_secs(3)));
        assert_eq!(down.fault.to_string(), "payment-provider outage");
        assert_eq!(slow.fault.to_string(), "payment-provider latency(latency=300ms..600ms)");
        assert_eq!((lost.fault.name.as_str(), lost.fault.share("rate") as u32), ("lost", 1));
    }

    #[test]
    fn each_wrong_fault_is_told_what_is_wrong_and_where() {
        for (from, to, place, message) in [
            ("name: down", "name: Down", "6:13", "`name` is 1 to 48 of a-z, 0-9 and `-`, not `Down`"),
            ("name: down, ", "", "6:5", "an item of `faults` needs `name`"),
            ("at: 2s, ", "", "6:5", "an item of `faults` needs `at`"),
            ("for: 3s, ", "", "6:5", "an item of `faults` needs `for`"),
            (", kind: outage", "", "6:5", "an item of `faults` needs `kind`"),
            ("at: 2s", "at: 2", "6:23", "`at` is a duration such as"),
            ("at: 2s", "at: -2s", "6:23", "`at` is a duration such as"),
            ("at: 2s", "at: 10s", "6:23", "`at` is 10s, but the load is over after 10s"),
            ("for: 3s", "for: 0s", "6:32", "`for` is a duration from 1ms to 24h, not `0s`"),
            ("for: 3s", "for: 25h", "6:32", "`for` is a duration from 1ms to 24h, not `25h`"),
            ("target: payment-provider", "target: payment-provder", "6:44", "did you mean `payment-provider`?"),
            ("target: payment-provider", "target: zebra", "6:44", "unknown target `zebra`"),
            ("target: payment-provider", "target: breaker", "6:59", "`breaker` has no fault of kind `outage`"),
            ("kind: outage", "kind: outrage", "6:68", "no fault of kind `outrage`, did you mean `outage`?"),
            ("kind: outage", "kind: outage, rate: 1", "6:76", "`rate` is neither a key of a fault nor a parameter"),
            ("for: 3s", "for: 3s, fro: 3s", "6:36", "did you mean `for`?"),
            ("for: 3s", "fro: 3s", "6:27", "did you mean `for`?"),
            ("kind: outage", "kind: error_rate", "6:5", "`error_rate` needs `rate`: the share that fails"),
            ("kind: outage", "kind: error_rate, rate: 2", "6:86", "`rate`: `2` is not a share from 0 to 1"),
            ("kind: outage", "kind: latency, latency: 2", "6:86", "`latency`: `2` is not a duration"),
            ("kind: outage", "kind: latency, latncy: 2ms", "6:77", "did you mean `latency`?"),
            ("at: 2s", "at: [ 2s ]", "6:23", "`at` is a single value; a list stands here"),
        ] {
            let fault = OUTAGE.replace(from, to);
            check(&faults(&[&fault]), &[(place, message)]);
        }
    }

    #[test]
    fn targets_that_are_to_come_are_told_from_slips() {
        for target in ["server:redis", "server:postgres"] {
            let fault = OUTAGE.replace("payment-provider", target);
            check(&faults(&[&fault]), &[("6:44", &format!("the target `{target}` is not in this build yet"))]);
        }
    }

    #[test]
    fn the_world_can_be_broken_too() {
        let known = crate::known();
        for (fault, read) in [
            ("target: 'link:order->payment', kind: drop, rate: 0.5", "link:order->payment drop(rate=0.5)"),
            ("target: 'link:order->storage', kind: down", "link:order->storage down"),
            ("target: process:order, kind: crash", "process:order crash(restart_after=500ms)"),
            ("target: clock:payment, kind: jump, by: -3s", "clock:payment jump(by=-3s)"),
            (
                "target: point:payment_db.settle.after, kind: crash, nth: 3, restart_after: 1s",
                "point:payment_db.settle.after crash(nth=3, restart_after=1s)",
            ),
        ] {
            let text = faults(&[&format!("name: x, at: 1s, for: 1s, {fault}")]);
            let scenario = super::super::parse(&text, "x.yaml", &[], &known).unwrap();
            assert_eq!(scenario.faults[0].fault.to_string(), read);
        }
        for (fault, said) in [
            ("target: 'link:order->user', kind: down", "unknown target"),
            ("target: point:order_db.commit_order.after, kind: stall", "has no fault of kind `stall`"),
            ("target: clock:order, kind: jump, by: 0s", "is not a jump of 1us to 24h"),
            ("target: process:ordr, kind: crash", "did you mean `process:order`?"),
        ] {
            let text = faults(&[&format!("name: x, at: 1s, for: 1s, {fault}")]);
            let why = super::super::parse(&text, "x.yaml", &[], &known).unwrap_err().to_string();
            assert!(why.contains(said), "{fault}: {why}");
        }
    }

    #[test]
    fn names_are_unique_and_faults_are_counted() {
        check(&faults(&[OUTAGE, OUTAGE]), &[("7:13", "`down` is the name of two faults")]);
        let many: Vec<_> = (0..65).map(|index| OUTAGE.replace("down", &format!("down-{index}"))).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        check(&faults(&many), &[("5:1", "`faults` has 65 faults; 64 are the most")]);
    }

    #[test]
    fn faults_are_a_list_of_maps() {
        check(&format!("{HEAD}  down: {{ {OUTAGE} }}\n"), &[("5:1", "`faults` is a list")]);
        check(&format!("{HEAD}  - down\n"), &[("6:5", "an item of `faults` is a map of keys")]);
    }

    #[test]
    fn an_override_finds_a_fault_by_its_name() {
        for path in ["faults.down.for", "faults.0.for"] {
            let scenario = overridden(&faults(&[OUTAGE]), &[(path, "5s")]).unwrap();
            assert_eq!(scenario.faults[0].lasts, Duration::from_secs(5), "{path}");
        }
        let said = overridden(&faults(&[OUTAGE]), &[("faults.dwn.for", "5s")]).unwrap_err().to_string();
        assert!(said.contains("`faults` has no item `dwn`; it has `down`"), "{said}");
    }
}
