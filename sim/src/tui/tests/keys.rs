//! What keys and events do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;

use super::fixture::{Story, ended, scenario, secs, state, tick};
use crate::tui::state::{Ending, Selected, Stage, State, Stopping, Tab};
use crate::tui::theme::Theme;
use crate::tui::update::{Action, Input, update};
use crate::tui::{EVENTS_MAX, sink_into};
use experiment::report::exit::Failure;
use experiment::run::glance::{Control, FaultGlance, Phase, Standing, Tick};
use experiment::run::progress::Event;

fn running() -> State {
    state(Story::Calm, 4.0, Theme::COLOURS)
}

fn press(state: &mut State, code: KeyCode) -> Vec<Action> {
    update(state, Input::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

/// Types these characters; answers what the last of them asked for.
fn typed(state: &mut State, keys: &str) -> Vec<Action> {
    keys.chars().map(|key| press(state, KeyCode::Char(key))).last().unwrap_or_default()
}

fn interrupt(state: &mut State) -> Vec<Action> {
    update(state, Input::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)))
}

fn tells(control: Control) -> Vec<Action> {
    vec![Action::Tell(control)]
}

fn inject(target: &'static str, kind: &'static str, parameters: &[(&str, &str)]) -> Action {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Action::Tell(Control::Inject { target, kind, parameters: parameters.collect() })
}

fn lift(name: &str) -> Action {
    Action::Tell(Control::Lift(name.into()))
}

/// A fault that is active, as the run tells of it.
fn active(state: &mut State, name: &str, what: &str) {
    let injected = Some(secs(3.0));
    let (name, what) = (name.into(), what.into());
    let fault = FaultGlance { name, what, planned: None, injected, lifted: None, hits: 0, failure: None };
    update(state, Input::Run(Event::Fault(fault)));
}

#[test]
fn pages_are_reached_by_number_and_in_turn() {
    let mut state = running();
    for (key, tab) in [
        (KeyCode::Char('2'), Tab::Saga),
        (KeyCode::Tab, Tab::Breaker),
        (KeyCode::Tab, Tab::Overview),
        (KeyCode::Left, Tab::Breaker),
        (KeyCode::BackTab, Tab::Saga),
        (KeyCode::Right, Tab::Breaker),
        (KeyCode::Char('4'), Tab::Breaker),
        (KeyCode::Char('1'), Tab::Overview),
    ] {
        assert_eq!(press(&mut state, key), []);
        assert_eq!(state.view.tab, tab, "after {key:?}");
    }
}

#[test]
fn any_key_closes_the_help_and_does_nothing_else() {
    let mut state = running();
    typed(&mut state, "?");
    assert!(state.view.help);
    assert_eq!(typed(&mut state, "Q"), []);
    assert!(!state.view.help && state.stopping == Stopping::No);
}

#[test]
fn a_load_is_stopped_gently_only_after_a_question() {
    let mut state = running();
    assert_eq!(typed(&mut state, "q"), []);
    assert!(state.view.asking);
    assert_eq!(typed(&mut state, "n"), []);
    assert_eq!((state.view.asking, state.stopping), (false, Stopping::No));
    assert_eq!(typed(&mut state, "qy"), tells(Control::StopGently));
    assert_eq!(typed(&mut state, "qy"), [], "once is enough");
    assert_eq!(typed(&mut state, "Q"), tells(Control::StopNow));
    assert_eq!(typed(&mut state, "Q"), []);
}

#[test]
fn before_the_load_there_is_nothing_to_ask_about() {
    let mut state = State::new(&scenario(Story::Calm), Theme::COLOURS);
    assert_eq!(state.stage, Stage::Starting);
    assert_eq!(typed(&mut state, "q"), tells(Control::StopGently));
}

#[test]
fn after_the_load_there_is_nothing_left_to_stop_gently() {
    let mut state = running();
    typed(&mut state, "q");
    update(&mut state, Input::Run(Event::Settling));
    assert!(!state.view.asking, "the question is no longer one");
    assert_eq!(typed(&mut state, "q"), []);
    assert!(!state.view.asking && state.note.is_some());
    assert_eq!(typed(&mut state, "Q"), tells(Control::StopNow));
}

