//! What a person sees, at the sizes that people have.

use std::collections::BTreeSet;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::fixture::{Story, ended, scenario, state, tick};
use crate::tui::state::{Ending, Selected, State, Tab};
use crate::tui::theme::Theme;
use crate::tui::update::{Input, update};
use crate::tui::{render_svg, view};
use experiment::report::exit::Failure;
use experiment::run::glance::FaultGlance;
use experiment::run::progress::Event;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

pub fn screen(state: &State, (width, height): (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(state, frame)).unwrap();
    terminal
}

pub fn text(state: &State, size: (u16, u16)) -> String {
    screen(state, size).backend().to_string()
}

fn check(name: &str, mut state: State, tabs: &[Tab]) {
    for tab in tabs {
        state.view.tab = *tab;
        for size in SIZES {
            let shown = format!("{name} {tab:?} {}x{}", size.0, size.1).to_lowercase().replace(' ', "-");
            insta::assert_snapshot!(shown, text(&state, size));
        }
    }
}

#[test]
fn a_calm_run() {
    check("calm", state(Story::Calm, 6.0, Theme::COLOURS), &Tab::ALL[..3]);
}

#[test]
fn an_outage() {
    check("outage", state(Story::Outage, 4.0, Theme::COLOURS), &Tab::ALL[..3]);
}

#[test]
fn the_end_of_a_run_that_passed() {
    check("passed", ended(Story::Calm, true, Theme::COLOURS), &Tab::ALL);
}

#[test]
fn the_end_of_a_run_that_failed() {
    check("failed", ended(Story::Outage, false, Theme::COLOURS), &Tab::ALL);
}

#[test]
fn before_the_load_there_is_what_the_scenario_promises() {
    let mut state = State::new(&scenario(Story::Outage), Theme::COLOURS);
    insta::assert_snapshot!("before-80x24", text(&state, (80, 24)));
    state.view.tab = Tab::Saga;
    assert!(text(&state, (80, 24)).contains("No step has been attempted yet."));
    state.view.tab = Tab::Breaker;
    assert!(text(&state, (80, 24)).contains("The payment service has not answered."));
}

#[test]
fn the_help_and_the_question_lie_over_the_page() {
    let mut state = state(Story::Outage, 4.0, Theme::COLOURS);
    state.view.help = true;
    insta::assert_snapshot!("help-80x24", text(&state, (80, 24)));
    let smallest = text(&state, (60, 15));
    assert!(smallest.contains("marks the run MANUAL"), "{smallest}");
    state.view.help = false;
    state.view.asking = true;
    insta::assert_snapshot!("asking-80x24", text(&state, (80, 24)));
}

