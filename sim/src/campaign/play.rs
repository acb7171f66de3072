//! What a seed is, and what came of playing it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::history::History;
use crate::campaign::engine::{Simulated, play_untraced};
use crate::campaign::swarm;
use experiment::report::exit::{ExitCode, Failure};
use scenario::{Draft, Known, Scenario, ScenarioErrors};

/// How seeds differ from the scenario in its file.
#[derive(Debug, Clone)]
pub struct Changes {
    /// `path=value`, as `--set` takes them.
    pub overrides: Vec<(String, String)>,
    /// Shrinks users, stock and load together.
    pub scale: Option<f64>,
    /// Leaves out the faults that a seed draws.
    pub calm: bool,
    /// Adds a crash at one crash point, the next one for the next seed.
    pub crash_points: bool,
}

/// A scenario whose seeds can be played.
pub struct Source {
    pub path: PathBuf,
    /// What it means, scaled, under its own seed. Thresholds are left out: under faults that nobody
    /// planned, latencies and counts mean nothing.
    pub scenario: Scenario,
    draft: Draft,
    calm: bool,
    crash_points: bool,
}

impl Source {
    /// # Errors
    /// When the file cannot be read as a scenario, or the changes do not fit it.
    pub fn read(path: &Path, changes: &Changes, known: &Known) -> Result<Self, ScenarioErrors> {
        let whole = scenario::load(path, &changes.overrides, known)?;
        // It has just been read: what is missing now is told as an empty scenario.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut draft = Draft::read(&text, &whole.origin, &changes.overrides)?;
        draft.judge_invariants_alone();
        if let Some(factor) = changes.scale {
            draft.scale(factor, &whole);
        }
        let scenario = draft.parse(&whole.origin, known)?;
        Ok(Self { path: path.to_owned(), scenario, draft, calm: changes.calm, crash_points: changes.crash_points })
    }

    /// The scenario under this seed: its own faults, and those that the seed draws.
    ///
    /// # Errors
    /// When it is impossible, which the file itself was not.
    pub fn seeded(&self, seed: u64, known: &Known) -> Result<Scenario, ScenarioErrors> {
        let mut draft = self.draft.clone();
        draft.set("seed", seed);
        let mut scenario = draft.parse(&self.scenario.origin, known)?;
        let mut drawn = if self.calm { Vec::new() } else { swarm::draw(&scenario, seed) };
        drawn.extend(self.crash_points.then(|| swarm::crash_in_turn(&scenario, seed)).flatten());
        // A scenario that was shrunk has drawn faults among its own.
        let own: BTreeSet<String> = scenario.faults.iter().map(|fault| fault.fault.name.clone()).collect();
        scenario.faults.extend(drawn.into_iter().filter(|fault| !own.contains(&fault.fault.name)));
        Ok(scenario)
    }

    /// The same as a text that needs no seed and draws nothing.
    ///
    /// # Errors
    /// As [`Source::seeded`].
    pub fn draft(&self, seed: u64, known: &Known) -> Result<Draft, ScenarioErrors> {
        let scenario = self.seeded(seed, known)?;
        let mut draft = self.draft.clone();
        draft.set("seed", seed);
        draft.set_faults(&scenario.faults);
        Ok(draft)
    }
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    pub invariant: String,
    pub violations: u64,
    pub example: String,
}

/// What came of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// As `shopctl simulate` would exit.
    pub exit_code: u8,
    /// What decided, in a line.
    pub because: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<Broken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    pub coverage: Coverage,
    /// The journeys that placed orders, by group.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub journeys: std::collections::BTreeMap<String, BTreeSet<u64>>,
}

impl Played {
    pub fn code(&self) -> ExitCode {
        ExitCode::from_number(self.exit_code)
    }

    /// What is told of a play that has.
    pub fn of(simulated: &Simulated) -> Self {
        let summary = &simulated.summary;
        let broken = summary.invariants.iter().filter(|finding| finding.violations > 0).map(|finding| Broken {
            invariant: finding.name.clone(),
            violations: finding.violations,
            example: finding.examples.first().cloned().unwrap_or_default(),
        });
        Self {
            exit_code: summary.exit_code,
            because: summary.verdict.because.clone(),
            broken: broken.collect(),
            history: simulated.history.clone(),
            coverage: Coverage::of(summary, &simulated.paths, &simulated.points),
            journeys: simulated.journeys.clone(),
        }
    }

    /// What is told of a play that did not come to its end.
    pub fn failed(code: ExitCode, because: String) -> Self {
        let (broken, history, journeys) = (Vec::new(), None, Default::default());
        let coverage = Coverage { seeds: 1, ..Coverage::default() };
        Self { exit_code: code.number(), because, broken, history, coverage, journeys }
    }

    /// Whether this invariant is broken.
    pub fn breaks(&self, invariant: &str) -> bool {
        self.broken.iter().any(|broken| broken.invariant == invariant)
    }
}

/// Plays a scenario; what keeps it from its end is told as well.
pub fn play(scenario: Result<Scenario, ScenarioErrors>) -> Played {
    let played = scenario.map_err(Failure::invalid).and_then(|scenario| play_untraced(&scenario));
    match played {
        Ok(simulated) => Played::of(&simulated),
        Err(failure) => {
            let said = failure.message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Played::failed(failure.code, said)
        }
    }
}
