//! The second page: every step of the saga, and how long its attempts took.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::widgets::{Cell, Column, below, columns, put, section, table, titles, width};
use super::words;
use crate::tui::state::State;
use crate::tui::theme::Theme;
use experiment::report::terminal::micros;
use experiment::run::glance::{BUCKETS, FIRST_BUCKET_US, Quantiles, StepGlance};

/// Steps that undo what others did.
const COMPENSATIONS: [&str; 3] = ["refund_payment", "release_stock", "cancel"];

const NAME: Column = Column::text("step", 16, 0);
const COUNTS: [Column; 6] = [
    Column::number("attempts", 8, 1),
    Column::number("in flight", 9, 1),
    Column::number("done", 8, 4),
    Column::number("refused", 8, 2),
    Column::number("ongoing", 8, 5),
    Column::number("unknown", 8, 2),
];
const TIMES: [Column; 4] = [
    Column::number("p50", 9, 3),
    Column::number("p95", 9, 2),
    Column::number("p99", 9, 2),
    Column::number("max", 9, 4),
];
/// From this width on everything is in one table.
const ONE_TABLE: u16 = 126;
/// The least that a histogram needs, with its title and its scale.
const HISTOGRAM_COLUMNS: u16 = 2 * BUCKETS as u16 + 2;
const HISTOGRAM_ROWS: u16 = 5;
const HISTOGRAM_ROWS_MAX: u16 = 12;

pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let (back, forward): (Vec<_>, Vec<_>) =
        state.tick.steps.iter().partition(|step| COMPENSATIONS.contains(&step.step));
    if state.tick.steps.is_empty() {
        let area = section(buf, area, theme, "Saga steps", &[]);
        put(buf, area, 0, 0, "No step has been attempted yet.", theme.faint());
        return;
    }
    let range = range_title();
    let spread = Column::text(&range, BUCKETS as u16, 1);
    let rows = (forward.len() + back.len()) as u16;
    let both = area.width < ONE_TABLE && area.height >= 2 * rows + 5;
    let rest = if both {
        let counts = [&[NAME], COUNTS.as_slice()].concat();
        let rest = steps(buf, area, theme, &counts, &forward, &back);
        let times = [&[NAME], TIMES.as_slice(), &[spread]].concat();
        let rest = section(buf, rest, theme, "How long attempts took", &[]);
        let all: Vec<Vec<Cell>> = forward.iter().chain(&back).map(|step| cells(theme, &times, step)).collect();
        table(buf, rest, &times, [&titles(theme, &times)].into_iter().chain(&all))
    } else {
        let all = [&[NAME], COUNTS.as_slice(), TIMES.as_slice(), &[spread]].concat();
        steps(buf, area, theme, &all, &forward, &back)
    };
    let ran: Vec<&StepGlance> = forward.iter().chain(&back).copied().filter(|step| attempts(step) > 0).collect();
    histograms(buf, below(rest, 1), theme, &ran);
}

/// The forward steps, then the compensations. Answers what is left of the area.
fn steps(
    buf: &mut Buffer,
    area: Rect,
    theme: Theme,
    columns: &[Column],
    forward: &[&StepGlance],
    back: &[&StepGlance],
) -> Rect {
    let rows =
        |steps: &[&StepGlance]| -> Vec<Vec<Cell>> { steps.iter().map(|step| cells(theme, columns, step)).collect() };
    let area = section(buf, area, theme, "Forward steps", &[("since the shop's start", theme.faint())]);
    let area = table(buf, area, columns, [&titles(theme, columns)].into_iter().chain(&rows(forward)));
    let area = section(buf, area, theme, "Compensations", &[("what has to be undone", theme.faint())]);
    table(buf, area, columns, &rows(back))
}

fn attempts(step: &StepGlance) -> u64 {
    step.done + step.refused + step.ongoing + step.unknown
}

/// What stands in these columns, by their titles.
fn cells(theme: Theme, columns: &[Column], step: &StepGlance) -> Vec<Cell> {
    let idle = attempts(step) == 0 && step.in_flight == 0;
    let plain = if idle { theme.faint() } else { theme.text() };
    let number = |value: u64, style| (if value == 0 { "–".to_owned() } else { words::count(value) }, style);
    let unless_none = |value: u64, style| if value == 0 { theme.faint() } else { style };
    let took = |of: fn(&Quantiles) -> u64| (micros(step.quantiles.as_ref().map(of)), plain);
    let cell = |column: &Column| match column.title {
        "step" => (step.step.to_owned(), if idle { theme.faint() } else { theme.strong() }),
        "attempts" => number(attempts(step), plain),
        "in flight" => number(step.in_flight, unless_none(step.in_flight, theme.text())),
        "done" => number(step.done, unless_none(step.done, theme.good())),
        "refused" => number(step.refused, unless_none(step.refused, theme.warning())),
        "ongoing" => number(step.ongoing, unless_none(step.ongoing, theme.warning())),
        "unknown" => number(step.unknown, unless_none(step.unknown, theme.bad())),
        "p50" => took(|q| q.p50_us),
        "p95" => took(|q| q.p95_us),
        "p99" => took(|q| q.p99_us),
        "max" => took(|q| q.max_us),
        _ => (self::columns(&step.buckets), if idle { theme.faint() } else { theme.series(0) }),
    };
    columns.iter().map(cell).collect()
}

