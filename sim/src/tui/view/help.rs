//! What lies over a page: the keys, and the question before the load is stopped.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use super::widgets::{fit, put, width};
use crate::tui::state::State;

const KEYS: [(&str, &str); 14] = [
    ("1 2 3, Tab, ← →", "go to a page"),
    ("p, space", "pause the load, and resume it"),
    ("q, Ctrl-C", "stop gently: journeys end, verdict follows"),
    ("Q, Ctrl-C again", "stop at once, without a verdict"),
    ("z", "curves of the last minute, or the whole load"),
    ("?", "this help"),
    ("", ""),
    ("On the page Breaker & faults", ""),
    ("↑ ↓, k j", "select a fault, or one to inject"),
    ("Enter", "inject what is selected, or lift it"),
    ("l", "lift what is selected"),
    ("o  c", "force the breaker open, closed"),
    ("a", "leave the breaker to itself"),
    ("", "A pause or a fault by hand marks the run MANUAL."),
];

/// An empty box in the middle of the area; answers its inside.
fn overlay(buf: &mut Buffer, area: Rect, title: &str, columns: u16, rows: u16, style: Style) -> Rect {
    let (columns, rows) = ((columns + 4).min(area.width), (rows + 2).min(area.height));
    let x = area.x + (area.width - columns) / 2;
    let y = area.y + (area.height - rows) / 2;
    let whole = Rect { x, y, width: columns, height: rows };
    Clear.render(whole, buf);
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(style).title(format!(" {title} "));
    let inner = block.inner(whole);
    block.render(whole, buf);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let keys = KEYS.iter().filter(|(_, what)| !what.is_empty()).map(|(key, _)| width(key)).max().unwrap_or_default();
    let columns = KEYS.iter().map(|(_, what)| keys + 2 + width(what)).max().unwrap_or_default();
    // Without room for all of it the blank line goes.
    let tight = area.height < KEYS.len() as u16 + 2;
    let shown: Vec<_> = KEYS.iter().filter(|(key, what)| !(tight && key.is_empty() && what.is_empty())).collect();
    let inner = overlay(buf, area, "Help: any key closes it", columns, shown.len() as u16, theme.title());
    for ((key, what), y) in shown.into_iter().zip(0..) {
        let style = if what.is_empty() { theme.title() } else { theme.strong() };
        put(buf, inner, 0, y, key, style);
        let at = if key.is_empty() { 0 } else { keys + 2 };
        put(buf, inner, at, y, &fit(what, inner.width.saturating_sub(at)), theme.text());
    }
}

pub fn ask(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let lines = [
        ("Journeys under way end, then the verdict follows:", theme.text()),
        ("exit code 105, stopped by the user.", theme.text()),
        ("", theme.text()),
        ("y or Enter stops it; any other key goes on.", theme.strong()),
    ];
    let columns = lines.iter().map(|(line, _)| width(line)).max().unwrap_or_default();
    let inner = overlay(buf, area, "Stop the load?", columns, lines.len() as u16, theme.warning());
    for ((line, style), y) in lines.iter().zip(0..) {
        put(buf, inner, 0, y, line, *style);
    }
}
