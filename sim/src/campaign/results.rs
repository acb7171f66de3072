//! What a campaign has found so far, in a file: a later call plays only what is missing, and adds up.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::crew::Ending;
use super::history::History;
use super::play::Broken;
use super::seeds::SeedSet;
use experiment::report::exit::ExitCode;

/// The version of the format.
const VERSION: u32 = 1;
/// How many failing seeds are kept with all that is known of them.
const FAILURES_MAX: usize = 100;

/// What makes results comparable: under another one everything is played anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The commit; of code that is not committed, also which build.
    pub program: String,
    /// Of the scenario's text and its overrides.
    pub scenario: String,
    pub set: Vec<String>,
    pub scale: Option<String>,
    pub calm: bool,
    #[serde(default)]
    pub crash_points: bool,
    /// The version of what seeds draw.
    pub swarm: u32,
}

impl Fingerprint {
    /// What differs, for people.
    fn difference(&self, other: &Self) -> String {
        let differs = [
            ("the program", self.program != other.program),
            ("the scenario", self.scenario != other.scenario),
            ("--set", self.set != other.set),
            ("--scale", self.scale != other.scale),
            ("--calm", self.calm != other.calm),
            ("--crash-points", self.crash_points != other.crash_points),
            ("the swarm", self.swarm != other.swarm),
        ];
        differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect::<Vec<_>>().join(", ")
    }
}

/// A seed that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub seed: u64,
    pub exit_code: u8,
    pub because: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<Broken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    pub version: u32,
    pub scenario: String,
    pub fingerprint: Fingerprint,
    /// All that have an ending.
    pub played: SeedSet,
    /// Those that broke an invariant, whose shop failed, or whose process was lost.
    pub failed: SeedSet,
    /// Those that prove nothing, by the first reason for it.
    pub inconclusive: SeedSet,
    pub inconclusive_because: BTreeMap<String, u64>,
    /// How many seeds broke each invariant.
    pub broken: BTreeMap<String, u64>,
    pub coverage: Coverage,
    /// The failed seeds with the lowest numbers, in full.
    pub failures: BTreeMap<u64, Failed>,
    /// The most severe exit code of any seed.
    pub exit_code: u8,
}

/// How many reasons for proving nothing are told apart.
const REASONS_MAX: usize = 50;

impl Results {
    pub fn new(scenario: &str, fingerprint: Fingerprint) -> Self {
        Self {
            version: VERSION,
            scenario: scenario.to_owned(),
            fingerprint,
            played: SeedSet::default(),
            failed: SeedSet::default(),
            inconclusive: SeedSet::default(),
            inconclusive_because: BTreeMap::new(),
            broken: BTreeMap::new(),
            coverage: Coverage::default(),
            failures: BTreeMap::new(),
            exit_code: ExitCode::Kept.number(),
        }
    }

    /// Where the results of `scenario` are.
    pub fn path(out: &Path, scenario: &str) -> PathBuf {
        out.join(format!("{scenario}.json"))
    }

