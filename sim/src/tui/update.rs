//! What happens changes the state, and may ask something of the run. No IO here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::history::Sample;
use super::state::{Ending, MenuItem, Note, Selected, Stage, State, Stopping, Tab, is_of, menu};
use experiment::report::Summary;
use experiment::report::threshold::{Outcome, ThresholdResult};
use experiment::run::glance::{Control, FaultGlance, Standing, Tick};
use experiment::run::progress::Event;

/// How many ticks a note is shown.
const NOTE_TICKS: u32 = 16;
/// A longer text is cut.
const NOTE_CHARS_MAX: usize = 400;

/// What happens.
#[derive(Debug, Clone)]
pub enum Input {
    Run(Event),
    Key(KeyEvent),
    Ended(Ending),
}

/// What is asked of the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Tell(Control),
    /// The screen is no longer wanted.
    Leave,
    /// Nor is what would come after it.
    Quit,
}

/// Takes in what happened.
pub fn update(state: &mut State, input: Input) -> Vec<Action> {
    match input {
        Input::Run(event) => {
            run(state, event);
            Vec::new()
        }
        Input::Key(key) => self::key(state, key),
        Input::Ended(ending) => ended(state, ending),
    }
}

fn ended(state: &mut State, ending: Ending) -> Vec<Action> {
    state.stage = Stage::Ended;
    state.view.asking = false;
    state.view.help = false;
    state.view.tab = Tab::Verdict;
    state.note = None;
    let actions = match &ending {
        // Whoever asked for an end at once need not be told that it came.
        Ending::Failed(_) if state.stopping == Stopping::Now => vec![Action::Leave],
        Ending::Failed(_) => Vec::new(),
        Ending::Verdict(summary) => {
            state.manual |= summary.manual;
            settle(&mut state.tick, summary);
            Vec::new()
        }
    };
    state.ended = Some(ending);
    actions
}

/// What was "so far" is replaced by what it came to.
fn settle(tick: &mut Tick, summary: &Summary) {
    for one in &mut tick.invariants {
        if let Some(finding) = summary.invariants.iter().find(|finding| finding.name == one.name) {
            (one.checked, one.violations) = (finding.checked, finding.violations);
            one.applicable = finding.not_applicable.is_none();
        }
    }
    for one in &mut tick.thresholds {
        let same = |result: &&ThresholdResult| {
            (&result.metric, &result.expression, &result.during) == (&one.metric, &one.expression, &one.during)
        };
        let Some(result) = summary.thresholds.iter().find(same) else { continue };
        one.standing = match result.outcome {
            Outcome::Kept => Standing::Kept,
            Outcome::Missed => Standing::Missed,
            Outcome::TooFewSamples | Outcome::NotJudged => Standing::Waiting,
        };
        if one.observed != result.observed {
            // It was of what had been observed until then.
            one.margin = None;
            one.observed = result.observed;
        }
    }
}

fn run(state: &mut State, event: Event) {
    match event {
        Event::ShopUp { .. } => state.stage = Stage::Seeding,
        Event::Seeded { .. } => {}
        Event::LoadStarts { .. } => state.stage = Stage::Load,
        Event::Tick(tick) => self::tick(state, *tick),
        Event::Fault(fault) => self::fault(state, fault),
        Event::Settling => {
            state.stage = Stage::Settling;
            state.view.asking = false;
        }
        Event::Judging => state.stage = Stage::Judging,
        Event::Note(text) => note(state, text),
    }
}

fn note(state: &mut State, text: impl Into<String>) {
    let text: String = text.into();
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NOTE_CHARS_MAX).collect();
    state.note = Some(Note { text, ticks_left: NOTE_TICKS });
}

fn tick(state: &mut State, tick: Tick) {
    if let Some(left) = &mut state.note {
        left.ticks_left = left.ticks_left.saturating_sub(1);
    }
    state.note.take_if(|note| note.ticks_left == 0);
    state.history.push(Sample::of(&tick));
    for transition in tick.breaker.iter().flat_map(|breaker| &breaker.transitions) {
        if state.breaker_changes.back().is_none_or(|(at, _)| *at < transition.at) {
            state.breaker_changed(transition.at, &transition.to);
        }
    }
    state.manual |= tick.paused || tick.faults.iter().any(by_hand);
    state.tick = tick;
    keep_selection(state);
}