/// The end of a class, in microseconds; the last one has none, and is named by its beginning.
fn bound_us(class: usize) -> f64 {
    FIRST_BUCKET_US as f64 * 2_f64.powi(class.min(BUCKETS - 2) as i32)
}

/// `128 µs` or `2.1 s`
fn bound(class: usize) -> String {
    let us = bound_us(class);
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e4 => format!("{:.1} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// From the end of the first class to the beginning of the last, over their columns.
fn range_title() -> String {
    let (first, last) = (bound(0), bound(BUCKETS - 1));
    let line = BUCKETS.saturating_sub(usize::from(width(&first) + width(&last)) + 2);
    format!("{first} {} {last}", "─".repeat(line))
}

/// What room is left: the distributions again, large enough to read off their classes.
fn histograms(buf: &mut Buffer, area: Rect, theme: Theme, steps: &[&StepGlance]) {
    let across = (area.width / (HISTOGRAM_COLUMNS + 2)).min(steps.len() as u16);
    if across == 0 || area.height < HISTOGRAM_ROWS + 1 {
        return;
    }
    let beside = "share of attempts by how long they took; classes double";
    let area = section(buf, area, theme, "Distributions", &[(beside, theme.faint())]);
    let lines = (steps.len() as u16).div_ceil(across).min(area.height / HISTOGRAM_ROWS);
    let rows = (area.height / lines).min(HISTOGRAM_ROWS_MAX);
    let columns = area.width / across;
    for (step, place) in steps.iter().take(usize::from(lines * across)).zip(0..) {
        let (column, line) = (place % across, place / across);
        let (x, y) = (area.x + column * columns, area.y + line * rows);
        histogram(buf, Rect { x, y, width: columns - 2, height: rows - 1 }, theme, step);
    }
}

fn histogram(buf: &mut Buffer, area: Rect, theme: Theme, step: &StepGlance) {
    const HEIGHTS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let all: u64 = step.buckets.iter().sum();
    let highest = step.buckets.iter().copied().max().unwrap_or_default();
    let most = format!("highest {}", words::share(highest, all));
    let x = put(buf, area, 0, 0, step.step, theme.strong()) + 2;
    put(buf, area, x, 0, &most, theme.faint());
    let each = (area.width / BUCKETS as u16).clamp(1, 4);
    let rows = area.height.saturating_sub(2);
    for (number, class) in step.buckets.iter().zip(0_u16..) {
        let share = *number as f64 / highest.max(1) as f64;
        let eighths = (share * f64::from(rows) * 8.0).ceil() as u16;
        for row in 0..rows {
            let height = eighths.saturating_sub(8 * row).min(8);
            let mark = HEIGHTS.get(usize::from(height)).copied().unwrap_or("█");
            // A gap between the columns, where there is room for one.
            let mark = mark.repeat(usize::from(each.saturating_sub(1).max(1)));
            put(buf, area, class * each, rows - row, &mark, theme.series(0));
        }
    }
    scale(buf, area, theme, each);
}

/// Below a histogram: where some of its classes end.
fn scale(buf: &mut Buffer, area: Rect, theme: Theme, each: u16) {
    let y = area.height.saturating_sub(1);
    let mut free = 0;
    for class in [0, 3, 6, 9, 12, BUCKETS - 2] {
        // The mark stands where the class ends.
        let x = (class as u16 + 1) * each - 1;
        let text = format!("┴{}", bound(class));
        if x >= free && x + width(&text) <= area.width {
            free = put(buf, area, x, y, &text, theme.faint()) + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_as_wide_as_its_classes() {
        assert_eq!(range_title(), "128 µs ─── 2.1 s");
        assert_eq!(usize::from(width(&range_title())), BUCKETS);
    }

    #[test]
    fn compensations_are_steps_of_the_saga() {
        let all: Vec<&str> = order::domain::Step::ALL.iter().map(|step| step.as_str()).collect();
        assert!(COMPENSATIONS.iter().all(|step| all.contains(step)), "{all:?}");
    }
}
