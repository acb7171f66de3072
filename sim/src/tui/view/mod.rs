//! The screens: pure functions of the state.

mod breaker;
mod help;
mod letters;
mod overview;
mod plot;
mod saga;
mod verdict;
mod widgets;
mod words;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::state::{Ending, Stage, State, Stopping, Tab};
use experiment::run::glance::{Phase, Standing};
use widgets::{below, fit, gauge, put, puts, split_rows, width};

/// Less than this cannot hold a page.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 15;

/// Draws everything.
pub fn draw(state: &State, frame: &mut Frame) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        return too_small(buf, area, state);
    }
    let (head, rest) = split_rows(area, 2);
    let (body, foot) = split_rows(rest, rest.height - 1);
    header(buf, head, state);
    tabs(buf, below(head, 1), state);
    let page = Rect { x: body.x + 1, width: body.width - 2, ..body };
    match state.view.tab {
        Tab::Overview => overview::draw(state, buf, page),
        Tab::Saga => saga::draw(state, buf, page),
        Tab::Breaker => breaker::draw(state, buf, page),
        Tab::Verdict => verdict::draw(state, buf, page),
    }
    footer(buf, foot, state);
    if state.view.asking {
        help::ask(state, buf, area);
    }
    if state.view.help {
        help::draw(state, buf, area);
    }
}

fn too_small(buf: &mut Buffer, area: Rect, state: &State) {
    let lines = [
        "The terminal is too small.".to_owned(),
        format!("It has {} × {};", area.width, area.height),
        format!("{WIDTH_MIN} × {HEIGHT_MIN} are needed."),
        "The run goes on.".to_owned(),
    ];
    let shown = if state.ended.is_some() { &lines[..3] } else { &lines };
    for (line, y) in shown.iter().zip(0..) {
        put(buf, area, 0, y, line, state.theme.strong());
    }
}

/// Where the run is, in a word or two.
pub(super) fn phase(state: &State) -> &'static str {
    match state.stage {
        Stage::Starting => "starting the shop",
        Stage::Seeding => "seeding the shop",
        Stage::Load => match state.tick.phase {
            Phase::WarmUp => "warm-up",
            Phase::Load => "load",
            Phase::GracefulStop => "last journeys end",
        },
        Stage::Settling => "coming to rest",
        Stage::Judging => "reading the books",
        Stage::Ended => match &state.ended {
            Some(Ending::Verdict(summary)) if summary.exit_code == 0 => "passed",
            Some(Ending::Verdict(_)) => "failed",
            _ => "ended",
        },
    }
}

fn header(buf: &mut Buffer, area: Rect, state: &State) {
    let theme = state.theme;
    let mut badges: Vec<(&str, Style)> = Vec::new();
    if state.tick.paused && state.stage == Stage::Load {
        badges.push((" PAUSED ", theme.badge()));
    }
    match state.stopping {
        Stopping::No => {}
        _ if state.ended.is_some() => {}
        Stopping::Gently => badges.push((" STOPPING ", theme.badge())),
        Stopping::Now => badges.push((" STOPPING NOW ", theme.badge())),
    }
    if state.manual {
        badges.push((" MANUAL ", theme.badge()));
    }
    let (elapsed, lasts) = (state.tick.elapsed, state.facts.lasts);
    let time = format!("{} of {}", words::span(elapsed), words::span(lasts));
    let seed = format!("seed {}", state.facts.seed);
    let badges_wide: u16 = badges.iter().map(|(text, _)| width(text) + 1).sum();
    let fixed = 1 + 2 + width(&seed) + 2 + width(phase(state)) + 2 + 1 + width(&time) + 1 + badges_wide;
    // The bar takes what the texts leave; the name gives way only when there is nothing else.
    let free = area.width.saturating_sub(fixed);
    let name = fit(&state.facts.name, free.max(12));
    let bar = free.saturating_sub(width(&name)).min(area.width / 5).min(40);
    let mut x = puts(buf, area, 1, 0, &[(&name, theme.strong()), ("  ", theme.text()), (&seed, theme.faint())]);
    x = puts(buf, area, x, 0, &[("  ", theme.text()), (phase(state), theme.title()), ("  ", theme.text())]);
    let share = elapsed.as_secs_f64() / lasts.as_secs_f64().max(1e-9);
    if bar >= 4 {
        gauge(buf, area, (x, 0), bar, share, theme.series(0));
        x += bar + 1;
    }
    put(buf, area, x, 0, &time, theme.text());
    let mut x = area.width.saturating_sub(badges_wide);
    for (text, style) in badges {
        x = put(buf, area, x, 0, text, style) + 1;
    }
}