#[test]
fn a_run_without_a_verdict_says_why() {
    let mut state = state(Story::Calm, 3.0, Theme::COLOURS);
    let failure = Failure::shop("error: the books cannot be read: order_db is locked");
    update(&mut state, Input::Ended(Ending::Failed(failure)));
    let shown = text(&state, (80, 24));
    for words in ["exit 115", "there is no verdict", "order_db is locked"] {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn a_note_stands_in_the_place_of_the_keys_for_a_while() {
    let mut state = state(Story::Calm, 3.0, Theme::COLOURS);
    update(&mut state, Input::Run(Event::Note("the generator was late".into())));
    assert!(text(&state, (80, 24)).contains("the generator was late"));
    for number in 7..30 {
        update(&mut state, Input::Run(Event::Tick(Box::new(tick(Story::Calm, f64::from(number) / 2.0)))));
    }
    assert!(!text(&state, (80, 24)).contains("the generator was late"));
}

#[test]
fn what_is_out_of_the_ordinary_is_said_in_words_and_not_only_in_colours() {
    let mut state = state(Story::Outage, 4.0, Theme::PLAIN);
    state.tick.paused = true;
    state.manual = true;
    for tab in [Tab::Overview, Tab::Saga, Tab::Breaker] {
        state.view.tab = tab;
        let screen = screen(&state, (120, 40));
        let shown = screen.backend().to_string();
        for words in ["PAUSED", "MANUAL", "breaker OPEN", "1 fault active", "✗ 1 threshold missed"] {
            assert!(shown.contains(words), "{words} is not on {tab:?}");
        }
        let coloured = screen
            .backend()
            .buffer()
            .content()
            .iter()
            .filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
        assert_eq!(coloured.count(), 0, "{tab:?} has colours");
    }
    let mut ended = ended(Story::Outage, false, Theme::PLAIN);
    ended.view.tab = Tab::Verdict;
    let shown = text(&ended, (120, 40));
    assert!(shown.contains("exit 111") && shown.contains("BROKEN") && shown.contains("MISSED"), "{shown}");
}

#[test]
fn colours_are_used_where_there_are_some() {
    let state = state(Story::Outage, 4.0, Theme::COLOURS);
    let screen = screen(&state, (120, 40));
    let colours: BTreeSet<String> =
        screen.backend().buffer().content().iter().map(|cell| format!("{:?}", cell.fg)).collect();
    for colour in ["Red", "Green", "Yellow", "Cyan", "Magenta"] {
        assert!(colours.contains(colour), "{colour} is not among {colours:?}");
    }
}

#[test]
fn every_size_can_be_drawn_and_a_small_one_says_that_it_is() {
    let states = [
        State::new(&scenario(Story::Calm), Theme::COLOURS),
        state(Story::Outage, 4.0, Theme::COLOURS),
        ended(Story::Outage, false, Theme::COLOURS),
    ];
    for mut state in states {
        for tab in Tab::ALL {
            state.view.tab = tab;
            state.view.help = tab == Tab::Saga;
            for (width, height) in
                [(1, 1), (10, 3), (59, 15), (60, 14), (60, 15), (61, 16), (79, 23), (300, 20), (60, 90)]
            {
                let shown = text(&state, (width, height));
                let small = width < 60 || height < 15;
                if width >= 59 {
                    assert_eq!(shown.contains("too small"), small, "{width}x{height}\n{shown}");
                }
            }
        }
    }
}

#[test]
fn many_faults_and_thresholds_are_counted_where_they_cannot_be_shown() {
    let mut state = state(Story::Outage, 4.0, Theme::COLOURS);
    for number in 1..=20 {
        let by_hand = FaultGlance { name: format!("by-hand-{number}"), planned: None, ..state.tick.faults[0].clone() };
        state.tick.faults.push(by_hand);
        let threshold = state.tick.thresholds[0].clone();
        state.tick.thresholds.insert(0, threshold);
    }
    let shown = text(&state, (80, 24));
    assert!(shown.contains("faults on page 3") && shown.contains("more, less urgent"), "{shown}");
    assert!(shown.contains("✗ order_errors"), "what is missed comes first\n{shown}");
    state.view.tab = Tab::Breaker;
    state.view.selected = Selected::Fault("by-hand-20".into());
    let shown = text(&state, (80, 24));
    assert!(shown.contains("▸● by-hand-20") && shown.contains("force_closed"), "{shown}");
}

#[test]
fn a_picture_is_well_formed_and_holds_what_the_screen_says() {
    let mut state = state(Story::Outage, 4.0, Theme::COLOURS);
    state.facts.name = "a<b>&\"c\"".into();
    let svg = render_svg(&state, 100, 30);
    let lines = well_formed(&svg);
    for words in ["shopctl run: a<b>&\"c\"", "Arrivals  ┄ planned 245/s  ─ reached 237/s", "breaker OPEN", "p(99)<50ms"]
    {
        assert!(lines.iter().any(|line| line.contains(words)), "{words} is not in\n{}", lines.join("\n"));
    }
    // Line by line it is the screen.
    let screen = text(&state, (100, 30));
    for line in screen.lines().map(|line| line.trim_matches('"').trim_end()).filter(|line| !line.is_empty()) {
        assert!(lines.iter().any(|drawn| drawn == line), "`{line}` is not in\n{}", lines.join("\n"));
    }
    assert_eq!(svg, render_svg(&state, 100, 30));
}

/// Reads XML without attributes' meaning: every element is closed in turn. Answers each `text`'s content.
fn well_formed(xml: &str) -> Vec<String> {
    let (mut open, mut lines, mut line) = (Vec::new(), Vec::new(), String::new());
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        let (content, tag) = rest.split_at(at);
        assert!(!content.contains('>'), "a bare `>` in `{content}`");
        let content = content.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        if open.contains(&"text") {
            line.push_str(&content);
        }
        let (tag, after) = tag[1..].split_once('>').expect("every tag ends");
        rest = after;
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            if name == "text" {
                lines.push(std::mem::take(&mut line));
            }
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} stay open");
    lines
}
