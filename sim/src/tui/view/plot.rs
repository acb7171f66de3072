//! Curves over time, drawn with braille dots on a grid that other rows can be aligned with.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::widgets::{put, width};
use super::words;
use crate::tui::theme::Theme;

/// The columns left of a plot: its scale.
pub const GUTTER: u16 = 9;

/// What the vertical axis means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Rates, from 0.
    PerSecond { max: f64 },
    /// Latencies in microseconds, by their logarithm.
    Latency { low: f64, high: f64 },
}

impl Scale {
    /// From 0 to a round number that is not below any of `values`.
    pub fn per_second(values: impl Iterator<Item = f64>) -> Self {
        let highest = values.fold(1.0, f64::max);
        Self::PerSecond { max: round_up(highest) }
    }

    /// Between round numbers around `values`; 1 to 100 ms without any.
    pub fn latency(values: impl Iterator<Item = u64>) -> Self {
        let (mut low, mut high) = (u64::MAX, 0);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        if high == 0 {
            return Self::Latency { low: 1e3, high: 1e5 };
        }
        let low = 10_f64.powf((low.max(1) as f64).log10().floor());
        let high = round_up(high as f64).max(low * 10.0);
        Self::Latency { low, high }
    }

    /// From 0 at the bottom to 1 at the top.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::PerSecond { max } => value / max,
            Self::Latency { low, high } => (value.max(low) / low).log10() / (high / low).log10(),
        }
    }

    /// Round values to name at an axis of so many rows, the more important ones first.
    fn marks(self, rows: u16) -> Vec<(f64, String)> {
        let per_second = |value: f64| (value, words::rate(value));
        let latency = |value: f64| (value, words::scale_us(value));
        match self {
            Self::PerSecond { max } => {
                // As many steps as there are rows for, each of them a round one.
                let fits = |parts: &&u16| rows > 2 * **parts && (max / f64::from(**parts)).fract() < 1e-9;
                let parts = [5, 4, 3, 2].iter().find(fits).copied().unwrap_or(1);
                (0..=parts).map(|part| per_second(max * f64::from(part) / f64::from(parts))).collect()
            }
            Self::Latency { low, high } => {
                let mut marks = vec![latency(high), latency(low)];
                let decades = std::iter::successors(Some(low * 10.0), |value| Some(value * 10.0));
                let decades: Vec<f64> = decades.take_while(|value| *value < high).collect();
                marks.extend(decades.iter().map(|value| latency(*value)));
                let between = std::iter::once(&low).chain(&decades).flat_map(|value| [value * 5.0, value * 2.0]);
                marks.extend(between.filter(|value| *value < high).map(latency));
                marks
            }
        }
    }
}

/// The next round number.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].into_iter();
    steps.map(|step| step * power).find(|step| *step >= value * 0.999_999).unwrap_or(value)
}

/// Points in the order of time; a `None` interrupts the line.
pub struct Curve {
    pub points: Vec<Option<(f64, f64)>>,
    pub style: Style,
    /// Every other dot only: what is planned, not what is.
    pub dotted: bool,
}

/// Draws the scale, the axes and the curves, the first of which lies at the bottom. The curves start
/// [`GUTTER`] columns into the area.
pub fn plot(buf: &mut Buffer, area: Rect, theme: Theme, time: (f64, f64), scale: Scale, curves: &[Curve]) {
    if area.width <= GUTTER || area.height == 0 {
        return;
    }
    axis(buf, area, theme, scale);
    let inner = Rect { x: area.x + GUTTER, width: area.width - GUTTER, ..area };
    let mut dots = Dots::new(inner);
    for curve in curves {
        let place = |point: (f64, f64)| {
            let x = (point.0 - time.0) / (time.1 - time.0);
            (x * f64::from(dots.width - 1), (1.0 - scale.place(point.1).clamp(0.0, 1.0)) * f64::from(dots.height - 1))
        };
        let placed: Vec<Option<(f64, f64)>> = curve.points.iter().map(|point| point.map(place)).collect();
        let mut before = None;
        for point in placed {
            if let Some(to) = point {
                dots.line(before.unwrap_or(to), to, curve);
            }
            before = point;
        }
    }
    dots.paint(buf, inner);
}

fn axis(buf: &mut Buffer, area: Rect, theme: Theme, scale: Scale) {
    let rows = area.height;
    let line = GUTTER - 1;
    for y in 0..rows {
        put(buf, area, line, y, "│", theme.faint());
    }
    let mut taken: Vec<u16> = Vec::new();
    let apart = if rows >= 10 { 3 } else { 2 };
    for (value, text) in scale.marks(rows) {
        let y = ((1.0 - scale.place(value)) * f64::from(rows - 1)).round() as u16;
        if taken.iter().any(|other| other.abs_diff(y) < apart) {
            continue;
        }
        taken.push(y);
        put(buf, area, line.saturating_sub(width(&text) + 1), y, &text, theme.faint());
        put(buf, area, line, y, "┤", theme.faint());
    }
}

