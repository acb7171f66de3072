//! The third page: the circuit breaker, the faults, and what can be broken by hand.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::letters::{self, large};
use super::widgets::{below, fit, gauge, put, put_right, puts, section, split_columns, split_rows, width};
use super::words;
use crate::tui::state::{MenuItem, Selected, State, menu};
use experiment::run::glance::{BreakerGlance, BreakerWindow, FaultGlance};

/// About the selected line.
const DETAIL_ROWS: u16 = 4;

pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let (left, right) = split_columns(area, (area.width / 2 - 1).min(90), 2);
    breaker(state, buf, left);
    let (lists, detail) = split_rows(right, right.height.saturating_sub(DETAIL_ROWS));
    let menu_rows = menu_lines().len() as u16 + 1;
    // With its title and a blank row; the menu scrolls, too, where both are long.
    let wanted = state.tick.faults.len().max(1) as u16 + 2;
    let (faults, rest) = split_rows(lists, wanted.min(lists.height.saturating_sub(menu_rows).max(4)));
    let (menu, unused) = split_rows(rest, menu_rows);
    self::faults(state, buf, faults);
    self::inject(state, buf, menu);
    let detail = Rect { y: detail.y - unused.height, ..detail };
    self::detail(state, buf, detail);
}

fn state_style(state: &State, name: &str) -> Style {
    match name {
        "closed" => state.theme.good(),
        "open" => state.theme.bad(),
        _ => state.theme.warning(),
    }
}

fn breaker(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let beside = [("payment to its provider", theme.faint())];
    let area = section(buf, area, theme, "Circuit breaker", &beside);
    let Some(breaker) = &state.tick.breaker else {
        put(buf, area, 0, 0, "The payment service has not answered.", theme.warning());
        return;
    };
    // With few rows the word is written in ordinary letters.
    let roomy = area.height >= 16;
    let word_rows = if roomy { letters::ROWS } else { 1 };
    let (word, rest) = split_rows(area, word_rows);
    large(buf, word, &breaker.state.to_uppercase(), state_style(state, &breaker.state));
    let rest = below(rest, u16::from(area.height >= 20));
    put(buf, rest, 0, 0, &fit(&next(breaker), area.width), theme.text());
    let rest = below(rest, if roomy { 2 } else { 1 });
    let rest = window(state, buf, rest, &breaker.window);
    transitions(state, buf, below(rest, u16::from(roomy)), breaker);
}

/// What the state means, and what ends it.
fn next(breaker: &BreakerGlance) -> String {
    let window = &breaker.window;
    if let Some(forced) = &breaker.forced {
        return format!("forced {forced}; `a` leaves it to itself");
    }
    match (breaker.state.as_str(), window.open_for_left) {
        ("open", Some(left)) => {
            format!("refuses; half-open in {} of {}", words::span(left), words::span(window.open_for))
        }
        ("open", None) => format!("refuses for {}", words::span(window.open_for)),
        ("half-open", _) => format!("lets {} through, then decides", words::several(window.probes, "probe")),
        _ if window.calls < window.minimum_calls => {
            let missing = window.minimum_calls - window.calls;
            format!("lets calls through; judged {} on", words::several(missing, "call"))
        }
        _ => "lets calls through, and judges them".into(),
    }
}

/// Answers what is left of the area.
fn window(state: &State, buf: &mut Buffer, area: Rect, window: &BreakerWindow) -> Rect {
    let theme = state.theme;
    let judged = window.calls >= window.minimum_calls;
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let limited = |part: u64, opens_at: f64| {
        let text = format!("= {}, limit {:.0} %", words::share(part, window.calls), opens_at * 100.0);
        let style = match share(part, window.calls) {
            share if judged && part > 0 && share >= opens_at => theme.bad(),
            share if judged && part > 0 && share >= opens_at / 2.0 => theme.warning(),
            _ => theme.text(),
        };
        (text, style)
    };
    let (failed, failed_style) = limited(window.failed, window.failure_rate);
    let (slow, slow_style) = limited(window.slow, window.slow_rate);
    let calls = format!("of {}, minimum {}", window.window_calls, window.minimum_calls);
    let probes = format!("of {} reported", window.probes);
    let rows = [
        ("calls", window.calls, window.window_calls, calls, theme.text()),
        ("failed", window.failed, window.calls, failed, failed_style),
        ("slow", window.slow, window.calls, slow, slow_style),
        ("probes", window.probes_reported, window.probes, probes, theme.text()),
    ];
    let bar = area.width.saturating_sub(7 + 4 + 1 + 20).min(24);
    for ((name, number, whole, text, style), y) in rows.iter().zip(0..) {
        put(buf, area, 0, y, name, theme.faint());
        gauge(buf, area, (7, y), bar, share(*number, *whole), *style);
        let number = words::count(*number);
        put(buf, area, 7 + bar + 4_u16.saturating_sub(width(&number)), y, &number, *style);
        put(buf, area, 7 + bar + 5, y, text, *style);
    }
    below(area, rows.len() as u16)
}