    /// Goes on with what is there, if that is of the same thing; says otherwise why not.
    pub fn continued(path: &Path, scenario: &str, fingerprint: Fingerprint) -> (Self, Option<String>) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Self::new(scenario, fingerprint), None),
            Err(error) => return (Self::new(scenario, fingerprint), Some(format!("{}: {error}", path.display()))),
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(before) if before.version == VERSION && before.fingerprint == fingerprint => (before, None),
            Ok(before) => {
                let what = before.fingerprint.difference(&fingerprint);
                let why = format!("{} has results of other seeds ({what} changed); it begins anew", path.display());
                (Self::new(scenario, fingerprint), Some(why))
            }
            Err(error) => {
                let why = format!("{} cannot be read ({error}); it begins anew", path.display());
                (Self::new(scenario, fingerprint), Some(why))
            }
        }
    }

    /// Takes in how a seed ended.
    pub fn take(&mut self, seed: u64, ending: Ending) {
        if self.played.contains(seed) {
            return;
        }
        self.played.insert(seed);
        let failed = match ending {
            Ending::Lost(because) => {
                self.coverage.seeds += 1;
                let exit_code = ExitCode::ShopFailed.number();
                Failed { seed, exit_code, because, broken: Vec::new(), history: None }
            }
            Ending::Played(played) => {
                self.coverage.merge(&played.coverage);
                let (exit_code, because) = (played.exit_code, played.because);
                Failed { seed, exit_code, because, broken: played.broken, history: played.history }
            }
        };
        let code = ExitCode::from_number(failed.exit_code);
        if code.severity() < ExitCode::from_number(self.exit_code).severity() && code != ExitCode::Inconclusive {
            self.exit_code = code.number();
        }
        match code {
            ExitCode::Kept | ExitCode::ThresholdMissed | ExitCode::Stopped => {}
            ExitCode::Inconclusive => {
                self.inconclusive.insert(seed);
                let known = self.inconclusive_because.len() < REASONS_MAX;
                if known || self.inconclusive_because.contains_key(&failed.because) {
                    *self.inconclusive_because.entry(failed.because).or_default() += 1;
                }
            }
            _ => self.fail(failed),
        }
    }

    fn fail(&mut self, failed: Failed) {
        for broken in &failed.broken {
            *self.broken.entry(broken.invariant.clone()).or_default() += 1;
        }
        self.failed.insert(failed.seed);
        self.failures.insert(failed.seed, failed);
        while self.failures.len() > FAILURES_MAX {
            self.failures.pop_last();
        }
    }

    /// How all of it ends. A seed may prove nothing, which is told; if all of them do, so does the campaign.
    pub fn code(&self) -> ExitCode {
        let nothing_proved = self.inconclusive.len() == self.played.len() && !self.played.is_empty();
        match ExitCode::from_number(self.exit_code) {
            ExitCode::Kept if nothing_proved => ExitCode::Inconclusive,
            code => code,
        }
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let named = |error: &dyn std::fmt::Display| format!("error: {}: {error}", path.display());
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| named(&error))?;
        let text = serde_json::to_string_pretty(self).map_err(|error| named(&error))?;
        // Beside it: a rename is whole only within one file system.
        let beside = path.with_extension(format!("json.{}", std::process::id()));
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&beside);
            named(&error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::play::Played;

    fn fingerprint(program: &str) -> Fingerprint {
        let (scenario, set) = ("0123".into(), Vec::new());
        Fingerprint { program: program.into(), scenario, set, scale: None, calm: false, crash_points: false, swarm: 1 }
    }

    fn played(code: ExitCode) -> Ending {
        Ending::Played(Box::new(Played::failed(code, format!("{code:?}"))))
    }

    fn some() -> Results {
        let mut results = Results::new("x", fingerprint("a"));
        results.take(1, played(ExitCode::Kept));
        results.take(2, played(ExitCode::Inconclusive));
        results.take(3, Ending::Lost("it ended".into()));
        results.take(3, played(ExitCode::Kept));
        results
    }

    #[test]
    fn every_seed_counts_once_by_its_first_ending() {
        let results = some();
        assert_eq!((results.played.len(), results.failed.len(), results.inconclusive.len()), (3, 1, 1));
        assert_eq!((results.coverage.seeds, results.code()), (3, ExitCode::ShopFailed));
        assert_eq!(results.failures[&3].because, "it ended");
    }

    #[test]
    fn a_campaign_of_seeds_that_prove_nothing_proves_nothing() {
        let mut results = Results::new("x", fingerprint("a"));
        results.take(1, played(ExitCode::Inconclusive));
        assert_eq!(results.code(), ExitCode::Inconclusive);
        results.take(2, played(ExitCode::Kept));
        assert_eq!(results.code(), ExitCode::Kept);
        results.take(3, played(ExitCode::InvariantViolated));
        assert_eq!(results.code(), ExitCode::InvariantViolated);
    }

    #[test]
    fn what_was_kept_is_gone_on_with_unless_it_is_of_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = Results::path(&folder.path().join("new"), "x");
        let results = some();
        results.save(&path).unwrap();
        assert_eq!(Results::continued(&path, "x", fingerprint("a")), (results, None));
        let (anew, why) = Results::continued(&path, "x", fingerprint("b"));
        assert!(anew.played.is_empty() && why.unwrap().contains("the program changed"));
        fs::write(&path, "{").unwrap();
        assert!(Results::continued(&path, "x", fingerprint("a")).1.unwrap().contains("cannot be read"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn of_many_failures_the_first_seeds_are_kept_in_full() {
        let mut results = Results::new("x", fingerprint("a"));
        (0..300).rev().for_each(|seed| results.take(seed, played(ExitCode::InvariantViolated)));
        assert_eq!((results.failed.len(), results.failures.len()), (300, FAILURES_MAX));
        assert_eq!(results.failures.first_key_value().map(|(seed, _)| *seed), Some(0));
    }
}
