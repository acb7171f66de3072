//! Everything that the screens show.

use std::collections::VecDeque;

use tokio::time::Duration;

use super::history::History;
use super::theme::Theme;
use chassis::chaos::{Kind, Parameter, Shape, Target};
use experiment::report::Summary;
use experiment::report::exit::Failure;
use experiment::run::glance::{FaultGlance, InvariantGlance, Phase, Standing, ThresholdGlance, Tick};
use scenario::{Executor, Scenario};
use shop::TARGETS;

/// How many changes of the breaker are remembered for the time axis; the oldest go first.
const BREAKER_CHANGES_MAX: usize = 500;
/// Points of the planned arrival rate.
const PLAN_POINTS: u32 = 240;

/// What is known of a run, and what the viewer chose to see of it.
#[derive(Debug, Clone)]
pub struct State {
    pub theme: Theme,
    pub facts: Facts,
    pub stage: Stage,
    /// The newest tick; before the first one what the scenario promises.
    pub tick: Tick,
    pub history: History,
    /// When the breaker went into which state, oldest first.
    pub breaker_changes: VecDeque<(Duration, String)>,
    /// Somebody stepped in: the run is not comparable with others.
    pub manual: bool,
    /// What the viewer has asked the run to do.
    pub stopping: Stopping,
    /// What a person should know, and for how many more ticks.
    pub note: Option<Note>,
    pub ended: Option<Ending>,
    pub view: View,
}

/// What is known before the load begins.
#[derive(Debug, Clone)]
pub struct Facts {
    pub name: String,
    pub about: String,
    pub seed: u64,
    pub lasts: Duration,
    pub warmup: Duration,
    /// Arrivals a second over the whole load; empty where a load is closed.
    pub plan: Vec<(Duration, f64)>,
}

/// Where the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Starting,
    Seeding,
    Load,
    Settling,
    Judging,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopping {
    No,
    Gently,
    Now,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    /// It goes after so many ticks, or with the next key.
    pub ticks_left: u32,
}

/// How it ended.
#[derive(Debug, Clone)]
pub enum Ending {
    Verdict(Box<Summary>),
    /// There is no verdict, and this is why.
    Failed(Failure),
}

/// What the viewer chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub tab: Tab,
    pub help: bool,
    /// "Stop the load?" is asked.
    pub asking: bool,
    /// The time axis shows the last minute, not the whole load.
    pub last_minute: bool,
    pub selected: Selected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    Overview,
    Saga,
    Breaker,
    /// At the end only.
    Verdict,
}

impl Tab {
    pub const ALL: [Self; 4] = [Self::Overview, Self::Saga, Self::Breaker, Self::Verdict];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Saga => "Saga",
            Self::Breaker => "Breaker & faults",
            Self::Verdict => "Verdict",
        }
    }
}

/// A line of the page of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// The fault with this name.
    Fault(String),
    /// What can be injected, by its place in [`menu`].
    Menu(usize),
}

/// A fault that can be injected by hand.
#[derive(Debug, Clone, Copy)]
pub struct MenuItem {
    pub target: &'static Target,
    pub kind: &'static Kind,
}

impl MenuItem {
    /// What a parameter is, where nobody chooses: its default, or something that can be seen.
    pub const fn usual(parameter: &Parameter) -> &'static str {
        match (parameter.default, parameter.shape) {
            (Some(default), _) => default,
            (None, Shape::Share) => "0.5",
            (None, Shape::Durations) => "400ms..800ms",
            (None, Shape::Offset) => "5s",
            (None, Shape::Count) => "1",
        }
    }

    /// `latency 400ms..800ms`
    pub fn label(self) -> String {
        let values: Vec<&str> = self.kind.parameters.iter().map(Self::usual).collect();
        [&[self.kind.name], values.as_slice()].concat().join(" ")
    }

    /// Whether `fault` is of this kind, whatever its parameters.
    pub fn is_kind_of(self, fault: &FaultGlance) -> bool {
        is_of(fault, self.target.name, self.kind.name)
    }
}

/// Everything that can be injected, in the order of the targets.
pub fn menu() -> Vec<MenuItem> {
    let kinds = TARGETS.into_iter().flat_map(|target| target.kinds.iter().map(move |kind| MenuItem { target, kind }));
    kinds.collect()
}

/// Whether the fault's text, `target kind(parameters)`, names this target and kind.
pub fn is_of(fault: &FaultGlance, target: &str, kind: &str) -> bool {
    let mut words = fault.what.split([' ', '(']);
    words.next() == Some(target) && words.next() == Some(kind)
}