fn by_hand(fault: &FaultGlance) -> bool {
    fault.planned.is_none() && fault.injected.is_some()
}

fn fault(state: &mut State, fault: FaultGlance) {
    if let Some(why) = &fault.failure {
        note(state, format!("fault {}: {why}", fault.name));
    }
    state.manual |= by_hand(&fault);
    match state.tick.faults.iter_mut().find(|known| known.name == fault.name) {
        Some(known) => *known = fault,
        None => state.tick.faults.push(fault),
    }
}

/// A selected fault that is no longer listed is not selected either.
fn keep_selection(state: &mut State) {
    if !state.selectable().contains(&state.view.selected) {
        state.view.selected = Selected::Menu(0);
    }
}

fn key(state: &mut State, key: KeyEvent) -> Vec<Action> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && matches!(key.code, KeyCode::Char('c' | 'C')) {
        return interrupt(state);
    }
    state.note = None;
    if state.view.help {
        state.view.help = false;
        return Vec::new();
    }
    if state.view.asking {
        state.view.asking = false;
        return match key.code {
            KeyCode::Char('y' | 'Y') | KeyCode::Enter => stop(state, Stopping::Gently),
            _ => Vec::new(),
        };
    }
    if navigate(state, key.code) {
        return Vec::new();
    }
    if state.ended.is_some() {
        return vec![Action::Leave];
    }
    match key.code {
        KeyCode::Char('q') => quit(state),
        KeyCode::Char('Q') => stop(state, Stopping::Now),
        KeyCode::Char('p' | ' ') => pause(state),
        code if state.view.tab == Tab::Breaker => on_faults(state, code),
        _ => Vec::new(),
    }
}

/// Whether the key only changed what is shown.
fn navigate(state: &mut State, code: KeyCode) -> bool {
    let tabs = state.tabs();
    let here = tabs.iter().position(|tab| *tab == state.view.tab).unwrap_or_default();
    let goes_to = match code {
        KeyCode::Tab | KeyCode::Right => (here + 1) % tabs.len(),
        KeyCode::BackTab | KeyCode::Left => (here + tabs.len() - 1) % tabs.len(),
        KeyCode::Char(digit @ '1'..='4') => usize::from(digit as u8 - b'1'),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
            state.view.help = true;
            return true;
        }
        KeyCode::Char('z') => {
            state.view.last_minute = !state.view.last_minute;
            return true;
        }
        _ => return false,
    };
    if let Some(tab) = tabs.get(goes_to) {
        state.view.tab = *tab;
    }
    true
}

/// In raw mode Ctrl-C is a key: the first stops gently, the second at once, and one more gives up
/// waiting for that.
fn interrupt(state: &mut State) -> Vec<Action> {
    state.view.asking = false;
    match (&state.ended, state.stopping) {
        (Some(_), _) | (None, Stopping::Now) => vec![Action::Quit],
        (None, Stopping::No) => stop(state, Stopping::Gently),
        (None, Stopping::Gently) => stop(state, Stopping::Now),
    }
}

fn stop(state: &mut State, how: Stopping) -> Vec<Action> {
    if state.stopping >= how {
        return Vec::new();
    }
    state.stopping = how;
    let (control, text) = match how {
        Stopping::Now => (Control::StopNow, "stopping at once; there will be no verdict"),
        _ => (Control::StopGently, "stopping: journeys under way end, then the verdict follows; Q stops at once"),
    };
    note(state, text);
    vec![Action::Tell(control)]
}

fn quit(state: &mut State) -> Vec<Action> {
    if state.stopping != Stopping::No {
        note(state, "stopping already; Q stops at once, without a verdict");
        return Vec::new();
    }
    match state.stage {
        Stage::Starting | Stage::Seeding => return stop(state, Stopping::Gently),
        Stage::Load => state.view.asking = true,
        Stage::Settling | Stage::Judging | Stage::Ended => {
            note(state, "the load is over and the verdict follows; Q stops at once, without one");
        }
    }
    Vec::new()
}

