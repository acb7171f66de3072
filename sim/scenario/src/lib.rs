//! Scenario files: what is written ([`file`]) becomes what is meant ([`Scenario`]), or a list of
//! errors that each name their line.
//!
//! One event pass ([`yaml`]) reads the YAML and remembers where every node stands ([`places`]); overrides change
//! the tree ([`overrides`]); serde reads the tree strictly ([`file`]); then each section says what its
//! texts mean, and reports all that is wrong at once. No clock, no randomness, and no file but the one
//! that [`load`](fn@load) opens.

mod check;
pub mod draft;
mod during;
pub mod error;
pub mod expect;
pub mod fault;
mod file;
mod invariants;
pub mod journey;
mod keys;
pub mod load;
mod map;
mod metrics;
mod overrides;
mod places;
pub mod reference;
pub mod schedule;
pub mod shop;
pub mod template;
mod threshold;
mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde_yaml::Value;

pub use draft::Draft;
pub use error::{ScenarioError, ScenarioErrors};
pub use expect::Expect;
pub use fault::PlannedFault;
pub use load::{Executor, Group};
pub use places::Spot;
pub use shop::{Known, Shop, known};

pub use check::is_name;

use check::{Check, shown};
use error::{Problems, Source, quote};
use file::ScenarioFile;
use keys::{Key, Need, Shape};
use places::{NodePath, Places};

/// The format that this build reads.
pub const VERSION: &str = "1";
/// The largest file that is read.
const BYTES_MAX: usize = 1024 * 1024;
const ABOUT_CHARS_MAX: usize = 1000;
const SEED_DEFAULT: u64 = 1;
const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);
const QUIESCENCE_DEFAULT: Duration = Duration::from_secs(30);
const PATIENCE_MAX: Duration = Duration::from_secs(600);
const WARMUP_MAX: Duration = Duration::from_secs(24 * 3600);

const KEYS: &[Key] = &[
    Key { name: "version", shape: Shape::Version, need: Need::Required, meaning: "the version of this format" },
    Key { name: "name", shape: Shape::Name, need: Need::Required, meaning: "part of the name of the run's folder" },
    Key {
        name: "about",
        shape: Shape::Text { longest: ABOUT_CHARS_MAX, empty: true },
        need: Need::Optional,
        meaning: "one sentence for people",
    },
    Key {
        name: "seed",
        shape: Shape::Whole(0, u64::MAX),
        need: Need::Default("1"),
        meaning: "fixes data, arrivals and choices",
    },
    Key { name: "shop", shape: Shape::Map("shop"), need: Need::Required, meaning: "the shop before the first request" },
    Key {
        name: "load",
        shape: Shape::Named("group", load::GROUPS_MAX),
        need: Need::Required,
        meaning: "groups of customers, at least one, side by side",
    },
    Key {
        name: "faults",
        shape: Shape::List("fault", 0, fault::FAULTS_MAX),
        need: Need::Optional,
        meaning: "what breaks, when, and for how long",
    },
    Key { name: "expect", shape: Shape::Map("expect"), need: Need::Optional, meaning: "what is judged" },
    Key {
        name: "warmup",
        shape: Shape::Duration(Duration::ZERO, WARMUP_MAX),
        need: Need::Default("0s"),
        meaning: "the load's first part, left out of histograms and latency thresholds; shorter than the load",
    },
    Key {
        name: "graceful_stop",
        shape: Shape::Duration(Duration::ZERO, PATIENCE_MAX),
        need: Need::Default("10s"),
        meaning: "how long journeys may go on after the load's end before they are interrupted",
    },
    Key {
        name: "quiescence_timeout",
        shape: Shape::Duration(Duration::ZERO, PATIENCE_MAX),
        need: Need::Default("30s"),
        meaning: "how long the shop may then take to finish what is under way",
    },
];

