//! Everything that can be broken, in one vocabulary: what roles declare of themselves, and the world that
//! they live in. And the matrix: what a fault is in which world.

use std::sync::LazyLock;

use chassis::chaos::{Fault, Kind, Parameter, Shape, Target, WORLD};

use super::points::points;
use crate::{REGISTRY, ROLES, TARGETS, World};

/// The load generator, as the beginning of its link to the gateway.
pub const GENERATOR: &str = "generator";

const fn latency(meaning: &'static str) -> Kind {
    const LATENCY: &[Parameter] = &[Parameter {
        name: "latency",
        shape: Shape::Durations,
        default: None,
        meaning: "how long, or a range to draw from",
    }];
    Kind { name: "latency", meaning, parameters: LATENCY }
}

const fn share(name: &'static str, meaning: &'static str) -> Kind {
    const RATE: &[Parameter] =
        &[Parameter { name: "rate", shape: Shape::Share, default: None, meaning: "the share that it happens to" }];
    Kind { name, meaning, parameters: RATE }
}

const fn plain(name: &'static str, meaning: &'static str) -> Kind {
    Kind { name, meaning, parameters: &[] }
}

const RESTART_AFTER: Parameter = Parameter {
    name: "restart_after",
    shape: Shape::Durations,
    default: Some("500ms"),
    meaning: "how long it stays down; the fault's end restarts it as well",
};

static CALL: [Kind; 6] = [
    latency("every call takes longer to arrive; it arrives although its caller may have given up"),
    share("drop", "a call is never answered: half of them never arrive, half are served and the answer is lost"),
    Kind {
        name: "duplicate",
        meaning: "a call is made twice; the second answer is heard by nobody",
        parameters: &[
            Parameter { name: "rate", shape: Shape::Share, default: None, meaning: "the share that it happens to" },
            Parameter {
                name: "after",
                shape: Shape::Durations,
                default: Some("0ms..500ms"),
                meaning: "how much later the second one comes",
            },
        ],
    },
    plain("down", "connections break, and none can be made"),
    plain("timeout", "connections are accepted, and nothing comes through; they break at the fault's end"),
    Kind {
        name: "reset_peer",
        meaning: "connections break, and each new one breaks soon",
        parameters: &[Parameter {
            name: "after",
            shape: Shape::Durations,
            default: Some("0ms..50ms"),
            meaning: "how long each new one holds",
        }],
    },
];

static STORAGE: [Kind; 3] = [
    share("error_rate", "a write is refused, and nothing is written"),
    share("lost_answer", "a commit happens, and whoever asked for it is told that storage is unavailable"),
    plain("down", "nothing is read or written"),
];

static LOG: [Kind; 5] = [
    latency("publishing and acknowledging take longer"),
    share("error_rate", "a publication or an acknowledgement is refused, and nothing is written"),
    share("lost_answer", "a publication or an acknowledgement happens, and is told to have failed"),
    share("duplicate", "a delivery comes a second time"),
    plain("down", "nothing is published, delivered or read"),
];

static PROCESS: [Kind; 3] = [
    Kind {
        name: "crash",
        meaning: "it dies in the middle of everything; what it held in memory is gone",
        parameters: &[RESTART_AFTER],
    },
    plain("pause", "it stands still until the fault's end"),
    plain("restart", "it is told to stop, drains, and starts again"),
];

static POINT: [Kind; 2] = [
    Kind {
        name: "crash",
        meaning: "the role dies exactly there",
        parameters: &[
            Parameter {
                name: "nth",
                shape: Shape::Count,
                default: Some("1"),
                meaning: "at which passage since the injection",
            },
            RESTART_AFTER,
        ],
    },
    plain("stall", "whoever comes there waits until the fault's end"),
];

static CLOCK: [Kind; 1] = [Kind {
    name: "jump",
    meaning: "the wall clock is wrong by that much until the fault's end",
    parameters: &[Parameter { name: "by", shape: Shape::Offset, default: None, meaning: "how far, such as 5s or -5s" }],
}];

