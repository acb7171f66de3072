//! What a person sees, at the sizes that people have.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::fixture::{Story, ended, state};
use crate::tui::state::{State, Tab};
use crate::tui::theme::Theme;
use crate::tui::view;

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