/// A scenario that can be run: every value is within its bounds, every name exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// 1 to 48 of `a-z 0-9 -`; part of the run's folder.
    pub name: String,
    /// What it is for, for people; may be empty.
    pub about: String,
    /// Fixes data, arrivals and choices.
    pub seed: u64,
    pub shop: Shop,
    /// At least one group, in the file's order.
    pub load: Vec<Group>,
    /// In the order of the file; names are unique.
    pub faults: Vec<PlannedFault>,
    pub expect: Expect,
    /// The first part of the load, left out of histograms and thresholds; shorter than the load.
    pub warmup: Duration,
    /// How long journeys under way may go on after the load's end.
    pub graceful_stop: Duration,
    /// How long the shop may take to finish what is in flight before the books are read.
    pub quiescence_timeout: Duration,
    /// Where it was read from, as messages show it.
    pub origin: String,
    /// 16 hexadecimal digits over the source and the overrides: two runs with the same hash ran the
    /// same scenario.
    pub hash: String,
}

impl Scenario {
    /// How long the load lasts: as long as its longest group.
    pub fn duration(&self) -> Duration {
        self.load.iter().map(|group| group.executor.duration()).max().unwrap_or_default()
    }
}

/// Reads the scenario file at `path` and applies `overrides`, the `path=value` pairs of `--set`.
///
/// # Errors
/// When the file cannot be read as a scenario; see [`parse`].
pub fn load(path: &Path, overrides: &[(String, String)], settings: &Known) -> Result<Scenario, ScenarioErrors> {
    let origin = path.display().to_string();
    let bytes = read_bounded(path).map_err(|error| ScenarioErrors::whole(&origin, unreadable(path, &error)))?;
    match String::from_utf8(bytes) {
        Ok(source) => parse(&source, &origin, overrides, settings),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            Err(ScenarioErrors::whole(&origin, format!("not a text file: byte {valid} is not UTF-8")))
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed tells `parse` that there is too much, without reading it all.
    File::open(path)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if path.extension().is_none() => "no such file; scenario files end in .yaml".to_owned(),
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::IsADirectory => "this is a folder; name a scenario file in it".to_owned(),
        io::ErrorKind::PermissionDenied => "the file may not be read by this user".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    }
}

/// Reads `source` as a scenario. Messages call it `origin`; `overrides` are applied first.
///
/// # Errors
/// Everything that is wrong and can be found in one reading, each with its place.
pub fn parse(
    source: &str,
    origin: &str,
    overrides: &[(String, String)],
    settings: &Known,
) -> Result<Scenario, ScenarioErrors> {
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    if let Some(message) = not_a_scenario(text) {
        return Err(ScenarioErrors::whole(origin, message));
    }
    let shown = Source { text, origin, overrides };
    let mut places = Places::default();
    read(text, overrides, &mut places)
        .and_then(|file| validate(file, settings))
        .map(|scenario| Scenario { origin: origin.to_owned(), hash: hash(source, overrides), ..scenario })
        .map_err(|problems| ScenarioErrors::locate(problems.into_vec(), &shown, &places))
}

/// Why a text is not worth parsing.
fn not_a_scenario(text: &str) -> Option<String> {
    if text.len() > BYTES_MAX {
        return Some(format!("larger than {} KiB, the most a scenario may have", BYTES_MAX / 1024));
    }
    for (line, number) in text.lines().zip(1..) {
        if let Some(found) = line.chars().find(|character| character.is_control() && *character != '\t') {
            return Some(format!(
                "not a text file: line {number} holds the control character U+{:04X}",
                u32::from(found)
            ));
        }
    }
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    text.lines().all(is_blank).then(|| "the file is empty; a scenario starts with `version: 1`".to_owned())
}