/// Where in the world a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Link { from: &'static str, to: &'static str },
    Storage(&'static str),
    Log(&'static str),
    Process(&'static str),
    Point { role: &'static str, name: &'static str },
    Clock(&'static str),
}

struct Named {
    target: Target,
    place: Place,
}

/// Made once: its names live as long as the program.
static NAMED: LazyLock<Vec<Named>> = LazyLock::new(named);

fn named() -> Vec<Named> {
    let mut all = Vec::new();
    let mut add = |name: String, kinds: &'static [Kind], place: Place| {
        all.push(Named { target: Target { name: String::leak(name), role: WORLD, kinds }, place });
    };
    let peers = REGISTRY.into_iter().flat_map(|role| role.needs.peers.iter().map(move |peer| (role.name, *peer)));
    for (from, to) in peers.chain([(GENERATOR, gateway::ROLE)]) {
        add(format!("link:{from}->{to}"), &CALL, Place::Link { from, to });
    }
    for role in REGISTRY.into_iter().filter(|role| role.needs.postgres).map(|role| role.name) {
        add(format!("link:{role}->storage"), &STORAGE, Place::Storage(role));
    }
    for role in REGISTRY.into_iter().filter(|role| role.needs.nats).map(|role| role.name) {
        add(format!("link:{role}->log"), &LOG, Place::Log(role));
    }
    for role in ROLES {
        add(format!("process:{role}"), &PROCESS, Place::Process(role));
    }
    for role in ROLES {
        add(format!("clock:{role}"), &CLOCK, Place::Clock(role));
    }
    for point in points() {
        let kinds: &'static [Kind] = if point.stalls { &POINT } else { &POINT[..1] };
        add(format!("point:{}", point.name), kinds, Place::Point { role: point.role, name: &point.name });
    }
    all
}

/// Everything that a scenario can break: what roles declare first.
pub fn targets() -> Vec<&'static Target> {
    TARGETS.into_iter().chain(NAMED.iter().map(|named| &named.target)).collect()
}

/// What no role is told of, with its place.
pub fn places() -> impl Iterator<Item = (&'static Target, Place)> {
    NAMED.iter().map(|named| (&named.target, named.place))
}

/// Where in the world this is; `None` for what a role is told of.
pub fn place_of(target: &Target) -> Option<Place> {
    NAMED.iter().find(|named| named.target.name == target.name).map(|named| named.place)
}

/// What a fault is in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It happens.
    Real,
    /// Something happens that looks the same to the roles; what differs.
    Emulated(&'static str),
    /// It cannot be injected there; why.
    NotApplicable(&'static str),
}

impl How {
    pub fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Emulated(_) => "emulated",
            Self::NotApplicable(_) => "not applicable",
        }
    }
}

/// A line of the matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// A target, or the pattern of several.
    pub target: &'static str,
    pub kind: &'static str,
    /// Its parameters, as they are written.
    pub parameters: String,
    pub meaning: &'static str,
    pub simulate: How,
    /// `run`, with everything embedded.
    pub embedded: How,
    /// `run` on PostgreSQL, NATS and Redis.
    pub servers: How,
}

const NO_HAND: How = How::NotApplicable("nothing breaks it from outside yet");
const IN_THE_SHOP: &str = "in the shop's own code, since there is no real one";
const NOT_YET: How = How::NotApplicable("not built");

struct Family {
    pattern: &'static str,
    kinds: &'static [Kind],
    simulate: fn(&str) -> How,
}

/// The world's targets by pattern.
const FAMILIES: [Family; 6] = [
    Family {
        pattern: "link:A->B",
        kinds: &CALL,
        simulate: |kind| match kind {
            "down" | "timeout" | "reset_peer" => How::Emulated("at the caller's end of the connection"),
            _ => How::Emulated("whole calls, at their caller"),
        },
    },
    Family { pattern: "link:ROLE->storage", kinds: &STORAGE, simulate: |_| How::Emulated(IN_THE_SHOP) },
    Family { pattern: "link:ROLE->log", kinds: &LOG, simulate: |_| How::Emulated(IN_THE_SHOP) },
    Family {
        pattern: "process:ROLE",
        kinds: &PROCESS,
        simulate: |kind| match kind {
            "pause" => {
                How::Emulated("its sockets, events and crash points stand still; its timers and its database do not")
            }
            _ => How::Real,
        },
    },
    Family { pattern: "clock:ROLE", kinds: &CLOCK, simulate: |_| How::Real },
    Family { pattern: "point:NAME", kinds: &POINT, simulate: |_| How::Real },
];

/// Words that are kept for what cannot be injected anywhere yet.
const KEPT: [(&str, &str, &str, How); 6] = [
    ("link:A->B", "bandwidth", "a connection carries less", NOT_YET),
    (
        "link:ROLE->storage",
        "latency",
        "reads and writes take longer",
        How::NotApplicable("SQLite is called inline: virtual time cannot pass in it"),
    ),
    ("server:postgres|nats|redis", "crash", "a server dies", NOT_YET),
    ("server:postgres|nats|redis", "pause", "a server stands still", NOT_YET),
    ("server:postgres|nats|redis", "restart", "a server is restarted", NOT_YET),
    ("server:redis", "flush", "the cache is emptied", NOT_YET),
];

fn parameters(kind: &Kind) -> String {
    let parameter = |one: &Parameter| match one.default {
        Some(default) => format!("[{}={default}]", one.name),
        None => format!("{}=…", one.name),
    };
    kind.parameters.iter().map(parameter).collect::<Vec<_>>().join(" ")
}

