//! The last page: what the run comes to.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Paragraph, Widget, Wrap};

use super::letters::{self, large};
use super::widgets::{
    Cell, Column, below, fit, put, put_right, puts, section, split_columns, split_rows, table, titles, width,
};
use super::words;
use crate::tui::state::{Ending, State};
use experiment::report::Summary;
use experiment::report::exit::{ExitCode, Failure};
use experiment::report::terminal::{micros, observed, outcome};
use experiment::report::threshold::Outcome;

/// Reasons that are shown; the report has all.
const REASONS_MAX: usize = 6;

pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let area = Rect { height: area.height.saturating_sub(1), ..below(area, 1) };
    match &state.ended {
        Some(Ending::Verdict(summary)) => verdict(state, buf, area, summary),
        Some(Ending::Failed(failure)) => failed(state, buf, area, failure),
        None => {}
    }
}

/// Text in as many rows as it needs, but not more than `most`. Answers what is left of the area.
fn wrapped(buf: &mut Buffer, area: Rect, text: &str, style: Style, most: u16) -> Rect {
    let paragraph = Paragraph::new(text).style(style).wrap(Wrap { trim: true });
    let rows = rows_of(text, area.width).min(most).min(area.height);
    let (this, rest) = split_rows(area, rows);
    paragraph.render(this, buf);
    rest
}

/// How many rows the text takes, broken between words.
fn rows_of(text: &str, columns: u16) -> u16 {
    let (mut rows, mut used) = (1, 0);
    for word in text.split_whitespace() {
        let mut columns_of_word = width(word);
        if used > 0 && used + 1 + columns_of_word > columns {
            rows += 1;
            used = 0;
        }
        while columns_of_word > columns.max(1) {
            rows += 1;
            columns_of_word -= columns.max(1);
        }
        used += columns_of_word + u16::from(used > 0);
    }
    rows
}

fn failed(state: &State, buf: &mut Buffer, area: Rect, failure: &Failure) {
    let theme = state.theme;
    let word = if failure.code == ExitCode::Stopped { "STOPPED" } else { "FAILED" };
    let (head, rest) = split_rows(area, letters::ROWS);
    let x = large(buf, head, word, theme.bad()) + 2;
    put(buf, head, x, 0, &format!("exit {}", failure.code.number()), theme.strong());
    put(buf, head, x, 1, "there is no verdict", theme.text());
    wrapped(buf, below(rest, 1), &failure.message, theme.text(), area.height);
}

fn verdict(state: &State, buf: &mut Buffer, area: Rect, summary: &Summary) {
    let theme = state.theme;
    let (word, style) = match summary.exit_code {
        0 => ("PASSED", theme.good().patch(theme.strong())),
        _ => ("FAILED", theme.bad()),
    };
    let (head, mut rest) = split_rows(area, letters::ROWS);
    let x = large(buf, head, word, style) + 2;
    let (_, beside) = split_columns(head, x, 0);
    put(buf, beside, 0, 0, &format!("exit {}", summary.exit_code), theme.strong());
    let because = wrapped(buf, below(beside, 1), &summary.verdict.because, theme.text(), 2);
    let manual = "not comparable: somebody stepped in";
    if summary.manual && because.height > 0 {
        put(buf, because, 0, 0, manual, theme.warning());
    }
    let also = summary.verdict.reasons.get(1..).unwrap_or_default();
    for reason in also.iter().take(REASONS_MAX) {
        put(buf, rest, 0, 0, &fit(&format!("also: {reason}"), rest.width), theme.text());
        rest = below(rest, 1);
    }
    if let Some(more) = also.len().checked_sub(REASONS_MAX).filter(|more| *more > 0) {
        put(buf, rest, 0, 0, &format!("and {more} more in the report"), theme.faint());
        rest = below(rest, 1);
    }
    let (left, right) = split_columns(below(rest, 1), 32, 2);
    let left = orders(state, buf, left, summary);
    let right = facts(state, buf, right, summary);
    let right = invariants(state, buf, right, summary);
    let rest = if left.height < right.height { left } else { right };
    let rest = thresholds(state, buf, Rect { x: area.x, width: area.width, ..rest }, summary);
    steps(state, buf, rest, summary);
}