fn pause(state: &mut State) -> Vec<Action> {
    if !state.can_be_disturbed() {
        note(state, "only a running load can be paused");
        return Vec::new();
    }
    state.manual = true;
    // Until the next tick says so itself.
    state.tick.paused = !state.tick.paused;
    vec![Action::Tell(if state.tick.paused { Control::Pause } else { Control::Resume })]
}

fn on_faults(state: &mut State, code: KeyCode) -> Vec<Action> {
    let step: isize = match code {
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::Enter | KeyCode::Char('l' | 'o' | 'c' | 'a') => return step_in(state, code),
        _ => return Vec::new(),
    };
    let all = state.selectable();
    let here = all.iter().position(|one| *one == state.view.selected).unwrap_or_default();
    let next = here.saturating_add_signed(step).min(all.len().saturating_sub(1));
    if let Some(selected) = all.into_iter().nth(next) {
        state.view.selected = selected;
    }
    Vec::new()
}

/// Faults by hand.
fn step_in(state: &mut State, code: KeyCode) -> Vec<Action> {
    if !state.can_be_disturbed() {
        note(state, "faults are injected and lifted by hand only while the load runs");
        return Vec::new();
    }
    let actions = match code {
        KeyCode::Char('o') => force(state, Some("force_open")),
        KeyCode::Char('c') => force(state, Some("force_closed")),
        KeyCode::Char('a') => force(state, None),
        KeyCode::Enter => inject_or_lift(state),
        _ => lift(state),
    };
    state.manual |= !actions.is_empty();
    actions
}

fn active(state: &State, wanted: impl Fn(&FaultGlance) -> bool) -> Vec<Action> {
    let faults = state.tick.faults.iter().filter(|fault| fault.is_active() && wanted(fault));
    faults.map(|fault| Action::Tell(Control::Lift(fault.name.clone()))).collect()
}

/// Lifts what the selected line is about.
fn lift(state: &mut State) -> Vec<Action> {
    let actions = match &state.view.selected {
        Selected::Fault(name) => active(state, |fault| fault.name == *name),
        Selected::Menu(place) => match menu().get(*place) {
            Some(item) => active(state, |fault| item.is_kind_of(fault)),
            None => Vec::new(),
        },
    };
    if actions.is_empty() {
        note(state, "this is not active: there is nothing to lift");
    }
    actions
}

fn inject_or_lift(state: &mut State) -> Vec<Action> {
    let Selected::Menu(place) = state.view.selected else { return lift(state) };
    let Some(item) = menu().into_iter().nth(place) else { return Vec::new() };
    let lifts = active(state, |fault| item.is_kind_of(fault));
    if lifts.is_empty() { vec![inject(item)] } else { lifts }
}

fn inject(item: MenuItem) -> Action {
    let usual = item.kind.parameters.iter();
    let parameters = usual.map(|parameter| (parameter.name.to_owned(), MenuItem::usual(parameter).to_owned()));
    Action::Tell(Control::Inject { target: item.target.name, kind: item.kind.name, parameters: parameters.collect() })
}

/// Forces the breaker, and ends whatever else it is forced to; `None` leaves it to itself.
fn force(state: &mut State, kind: Option<&'static str>) -> Vec<Action> {
    let of_breaker = |fault: &FaultGlance, kind: &str| is_of(fault, payment::FAULTS.name, kind);
    let forced: Vec<&str> = payment::FAULTS.kinds.iter().map(|kind| kind.name).collect();
    let others = forced.iter().filter(|other| Some(**other) != kind);
    let mut actions: Vec<Action> = others.flat_map(|other| active(state, |fault| of_breaker(fault, other))).collect();
    match kind.and_then(|kind| menu().into_iter().find(|item| item.kind.name == kind)) {
        Some(item) if active(state, |fault| item.is_kind_of(fault)).is_empty() => actions.push(inject(item)),
        Some(_) => note(state, "the breaker is forced to that already"),
        None if actions.is_empty() => note(state, "the breaker is not forced"),
        None => {}
    }
    actions
}