#[test]
fn interrupts_stop_gently_then_at_once_then_leave() {
    let mut state = running();
    typed(&mut state, "?");
    assert_eq!(interrupt(&mut state), tells(Control::StopGently), "whatever lies over the page");
    assert_eq!(interrupt(&mut state), tells(Control::StopNow));
    assert_eq!(interrupt(&mut state), [Action::Quit]);
}

#[test]
fn pausing_and_resuming_alternate_and_are_remembered() {
    let mut state = running();
    assert!(!state.manual);
    assert_eq!(typed(&mut state, "p"), tells(Control::Pause));
    assert_eq!(typed(&mut state, " "), tells(Control::Resume));
    update(&mut state, Input::Run(Event::Tick(Box::new(Tick { paused: true, ..tick(Story::Calm, 4.0) }))));
    assert_eq!(typed(&mut state, "p"), tells(Control::Resume), "the run knows best whether it is paused");
    update(&mut state, Input::Run(Event::Tick(Box::new(tick(Story::Calm, 4.5)))));
    assert!(state.manual && !state.tick.paused);
}

#[test]
fn only_a_running_load_is_paused_or_broken() {
    let mut last = running();
    last.tick.phase = Phase::GracefulStop;
    let mut stopping = running();
    interrupt(&mut stopping);
    let mut settling = running();
    update(&mut settling, Input::Run(Event::Settling));
    for mut state in [last, stopping, settling, State::new(&scenario(Story::Calm), Theme::COLOURS)] {
        typed(&mut state, "3");
        for key in [KeyCode::Char('p'), KeyCode::Char('o'), KeyCode::Enter] {
            assert_eq!(press(&mut state, key), [], "{key:?} while {:?}", state.stage);
            assert!(state.note.is_some(), "it is said why");
        }
        assert!(!state.manual);
    }
}

#[test]
fn the_menu_injects_what_is_selected_with_values_that_can_be_seen() {
    let mut state = running();
    assert_eq!(press(&mut state, KeyCode::Enter), [], "not from another page");
    typed(&mut state, "3");
    assert_eq!(press(&mut state, KeyCode::Enter), [inject("payment-provider", "outage", &[])]);
    assert!(state.manual);
    press(&mut state, KeyCode::Down);
    let slow = inject("payment-provider", "latency", &[("latency", "400ms..800ms")]);
    assert_eq!(press(&mut state, KeyCode::Enter), [slow]);
    typed(&mut state, "jj");
    assert_eq!(press(&mut state, KeyCode::Enter), [inject("payment-provider", "decline_rate", &[("rate", "0.5")])]);
    typed(&mut state, "j");
    assert_eq!(
        press(&mut state, KeyCode::Enter),
        [inject("payment-provider", "timeout_after_charge", &[("rate", "1")])]
    );
    typed(&mut state, "jjjjjjj");
    assert_eq!(
        press(&mut state, KeyCode::Enter),
        [inject("breaker", "force_closed", &[])],
        "the last line is the last"
    );
    typed(&mut state, "kkkkkkkkkkkk");
    assert_eq!(state.view.selected, Selected::Menu(0));
}

#[test]
fn what_is_active_is_lifted_from_the_list_and_from_the_menu() {
    let mut state = running();
    typed(&mut state, "3");
    assert_eq!(typed(&mut state, "l"), []);
    assert!(state.note.is_some(), "there is nothing to lift yet");
    active(&mut state, "by-hand-1", "payment-provider outage");
    assert_eq!(press(&mut state, KeyCode::Enter), [lift("by-hand-1")], "not injected twice");
    press(&mut state, KeyCode::Up);
    assert_eq!(state.view.selected, Selected::Fault("by-hand-1".into()));
    assert_eq!(typed(&mut state, "l"), [lift("by-hand-1")]);
    assert_eq!(press(&mut state, KeyCode::Enter), [lift("by-hand-1")]);
    // The fault is no longer listed.
    update(&mut state, Input::Run(Event::Tick(Box::new(tick(Story::Calm, 4.5)))));
    assert_eq!(state.view.selected, Selected::Menu(0));
}