/// The first stage: from text to the file's types.
fn read(text: &str, overrides: &[(String, String)], places: &mut Places) -> Result<ScenarioFile, Problems> {
    let (mut tree, found) = yaml::read(text)?;
    *places = found;
    let mut problems = Problems::default();
    let root = NodePath::default();
    if !tree.is_mapping() {
        problems.value(&root, "a scenario is a map of keys that starts with `version: 1`");
        return Err(problems);
    }
    overrides::apply(overrides, &mut tree, places, &mut problems);
    if let Some(Value::String(version)) = tree.get("version")
        && version != VERSION
    {
        // Another version may mean anything by its keys: nothing else is judged.
        let message = format!("version {} is not known; this build reads version {VERSION}", quote(version));
        problems.value(&root.key("version"), message);
    }
    if problems.is_empty() { file::read(tree) } else { Err(problems) }
}

/// The second stage: from the file's types to what they mean.
fn validate(file: ScenarioFile, settings: &Known) -> Result<Scenario, Problems> {
    let root = NodePath::default();
    let check = &mut Check::default();
    check.required(file.version, &root, "version");
    let name = check.required(file.name, &root, "name");
    let name = name.inspect(|name| check.name(name, &root.key("name"))).unwrap_or_default();
    let about = file.about.unwrap_or_default();
    if about.chars().count() > ABOUT_CHARS_MAX {
        check.value(&root.key("about"), format!("`about` is at most {ABOUT_CHARS_MAX} characters"));
    }
    let seed = file.seed.map_or(SEED_DEFAULT, |text| check.whole(&text, &root.key("seed"), 0..=u64::MAX));
    let shop = check.required(file.shop, &root, "shop").map(|shop| shop.0.validate(&root.key("shop"), settings, check));
    let load = check.required(file.load, &root, "load");
    let faults = fault::faults(file.faults.unwrap_or_default(), &root.key("faults"), settings, check);
    let expect = file.expect.unwrap_or_default().0.validate(&root.key("expect"), &faults, check);
    let graceful_stop = patience(file.graceful_stop, "graceful_stop", PATIENCE_DEFAULT, check);
    let quiescence_timeout = patience(file.quiescence_timeout, "quiescence_timeout", QUIESCENCE_DEFAULT, check);
    let warmup = file.warmup.map(|text| check.duration(&text, &root.key("warmup"), Duration::ZERO..=WARMUP_MAX));
    let warmup = warmup.unwrap_or_default();
    // Journeys name products, so without a shop they cannot be judged.
    if let (Some(shop), Some(groups)) = (shop, load) {
        let load = load::groups(groups, &root.key("load"), &shop.catalog, check);
        let (origin, hash) = (String::new(), String::new());
        let scenario = Scenario {
            name,
            about,
            seed,
            shop,
            load,
            faults: faults.planned,
            expect,
            warmup,
            graceful_stop,
            quiescence_timeout,
            origin,
            hash,
        };
        judge_times(&scenario, &root, check);
        if check.problems.is_empty() {
            return Ok(scenario);
        }
    }
    Err(std::mem::take(&mut check.problems))
}

/// Judges what has to lie within the load, once all of it is right in itself.
fn judge_times(scenario: &Scenario, root: &NodePath, check: &mut Check) {
    if !check.problems.is_empty() {
        return;
    }
    let (warmup, load) = (scenario.warmup, scenario.duration());
    if warmup >= load {
        let message = format!("`warmup` is {}, but the load is over after {}", shown(warmup), shown(load));
        check.value(&root.key("warmup"), message);
    }
    fault::judge_times(&scenario.faults, load, &root.key("faults"), check);
    during::judge_times(scenario, &root.key("expect").key("during"), check);
}

fn patience(text: Option<String>, key: &str, default: Duration, check: &mut Check) -> Duration {
    let at = NodePath::default().key(key);
    text.map_or(default, |text| check.duration(&text, &at, Duration::ZERO..=PATIENCE_MAX))
}

/// FNV-1a with 64 bits over the source and the overrides, each ended by a zero byte, which no text
/// that is read contains.
pub fn hash(source: &str, overrides: &[(String, String)]) -> String {
    let parts = overrides.iter().flat_map(|(path, value)| [path.as_str(), value.as_str()]);
    let bytes = std::iter::once(source).chain(parts).flat_map(|part| part.bytes().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