fn tabs(buf: &mut Buffer, area: Rect, state: &State) {
    let theme = state.theme;
    let mut x = 1;
    for (tab, number) in state.tabs().iter().zip(1..) {
        let text = format!(" {number} {} ", tab.title());
        let style = if *tab == state.view.tab { theme.selected().patch(theme.strong()) } else { theme.text() };
        x = put(buf, area, x, 0, &text, style) + 1;
    }
    let alarms = alarms(state);
    let mut free = area.width.saturating_sub(x + 1);
    let mut from = area.width;
    for (text, style) in alarms {
        let columns = width(&text) + 2;
        if columns > free {
            break;
        }
        free -= columns;
        from -= columns;
        put(buf, area, from, 0, &text, style);
    }
}

/// What is out of the ordinary, the gravest first; shown on every page.
fn alarms(state: &State) -> Vec<(String, Style)> {
    let (theme, tick) = (state.theme, &state.tick);
    let mut alarms = Vec::new();
    if state.ended.is_some() {
        return alarms;
    }
    let broken = tick.invariants.iter().filter(|invariant| invariant.violations > 0).count() as u64;
    if broken > 0 {
        alarms.push((format!("✗ {} BROKEN", words::several(broken, "invariant")), theme.bad()));
    }
    match &tick.breaker {
        Some(breaker) if breaker.state != "closed" => {
            alarms.push((format!("breaker {}", breaker.state.to_uppercase()), theme.bad()));
        }
        None if state.stage == Stage::Load && tick.elapsed.as_secs() > 0 => {
            alarms.push(("breaker not seen".into(), theme.warning()));
        }
        _ => {}
    }
    let active = tick.faults.iter().filter(|fault| fault.is_active()).count() as u64;
    if active > 0 {
        alarms.push((format!("● {} active", words::several(active, "fault")), theme.warning()));
    }
    let missed = tick.thresholds.iter().filter(|one| one.standing == Standing::Missed).count() as u64;
    if missed > 0 {
        alarms.push((format!("✗ {} missed", words::several(missed, "threshold")), theme.bad()));
    }
    alarms
}

fn footer(buf: &mut Buffer, area: Rect, state: &State) {
    let theme = state.theme;
    if let Some(note) = &state.note {
        let text = fit(&note.text, area.width.saturating_sub(2));
        put(buf, area, 1, 0, &text, theme.warning());
        return;
    }
    let keys: &[(&str, &str)] = match (state.ended.is_some(), state.view.tab) {
        (true, _) => &[("any other key", "ends"), ("1-4", "pages"), ("?", "help"), ("z", "last minute")],
        (false, Tab::Breaker) => &[
            ("↑↓", "select"),
            ("Enter", "inject, lift"),
            ("o c a", "breaker open, closed, auto"),
            ("1-3", "pages"),
            ("?", "help"),
            ("p", "pause"),
            ("q", "stop"),
        ],
        (false, _) => &[
            ("1-3", "pages"),
            ("p", if state.tick.paused { "resume" } else { "pause" }),
            ("q", "stop"),
            ("Q", "stop now"),
            ("?", "help"),
            ("z", if state.view.last_minute { "whole load" } else { "last minute" }),
        ],
    };
    let mut x = 1;
    for (key, what) in keys {
        if x + width(key) + 1 + width(what) >= area.width {
            break;
        }
        x = puts(buf, area, x, 0, &[(key, theme.strong()), (" ", theme.text()), (what, theme.faint())]) + 2;
    }
}