/// Answers what is left of the area, as the others do.
fn orders(state: &State, buf: &mut Buffer, area: Rect, summary: &Summary) -> Rect {
    let (theme, orders) = (state.theme, &summary.orders);
    let started = format!("{} in {:.1} s", words::count(orders.started), summary.load_s);
    let area = section(buf, area, theme, "Orders", &[(&started, theme.faint())]);
    let mut rows: Vec<(String, u64, Style)> = Vec::new();
    let bad = |number: u64| if number > 0 { theme.bad() } else { theme.faint() };
    rows.push(("confirmed".into(), orders.confirmed, theme.good()));
    rows.push(("cancelled".into(), orders.cancelled, theme.text()));
    let reasons = orders.cancelled_by.iter();
    rows.extend(reasons.map(|(reason, n)| (format!("  {}", reason.replace('_', " ")), *n, theme.faint())));
    rows.push(("rejected".into(), orders.rejected, theme.text()));
    rows.push(("errors".into(), orders.errors, bad(orders.errors)));
    rows.push(("unknown".into(), orders.unknown, bad(orders.unknown)));
    for ((name, number, style), y) in rows.iter().zip(0..) {
        let number_text = words::count(*number);
        put(buf, area, 0, y, name, *style);
        put(buf, area, 24_u16.saturating_sub(width(&number_text)), y, &number_text, *style);
        let share = words::share(*number, orders.started);
        put(buf, area, 31_u16.saturating_sub(width(&share)), y, &share, theme.faint());
    }
    below(area, rows.len() as u16)
}

fn facts(state: &State, buf: &mut Buffer, area: Rect, summary: &Summary) -> Rect {
    let theme = state.theme;
    let area = section(buf, area, theme, "The run", &[]);
    let breaker = words::several(summary.breaker.transitions.len() as u64, "transition");
    let opened = summary.breaker.transitions.iter().filter(|change| change.to == "open").count() as u64;
    let p95 = summary.http.get("order").and_then(|order| order.corrected.p95_us);
    let lines = [
        ("throughput", format!("{:.1} confirmed/s", summary.throughput_per_s)),
        ("order p95", micros(p95)),
        ("breaker", if opened > 0 { format!("opened {}, {breaker}", times(opened)) } else { "never opened".into() }),
        ("faults", faults(summary)),
    ];
    for ((name, text), y) in lines.iter().zip(0..) {
        put(buf, area, 0, y, name, theme.faint());
        put(buf, area, 12, y, &fit(text, area.width.saturating_sub(12)), theme.text());
    }
    below(area, lines.len() as u16)
}

fn times(number: u64) -> String {
    if number == 1 { "once".into() } else { words::several(number, "time") }
}

fn faults(summary: &Summary) -> String {
    let hits: u64 = summary.faults.iter().map(|fault| fault.hits).sum();
    match summary.faults.len() as u64 {
        0 => "none".into(),
        faults => format!("{faults}, touched {}", words::several(hits, "call")),
    }
}