fn transitions(state: &State, buf: &mut Buffer, area: Rect, breaker: &BreakerGlance) {
    let theme = state.theme;
    let number = format!("{}, newest first", words::count(breaker.transitions.len() as u64));
    let area = section(buf, area, theme, "Transitions", &[(&number, theme.faint())]);
    if breaker.transitions.is_empty() {
        put(buf, area, 0, 0, "none: it has been closed all the time", theme.faint());
    }
    let ats: Vec<String> = breaker.transitions.iter().map(|transition| words::span(transition.at)).collect();
    let at_columns = ats.iter().map(|at| width(at)).max().unwrap_or_default();
    let wide = area.width >= 58;
    for ((transition, at), y) in breaker.transitions.iter().zip(&ats).rev().zip(0..area.height) {
        put(buf, area, at_columns - width(at), y, at, theme.text());
        let from = if wide { format!("{:>9} → ", transition.from) } else { String::new() };
        let x = put(buf, area, at_columns + 1, y, &from, theme.faint());
        put(buf, area, x, y, &transition.to, state_style(state, &transition.to));
        let why_at = x + 10;
        put(buf, area, why_at, y, &fit(&transition.why, area.width.saturating_sub(why_at)), theme.text());
    }
}

/// The row to begin with, so that the selected one is seen.
fn first_shown(selected: Option<usize>, rows: u16) -> usize {
    selected.map_or(0, |selected| (selected + 1).saturating_sub(usize::from(rows)))
}

fn faults(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, all) = (state.theme, &state.tick.faults);
    let active = all.iter().filter(|fault| fault.is_active()).count();
    let text = format!("{active} active of {}", all.len());
    let area = section(buf, area, theme, "Faults", &[(&text, theme.faint())]);
    if all.is_empty() {
        put(buf, area, 0, 0, "none planned, none by hand", theme.faint());
        return;
    }
    let selected = match &state.view.selected {
        Selected::Fault(name) => all.iter().position(|fault| fault.name == *name),
        Selected::Menu(_) => None,
    };
    let rows = area.height.min(all.len() as u16);
    let first = first_shown(selected, rows);
    for ((fault, place), y) in all.iter().zip(0..).skip(first).zip(0..rows) {
        let row = Rect { y: area.y + y, height: 1, ..area };
        let name = fit(&fault.name, (area.width / 2).max(18));
        let (mark, told, style) = told(state, fault);
        puts(buf, row, 1, 0, &[(mark, style), (" ", theme.text()), (&name, theme.text())]);
        let told_at = 3 + width(&name) + 1;
        let room = row.width.saturating_sub(told_at);
        let told = fit(&told, room);
        put_right(buf, row, 0, &told, style);
        select(state, buf, row, selected == Some(place));
    }
}

/// A fault's state: a mark, and words.
fn told(state: &State, fault: &FaultGlance) -> (&'static str, String, Style) {
    let theme = state.theme;
    let calls = words::several(fault.hits, "call");
    match (&fault.failure, fault.injected, fault.lifted) {
        (Some(_), _, _) => ("✗", "FAILED".into(), theme.bad()),
        (None, Some(since), None) => ("●", format!("since {}, {calls}", words::span(since)), theme.warning()),
        (None, _, Some(at)) => ("○", format!("lifted {}, {calls}", words::span(at)), theme.text()),
        (None, None, None) => {
            let at = fault.planned.map(|(at, _)| format!("planned {}", words::span(at)));
            ("○", at.unwrap_or_else(|| "asked for".into()), theme.faint())
        }
    }
}