impl State {
    pub fn new(scenario: &Scenario, theme: Theme) -> Self {
        Self {
            theme,
            facts: Facts {
                name: scenario.name.clone(),
                about: scenario.about.clone(),
                seed: scenario.seed,
                lasts: scenario.duration(),
                warmup: scenario.warmup,
                plan: plan(scenario),
            },
            stage: Stage::Starting,
            tick: promised(scenario),
            history: History::default(),
            breaker_changes: VecDeque::new(),
            manual: false,
            stopping: Stopping::No,
            note: None,
            ended: None,
            view: View {
                tab: Tab::Overview,
                help: false,
                asking: false,
                last_minute: false,
                selected: Selected::Menu(0),
            },
        }
    }

    /// The pages there are now.
    pub fn tabs(&self) -> &'static [Tab] {
        if self.ended.is_some() { &Tab::ALL } else { &Tab::ALL[..3] }
    }

    /// The lines that can be selected: the faults, then the menu.
    pub fn selectable(&self) -> Vec<Selected> {
        let faults = self.tick.faults.iter().map(|fault| Selected::Fault(fault.name.clone()));
        faults.chain((0..menu().len()).map(Selected::Menu)).collect()
    }

    /// Whether faults and pauses make sense: the load runs, and nobody has asked it to end.
    pub fn can_be_disturbed(&self) -> bool {
        self.stage == Stage::Load && self.tick.phase != Phase::GracefulStop && self.stopping == Stopping::No
    }

    /// The stretch of time that the curves show, in seconds since the load's start.
    pub fn axis(&self) -> (f64, f64) {
        let end = self.facts.lasts.max(self.tick.elapsed).as_secs_f64().max(1.0);
        if self.view.last_minute && end > 60.0 {
            let to = self.tick.elapsed.as_secs_f64().max(60.0);
            return (to - 60.0, to);
        }
        (0.0, end)
    }

    pub(super) fn breaker_changed(&mut self, at: Duration, to: &str) {
        if self.breaker_changes.len() == BREAKER_CHANGES_MAX {
            self.breaker_changes.pop_front();
        }
        self.breaker_changes.push_back((at, to.to_owned()));
    }
}

/// The planned rate of all groups together; nothing where one of them is closed.
fn plan(scenario: &Scenario) -> Vec<(Duration, f64)> {
    let mut plans = Vec::new();
    for group in &scenario.load {
        let Executor::Arrivals(plan) = &group.executor else { return Vec::new() };
        plans.push(plan);
    }
    let step = scenario.duration() / PLAN_POINTS;
    let points = (0..PLAN_POINTS).map(|number| {
        let at = step * number;
        (at, plans.iter().map(|plan| plan.rate_at(at)).sum())
    });
    points.collect()
}

/// What there will be to see.
fn promised(scenario: &Scenario) -> Tick {
    let threshold = |metric: &str, expression: &str, during: Option<&str>| ThresholdGlance {
        metric: metric.to_owned(),
        expression: expression.to_owned(),
        during: during.map(str::to_owned),
        observed: None,
        margin: None,
        standing: Standing::Waiting,
    };
    let whole = scenario.expect.thresholds.iter().map(|one| threshold(&one.selector_text, &one.text, None));
    let during = scenario.expect.during.iter().flat_map(|during| {
        during.thresholds.iter().map(|one| threshold(&one.selector_text, &one.text, Some(&during.fault)))
    });
    let invariants = scenario.expect.invariants.iter();
    let faults = scenario.faults.iter().map(|planned| FaultGlance {
        name: planned.fault.name.clone(),
        what: planned.fault.to_string(),
        planned: Some((planned.at, planned.lasts)),
        injected: None,
        lifted: None,
        hits: 0,
        failure: None,
    });
    Tick {
        lasts: scenario.duration(),
        thresholds: whole.chain(during).collect(),
        invariants: invariants
            .map(|name| InvariantGlance { name, checked: 0, violations: 0, applicable: true })
            .collect(),
        faults: faults.collect(),
        ..Tick::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn everything_in_the_menu_can_be_injected_as_it_stands() {
        assert!(menu().len() >= 7);
        for item in menu() {
            let usual = |parameter: &Parameter| (parameter.name.to_owned(), MenuItem::usual(parameter).to_owned());
            let parameters: BTreeMap<String, String> = item.kind.parameters.iter().map(usual).collect();
            let fault = item.target.fault("by-hand-1", item.kind.name, &parameters).unwrap();
            let glance = FaultGlance { what: fault.to_string(), ..some_fault() };
            assert!(item.is_kind_of(&glance), "{} is not seen in `{}`", item.label(), glance.what);
            let others = menu().into_iter().filter(|other| other.is_kind_of(&glance)).count();
            assert_eq!(others, 1);
        }
    }

    fn some_fault() -> FaultGlance {
        let (name, what) = ("by-hand-1".into(), String::new());
        FaultGlance { name, what, planned: None, injected: None, lifted: None, hits: 0, failure: None }
    }
}