#[test]
fn the_breaker_is_forced_one_way_at_a_time() {
    let mut state = running();
    typed(&mut state, "3");
    assert_eq!(typed(&mut state, "a"), []);
    assert_eq!(typed(&mut state, "o"), [inject("breaker", "force_open", &[])]);
    active(&mut state, "by-hand-1", "breaker force_open");
    assert_eq!(typed(&mut state, "o"), [], "it is open already");
    assert_eq!(typed(&mut state, "c"), [lift("by-hand-1"), inject("breaker", "force_closed", &[])]);
    assert_eq!(typed(&mut state, "a"), [lift("by-hand-1")]);
}

#[test]
fn a_fault_by_hand_makes_the_run_a_manual_one_and_a_planned_one_does_not() {
    let mut state = state(Story::Outage, 4.0, Theme::COLOURS);
    assert!(!state.manual);
    active(&mut state, "by-hand-1", "payment-provider latency(latency=1s)");
    assert!(state.manual);
}

#[test]
fn a_fault_that_failed_is_said_at_once() {
    let mut state = running();
    let failure = Some("the acquirer does not answer".to_owned());
    let fault = FaultGlance { failure, ..tick(Story::Outage, 4.0).faults.remove(0) };
    update(&mut state, Input::Run(Event::Fault(fault)));
    assert!(state.note.is_some_and(|note| note.text.contains("acquirer-down: the acquirer does not answer")));
}

#[test]
fn the_verdict_comes_by_itself_and_stays_until_a_key() {
    let mut state = ended(Story::Calm, true, Theme::COLOURS);
    assert_eq!((state.view.tab, state.stage), (Tab::Verdict, Stage::Ended));
    for looking_back in ["1", "2", "3", "4", "z", "?", "x"] {
        assert_eq!(typed(&mut state, looking_back), [], "{looking_back}");
    }
    assert_eq!(press(&mut state, KeyCode::Enter), [Action::Leave]);
    assert_eq!(interrupt(&mut state), [Action::Quit]);
}

#[test]
fn at_the_end_the_first_page_says_what_it_came_to() {
    let state = ended(Story::Outage, false, Theme::COLOURS);
    let of = |name: &str| state.tick.invariants.iter().find(|one| one.name == name).unwrap();
    assert_eq!((of("stock_conserved").checked, of("stock_conserved").violations), (2000, 1));
    assert_eq!((of("answers_hold").checked, of("answers_hold").violations), (2000, 0));
    let observed: Vec<_> = state.tick.thresholds.iter().map(|one| (one.standing, one.observed)).collect();
    let wanted = [(Standing::Kept, 12_710.0), (Standing::Kept, 71_400.0), (Standing::Missed, 0.0123)];
    assert_eq!(observed, wanted.map(|(standing, observed)| (standing, Some(observed))));
}

#[test]
fn whoever_stopped_at_once_is_not_kept_waiting_for_a_key() {
    let mut state = running();
    let failure = || Input::Ended(Ending::Failed(Failure::shop("stopped at once")));
    assert_eq!(update(&mut state.clone(), failure()), []);
    typed(&mut state, "Q");
    assert_eq!(update(&mut state, failure()), [Action::Leave]);
}

#[test]
fn the_breakers_changes_are_each_taken_once_from_tick_to_tick() {
    let state = state(Story::Outage, 9.0, Theme::COLOURS);
    let seen: Vec<&str> = state.breaker_changes.iter().map(|(_, to)| to.as_str()).collect();
    assert_eq!(seen, ["open", "half-open", "open", "half-open", "open", "half-open", "closed"]);
}

#[test]
fn notes_are_short_and_without_control_characters() {
    let mut state = running();
    update(&mut state, Input::Run(Event::Note(format!("\u{1b}[31m{}", "x".repeat(100_000)))));
    let text = state.note.unwrap().text;
    assert!(text.len() <= 400 && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn ticks_give_way_to_what_must_not_be_lost() {
    let (tell, mut events) = mpsc::channel(EVENTS_MAX);
    let sink = sink_into(tell);
    let tick = Event::Tick(Box::new(tick(Story::Calm, 1.0)));
    for _ in 0..2 * EVENTS_MAX {
        sink(&tick);
    }
    for number in 0..EVENTS_MAX / 2 {
        sink(&Event::Note(number.to_string()));
    }
    let mut notes = 0;
    while let Ok(event) = events.try_recv() {
        notes += usize::from(matches!(event, Event::Note(_)));
    }
    assert_eq!(notes, EVENTS_MAX / 2);
    drop(events);
    sink(&tick);
}