/// The row below plots: the times, each under its place.
pub fn time_axis(buf: &mut Buffer, area: Rect, theme: Theme, time: (f64, f64)) {
    if area.width <= GUTTER || area.height == 0 {
        return;
    }
    let columns = area.width - GUTTER;
    put(buf, area, GUTTER - 1, 0, &format!("└{}", "─".repeat(usize::from(columns))), theme.faint());
    let long = time.1 - time.0;
    let step = time_step(long, f64::from(columns) / 7.5);
    let mut at = (time.0 / step).ceil() * step;
    let mut free = 0;
    while at <= time.1 + step / 1e6 {
        let x = GUTTER + ((at - time.0) / long * f64::from(columns - 1)).round() as u16;
        let text = words::round_span(at);
        let end = x + width(&text) + 1;
        if x >= free && end <= area.width {
            free = put(buf, area, x, 0, &format!("┴{text}"), theme.faint()) + 1;
        }
        at += step;
    }
}

/// A round number of seconds, so that there are at most `marks` of them.
fn time_step(long: f64, marks: f64) -> f64 {
    const STEPS: [f64; 16] =
        [0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0];
    STEPS.into_iter().find(|step| long / step <= marks.max(1.0)).unwrap_or(long)
}

/// Two by four dots a cell, each cell in the style of what was drawn on it last.
struct Dots {
    width: u16,
    height: u16,
    cells: Vec<(u8, Style)>,
}

/// The dot of each place in a cell, by row and column.
const DOT: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Dots {
    fn new(area: Rect) -> Self {
        let cells = usize::from(area.width) * usize::from(area.height);
        Self { width: area.width * 2, height: area.height * 4, cells: vec![(0, Style::new()); cells] }
    }

    /// A straight line, whatever part of it lies inside.
    fn line(&mut self, from: (f64, f64), to: (f64, f64), curve: &Curve) {
        let (left, right) = (0.0, f64::from(self.width - 1));
        if to.0 < left || from.0 > right {
            return;
        }
        let longest = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        let steps = longest.ceil().clamp(1.0, 20_000.0) as u32;
        for step in 0..=steps {
            let share = f64::from(step) / f64::from(steps);
            let (x, y) = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            if (left..=right).contains(&x.round()) {
                self.dot(x.round() as u16, y.round().max(0.0) as u16, curve);
            }
        }
    }

    fn dot(&mut self, x: u16, y: u16, curve: &Curve) {
        if curve.dotted && (x + y) % 2 == 1 {
            return;
        }
        let place = usize::from(y / 4) * usize::from(self.width / 2) + usize::from(x / 2);
        let dot = DOT.get(usize::from(y % 4)).and_then(|row| row.get(usize::from(x % 2)));
        if let (Some((dots, style)), Some(dot)) = (self.cells.get_mut(place), dot) {
            *dots |= dot;
            *style = curve.style;
        }
    }

    fn paint(&self, buf: &mut Buffer, area: Rect) {
        for (place, (dots, style)) in self.cells.iter().enumerate() {
            let Some(c) = char::from_u32(0x2800 + u32::from(*dots)).filter(|_| *dots != 0) else { continue };
            let (x, y) = (place % usize::from(area.width), place / usize::from(area.width));
            if let Some(cell) = buf.cell_mut((area.x + x as u16, area.y + y as u16)) {
                cell.set_char(c).set_style(*style);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        let per_second = |highest: f64| Scale::per_second([highest].into_iter());
        assert_eq!(per_second(245.0), Scale::PerSecond { max: 250.0 });
        assert_eq!(per_second(0.0), Scale::PerSecond { max: 1.0 });
        assert_eq!(per_second(250.1), Scale::PerSecond { max: 300.0 });
        let latency = |values: &[u64]| Scale::latency(values.iter().copied());
        assert_eq!(latency(&[7_000, 312_000]), Scale::Latency { low: 1e3, high: 4e5 });
        assert_eq!(latency(&[]), Scale::Latency { low: 1e3, high: 1e5 });
        assert_eq!(latency(&[1_000]), Scale::Latency { low: 1e3, high: 1e4 });
    }

    #[test]
    fn a_curve_goes_from_corner_to_corner_and_not_beyond() {
        let area = Rect::new(0, 0, GUTTER + 4, 2);
        let mut buf = Buffer::empty(Rect::new(0, 0, GUTTER + 6, 3));
        let points = vec![Some((0.0, 0.0)), Some((1.0, 10.0)), Some((2.0, 99.0))];
        let curve = Curve { points, style: Style::new(), dotted: false };
        plot(&mut buf, area, Theme::PLAIN, (0.0, 1.0), Scale::PerSecond { max: 10.0 }, &[curve]);
        let row = |y: u16| -> String { (GUTTER..GUTTER + 6).map(|x| buf[(x, y)].symbol()).collect() };
        assert_eq!([row(0), row(1), row(2)], ["  ⡠⠊  ", "⡠⠊    ", "      "]);
    }
}