/// The matrix: every fault, and what it is in which world.
pub fn matrix() -> Vec<Row> {
    let mut rows = Vec::new();
    for (target, kind) in TARGETS.into_iter().flat_map(|target| target.kinds.iter().map(move |kind| (target, kind))) {
        let (simulate, embedded, servers) = (How::Real, How::Real, How::Real);
        rows.push(Row {
            target: target.name,
            kind: kind.name,
            parameters: parameters(kind),
            meaning: kind.meaning,
            simulate,
            embedded,
            servers,
        });
    }
    for family in &FAMILIES {
        rows.extend(family.kinds.iter().map(|kind| Row {
            target: family.pattern,
            kind: kind.name,
            parameters: parameters(kind),
            meaning: kind.meaning,
            simulate: (family.simulate)(kind.name),
            embedded: NO_HAND,
            servers: NO_HAND,
        }));
    }
    rows.extend(KEPT.map(|(target, kind, meaning, simulate)| Row {
        target,
        kind,
        parameters: String::new(),
        meaning,
        simulate,
        embedded: NOT_YET,
        servers: NOT_YET,
    }));
    rows
}

/// The pattern that a target belongs to in the [`matrix`].
pub fn pattern(target: &Target) -> &'static str {
    match place_of(target) {
        None => target.name,
        Some(Place::Link { .. }) => "link:A->B",
        Some(Place::Storage(_)) => "link:ROLE->storage",
        Some(Place::Log(_)) => "link:ROLE->log",
        Some(Place::Process(_)) => "process:ROLE",
        Some(Place::Clock(_)) => "clock:ROLE",
        Some(Place::Point { .. }) => "point:NAME",
    }
}

/// What this fault is in `world`.
pub fn how(fault: &Fault, world: World) -> How {
    let pattern = pattern(fault.target);
    let row = matrix().into_iter().find(|row| row.target == pattern && row.kind == fault.kind.name);
    row.map_or(NOT_YET, |row| match world {
        World::Simulated => row.simulate,
        World::Embedded => row.embedded,
        World::Local | World::External => row.servers,
    })
}

/// What stands for a name in each pattern.
pub const PATTERNS: [(&str, &str); 6] = [
    ("link:A->B", "calls of one role to another, by whole requests or by connections"),
    ("link:ROLE->storage", "a role's own database"),
    ("link:ROLE->log", "a role's way to the event log"),
    ("process:ROLE", "a role's process"),
    ("clock:ROLE", "a role's wall clock"),
    ("point:NAME", "a crash point, just before or after a commit, a call, an answer or an event"),
];

/// The targets that a pattern stands for.
pub fn named_by(pattern: &str) -> impl Iterator<Item = &'static str> {
    NAMED
        .iter()
        .map(|named| &named.target)
        .filter(move |target| self::pattern(target) == pattern)
        .map(|target| target.name)
}

/// The first of these that cannot be injected in `world`, in a line: which, and where it could be.
///
/// # Errors
/// That line.
pub fn applicable<'a>(faults: impl IntoIterator<Item = &'a Fault>, world: World) -> Result<(), String> {
    for fault in faults {
        if let How::NotApplicable(why) = how(fault, world) {
            let elsewhere = match how(fault, World::Simulated) {
                How::NotApplicable(_) => "it is nowhere else either",
                How::Real | How::Emulated(_) => "shopctl simulate can",
            };
            return Err(format!(
                "fault `{}`: {} {} cannot be injected in this run ({why}); {elsewhere} (see shopctl fault kinds)",
                fault.name, fault.target.name, fault.kind.name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_kind_of_every_target_is_in_the_matrix_once() {
        let rows = matrix();
        let keys: BTreeSet<_> = rows.iter().map(|row| (row.target, row.kind)).collect();
        assert_eq!(keys.len(), rows.len());
        for target in targets() {
            for kind in target.kinds {
                assert!(keys.contains(&(pattern(target), kind.name)), "{} {}", target.name, kind.name);
            }
        }
    }

    #[test]
    fn a_name_is_of_one_target() {
        let names: BTreeSet<_> = targets().into_iter().map(|target| target.name).collect();
        assert_eq!(names.len(), targets().len());
        for name in ["link:order->payment", "link:generator->gateway", "process:order", "clock:payment"] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn what_a_run_cannot_break_is_refused_and_told_where_it_can_be() {
        let target = targets().into_iter().find(|target| target.name == "process:order").unwrap();
        let crash = target.fault("gone", "crash", &BTreeMap::new()).unwrap();
        assert_eq!(applicable([&crash], World::Simulated), Ok(()));
        let why = applicable([&crash], World::Embedded).unwrap_err();
        assert!(why.contains("gone") && why.contains("shopctl simulate") && why.lines().count() == 1, "{why}");
    }
}
