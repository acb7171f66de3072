//! The third page: the circuit breaker, the faults, and what can be broken by hand.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::letters::{self, large};
use super::widgets::{below, fit, gauge, put, put_right, puts, section, split_columns, split_rows, width};
use super::words;
use crate::run::glance::{BreakerGlance, BreakerWindow, FaultGlance};
use crate::tui::state::{MenuItem, Selected, State, menu};

pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let left = (area.width * 45 / 100).clamp(36, 80);
    let (left, right) = split_columns(area, left, 2);
    breaker(state, buf, left);
    let detail = 4;
    let (lists, detail) = split_rows(right, right.height.saturating_sub(detail));
    let menu_rows = menu().len() as u16 + 1;
    let faults_rows = lists.height.saturating_sub(menu_rows).max(3);
    let faults_rows = faults_rows.min(state.tick.faults.len().max(1) as u16 + 2);
    let (faults, menu) = split_rows(lists, faults_rows);
    self::faults(state, buf, faults);
    self::inject(state, buf, menu);
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
        put(buf, area, 0, 0, "The payment service has not answered yet.", theme.warning());
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
    let limit = |rate: f64| format!("{:.0} %", rate * 100.0);
    let part = |part: u64, opens_at: f64| {
        let share = share(part, window.calls);
        let style = match share {
            share if judged && part > 0 && share >= opens_at => theme.bad(),
            share if judged && part > 0 && share >= opens_at / 2.0 => theme.warning(),
            _ => theme.text(),
        };
        let text =
            format!("{} = {}, opens at {}", words::count(part), words::share(part, window.calls), limit(opens_at));
        (share, text, style)
    };
    let calls = format!("{} of {}, judged from {}", window.calls, window.window_calls, window.minimum_calls);
    let (failed, failed_text, failed_style) = part(window.failed, window.failure_rate);
    let (slow, slow_text, slow_style) = part(window.slow, window.slow_rate);
    let probes = format!("{} of {} reported", window.probes_reported, window.probes);
    let rows = [
        ("calls", share(window.calls, window.window_calls), calls, theme.text()),
        ("failed", failed, failed_text, failed_style),
        ("slow", slow, slow_text, slow_style),
        ("probes", share(window.probes_reported, window.probes), probes, theme.text()),
    ];
    let text_columns = rows.iter().map(|(_, _, text, _)| width(text)).max().unwrap_or_default();
    let bar = area.width.saturating_sub(7 + 1 + text_columns.max(26)).min(24);
    for ((name, share, text, style), y) in rows.iter().zip(0..) {
        put(buf, area, 0, y, name, theme.faint());
        gauge(buf, area, (7, y), bar, *share, *style);
        put(buf, area, 7 + bar + u16::from(bar > 0), y, text, *style);
    }
    below(area, rows.len() as u16)
}

fn transitions(state: &State, buf: &mut Buffer, area: Rect, breaker: &BreakerGlance) {
    let theme = state.theme;
    let number = words::several(breaker.transitions.len() as u64, "transition");
    let area = section(buf, area, theme, "Last transitions", &[(&number, theme.faint())]);
    if breaker.transitions.is_empty() {
        put(buf, area, 0, 0, "none: it has been closed all the time", theme.faint());
    }
    // The newest stands first.
    for (transition, y) in breaker.transitions.iter().rev().zip(0..area.height) {
        let at = words::span(transition.at);
        put(buf, area, 9_u16.saturating_sub(width(&at)), y, &at, theme.text());
        let wide = area.width >= 58;
        let from = if wide { format!("{} → ", transition.from) } else { "→ ".into() };
        let x = put(buf, area, 11, y, &from, theme.faint());
        let x = put(buf, area, x, y, &transition.to, state_style(state, &transition.to));
        let why_at = if wide { 35 } else { 23 }.max(x + 1);
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
        let mut row = Rect { y: area.y + y, height: 1, ..area };
        let name = fit(&fault.name, (area.width / 2).max(18));
        let (mark, told, style) = told(state, fault);
        put(buf, row, 0, 0, if selected == Some(place) { "▸" } else { " " }, theme.strong());
        puts(buf, row, 1, 0, &[(mark, style), (" ", theme.text()), (&name, theme.text())]);
        let told_at = 3 + width(&name) + 1;
        let room = row.width.saturating_sub(told_at);
        let told = fit(&told, room);
        put_right(buf, row, 0, &told, style);
        if selected == Some(place) {
            row.x += 1;
            row.width -= 1;
            buf.set_style(row, theme.selected());
        }
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

fn inject(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let area = section(buf, area, theme, "Break it by hand", &[]);
    let selected = match state.view.selected {
        Selected::Menu(place) => Some(place),
        Selected::Fault(_) => None,
    };
    let first = first_shown(selected, area.height);
    for ((item, place), y) in menu().into_iter().zip(0..).skip(first).zip(0..area.height) {
        let active = state.tick.faults.iter().any(|fault| fault.is_active() && item.is_kind_of(fault));
        let style = match (active, state.can_be_disturbed()) {
            (true, _) => theme.warning(),
            (false, true) => theme.text(),
            (false, false) => theme.faint(),
        };
        let mark = if active { "●" } else { " " };
        let label = fit(&item.label(), area.width.saturating_sub(3));
        put(buf, area, 0, y, if selected == Some(place) { "▸" } else { " " }, theme.strong());
        puts(buf, area, 1, y, &[(mark, style), (" ", theme.text()), (&label, style)]);
        if selected == Some(place) {
            buf.set_style(Rect { x: area.x + 1, y: area.y + y, width: area.width - 1, height: 1 }, theme.selected());
        }
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
        (true, false) if state.manual => "Enter injects it.",
        (true, false) => "Enter injects it; the run is then not comparable.",
    };
    lines.push((hint.into(), theme.strong()));
    lines
}