fn thresholds(state: &State, buf: &mut Buffer, area: Rect, summary: &Summary) -> Rect {
    let theme = state.theme;
    let all = &summary.thresholds;
    let kept = all.iter().filter(|one| one.outcome == Outcome::Kept).count();
    let text = format!("{kept} of {} kept", all.len());
    let area = section(buf, area, theme, "Thresholds", &[(&text, theme.faint())]);
    let mut order: Vec<_> = all.iter().collect();
    // What was not kept must be seen where there is not room for all.
    order.sort_by_key(|one| one.outcome == Outcome::Kept);
    for (one, y) in order.iter().zip(0..area.height) {
        let (mark, style) = match one.outcome {
            Outcome::Kept => ("✓", theme.good()),
            Outcome::Missed => ("✗", theme.bad()),
            Outcome::TooFewSamples | Outcome::NotJudged => ("…", theme.warning()),
        };
        let end = match one.outcome {
            Outcome::Kept => observed(&one.metric, one.observed),
            Outcome::Missed => format!("MISSED {:>9}", observed(&one.metric, one.observed)),
            other => outcome(other).to_owned(),
        };
        let during = one.during.as_ref().map(|fault| format!(" during {fault}")).unwrap_or_default();
        let name = format!("{} {}{during}", one.metric, one.expression);
        let row = Rect { width: area.width.min(100), ..area };
        let name = fit(&name, row.width.saturating_sub(3 + width(&end)));
        puts(buf, row, 0, y, &[(mark, style), (" ", theme.text()), (&name, theme.text())]);
        put_right(buf, row, y, &end, style);
    }
    below(area, order.len() as u16)
}

fn invariants(state: &State, buf: &mut Buffer, area: Rect, summary: &Summary) -> Rect {
    let theme = state.theme;
    let (elsewhere, here): (Vec<_>, Vec<_>) =
        summary.invariants.iter().partition(|finding| finding.not_applicable.is_some());
    let (broken, kept): (Vec<_>, Vec<_>) = here.into_iter().partition(|finding| finding.violations > 0);
    let checks: u64 = kept.iter().map(|finding| finding.checked).sum();
    let area = section(buf, area, theme, "Invariants", &[]);
    let text = format!("✓ {} kept in {}", kept.len(), words::several(checks, "check"));
    put(buf, area, 0, 0, &text, theme.good());
    let mut area = below(area, 1);
    if !elsewhere.is_empty() {
        let names: Vec<&str> = elsewhere.iter().map(|finding| finding.name.as_str()).collect();
        let text = format!("– not applicable here: {}", names.join(", "));
        put(buf, area, 0, 0, &fit(&text, area.width), theme.faint());
        area = below(area, 1);
    }
    for finding in broken {
        let (violations, checked) = (words::count(finding.violations), words::count(finding.checked));
        let text = format!("✗ {} BROKEN, {violations} of {checked}", finding.name);
        put(buf, area, 0, 0, &fit(&text, area.width), theme.bad());
        area = below(area, 1);
        for example in &finding.examples {
            let (_, inner) = split_columns(area, 2, 0);
            let left = wrapped(buf, inner, example, theme.text(), 2);
            area = below(area, inner.height - left.height);
        }
    }
    area
}

/// Where there is room: how long the steps of the saga took.
fn steps(state: &State, buf: &mut Buffer, area: Rect, summary: &Summary) {
    let theme = state.theme;
    if area.height < summary.steps.len() as u16 + 3 || summary.steps.is_empty() {
        return;
    }
    let columns = [
        Column::text("step", 16, 0),
        Column::number("attempts", 10, 1),
        Column::number("p50", 10, 1),
        Column::number("p95", 10, 1),
        Column::number("p99", 10, 1),
        Column::number("max", 10, 1),
    ];
    let names = order::domain::Step::ALL.iter().map(|step| step.as_str());
    let rows = names.filter_map(|name| {
        let step = summary.steps.get(name)?;
        let p = &step.percentiles;
        let counted = [(name.to_owned(), theme.strong()), (words::count(step.count), theme.text())];
        let times = [p.p50_us, p.p95_us, p.p99_us, p.max_us].map(|us| (micros(us), theme.text()));
        Some(counted.into_iter().chain(times).collect())
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let area = section(buf, below(area, 1), theme, "Saga steps", &[("times without the warm-up", theme.faint())]);
    table(buf, area, &columns, [&titles(theme, &columns)].into_iter().chain(&rows));
}