/// A line of the menu: what is broken, and how.
enum Line {
    Target(&'static str),
    Item(usize, MenuItem),
}

fn menu_lines() -> Vec<Line> {
    let mut lines = Vec::new();
    let mut target = "";
    for (place, item) in menu().into_iter().enumerate() {
        if item.target.name != target {
            target = item.target.name;
            lines.push(Line::Target(target));
        }
        lines.push(Line::Item(place, item));
    }
    lines
}

fn inject(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let area = section(buf, area, theme, "Break it by hand", &[]);
    let is_selected = |place: usize| state.view.selected == Selected::Menu(place);
    let lines = menu_lines();
    let selected = lines.iter().position(|line| matches!(line, Line::Item(place, _) if is_selected(*place)));
    for (line, y) in lines.iter().skip(first_shown(selected, area.height)).zip(0..area.height) {
        let row = Rect { y: area.y + y, height: 1, ..area };
        match line {
            Line::Target(name) => drop(put(buf, row, 1, 0, name, theme.faint())),
            Line::Item(place, item) => menu_item(state, buf, row, *item, is_selected(*place)),
        }
    }
}

fn menu_item(state: &State, buf: &mut Buffer, row: Rect, item: MenuItem, selected: bool) {
    let theme = state.theme;
    let active = state.tick.faults.iter().any(|fault| fault.is_active() && item.is_kind_of(fault));
    let style = match (active, state.can_be_disturbed()) {
        (true, _) => theme.warning(),
        (false, true) => theme.text(),
        (false, false) => theme.faint(),
    };
    let label = fit(&item.label(), row.width.saturating_sub(5));
    let mark = if active { "●" } else { " " };
    puts(buf, row, 1, 0, &[(mark, style), (" ", theme.text()), (&label, style)]);
    select(state, buf, row, selected);
}

/// Marks the row if it is the selected one.
fn select(state: &State, buf: &mut Buffer, row: Rect, selected: bool) {
    if selected {
        put(buf, row, 0, 0, "▸", state.theme.strong());
        buf.set_style(Rect { x: row.x + 1, width: row.width.saturating_sub(1), ..row }, state.theme.selected());
    }
}

/// About the selected line.
fn detail(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    put(buf, area, 0, 0, &"─".repeat(usize::from(area.width)), theme.faint());
    let area = below(area, 1);
    let lines: Vec<(String, Style)> = match &state.view.selected {
        Selected::Fault(name) => match state.tick.faults.iter().find(|fault| fault.name == *name) {
            Some(fault) => about_fault(state, fault),
            None => Vec::new(),
        },
        Selected::Menu(place) => menu().get(*place).map(|item| about_item(state, *item)).unwrap_or_default(),
    };
    for ((text, style), y) in lines.iter().zip(0..area.height) {
        put(buf, area, 0, y, &fit(text, area.width), *style);
    }
}

fn about_fault(state: &State, fault: &FaultGlance) -> Vec<(String, Style)> {
    let theme = state.theme;
    let mut lines = vec![(fault.what.clone(), theme.text())];
    if let Some(why) = &fault.failure {
        lines.push((why.clone(), theme.bad()));
        return lines;
    }
    let origin = match fault.planned {
        Some((at, lasts)) => format!("planned at {} for {}", words::span(at), words::span(lasts)),
        None => "by hand".to_owned(),
    };
    let went = match (fault.injected, fault.lifted) {
        (Some(from), Some(to)) => format!("; was active {} to {}", words::span(from), words::span(to)),
        (Some(from), None) => format!("; active since {}", words::span(from)),
        _ => String::new(),
    };
    lines.push((origin + &went, theme.faint()));
    if fault.is_active() && state.can_be_disturbed() {
        lines.push(("Enter or l lifts it.".into(), theme.strong()));
    }
    lines
}

fn about_item(state: &State, item: MenuItem) -> Vec<(String, Style)> {
    let theme = state.theme;
    let mut lines = vec![(item.kind.meaning.to_owned(), theme.text())];
    let active = state.tick.faults.iter().any(|fault| fault.is_active() && item.is_kind_of(fault));
    let hint = match (state.can_be_disturbed(), active) {
        (false, _) => "Only while the load runs.",
        (true, true) => "It is active; Enter or l lifts it.",
        (true, false) => "Enter injects it.",
    };
    lines.push((hint.into(), theme.strong()));
    if !state.manual && state.ended.is_none() {
        lines.push(("A run touched by hand is MANUAL.".into(), theme.faint()));
    }
    lines
}
