//! Small things that the pages are made of. Each draws inside the area it is given, and no further.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::tui::theme::Theme;

/// Text from column `x` of row `y` of the area on; answers the column after it.
pub fn put(buf: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    if y >= area.height || x >= area.width {
        return x;
    }
    // Nothing of what was there before shows through.
    let style = Style::reset().patch(style);
    let (end, _) = buf.set_stringn(area.x + x, area.y + y, text, usize::from(area.width - x), style);
    end.saturating_sub(area.x)
}

/// Pieces of text one after the other.
pub fn puts(buf: &mut Buffer, area: Rect, x: u16, y: u16, pieces: &[(&str, Style)]) -> u16 {
    pieces.iter().fold(x, |x, (text, style)| put(buf, area, x, y, text, *style))
}

/// Text that ends with the area.
pub fn put_right(buf: &mut Buffer, area: Rect, y: u16, text: &str, style: Style) {
    put(buf, area, area.width.saturating_sub(width(text)), y, text, style);
}

/// How many columns the text takes.
pub fn width(text: &str) -> u16 {
    u16::try_from(ratatui::text::Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// The text, cut with an ellipsis where it is longer than `columns`.
pub fn fit(text: &str, columns: u16) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if width(&kept) + width(c.encode_utf8(&mut [0; 4])) >= columns {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The first row of a section: its name, what belongs beside it, and a rule to the end. Answers what is
/// left of the area.
pub fn section(buf: &mut Buffer, area: Rect, theme: Theme, name: &str, beside: &[(&str, Style)]) -> Rect {
    let mut x = put(buf, area, 0, 0, name, theme.title());
    for (text, style) in beside {
        if x + 2 + width(text) > area.width {
            break;
        }
        x = put(buf, area, x + 2, 0, text, *style);
    }
    if x + 1 < area.width {
        put(buf, area, x + 1, 0, &"─".repeat(usize::from(area.width - x - 1)), theme.faint());
    }
    below(area, 1)
}

/// The area without its first rows.
pub fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

/// The area's first rows, and the rest.
pub fn split_rows(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    (Rect { height: rows, ..area }, below(area, rows))
}

/// The area's first columns, and the rest after a gap.
pub fn split_columns(area: Rect, columns: u16, gap: u16) -> (Rect, Rect) {
    let columns = columns.min(area.width);
    let taken = (columns + gap).min(area.width);
    (Rect { width: columns, ..area }, Rect { x: area.x + taken, width: area.width - taken, ..area })
}

/// A bar of eighths of a column; what is not nothing is seen.
pub fn bar(share: f64, columns: u16) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let all = f64::from(columns) * 8.0;
    let eighths = (share.clamp(0.0, 1.0) * all).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let mut text = "█".repeat(eighths / 8);
    if let Some(part) = (eighths % 8).checked_sub(1).and_then(|part| EIGHTHS.get(part)) {
        text.push(*part);
    }
    text
}

/// A bar on its whole length: so many columns from `(x, y)` on.
pub fn gauge(buf: &mut Buffer, area: Rect, (x, y): (u16, u16), columns: u16, share: f64, style: Style) {
    let bar = bar(share, columns);
    let rest = "·".repeat(usize::from(columns.saturating_sub(width(&bar))));
    puts(buf, area, x, y, &[(&bar, style), (&rest, Style::new().add_modifier(Modifier::DIM))]);
}

/// A column for each number, as high as its part of the highest.
pub fn columns(numbers: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = numbers.iter().copied().max().unwrap_or_default().max(1);
    let height = |number: &u64| match number {
        0 => '·',
        number => {
            let place = (*number as f64 / highest as f64 * 8.0).ceil() as usize;
            HEIGHTS.get(place.clamp(1, 8) - 1).copied().unwrap_or('█')
        }
    };
    numbers.iter().map(height).collect()
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    pub title: &'a str,
    pub width: u16,
    /// The highest are left out first; 0 never is.
    pub rank: u8,
    pub right: bool,
}

impl<'a> Column<'a> {
    pub const fn text(title: &'a str, width: u16, rank: u8) -> Self {
        Self { title, width, rank, right: false }
    }

    pub const fn number(title: &'a str, width: u16, rank: u8) -> Self {
        Self { title, width, rank, right: true }
    }
}

pub type Cell = (String, Style);

/// Between columns.
const GAP: u16 = 1;

/// Which columns fit: by rank, and of equal rank the first.
fn chosen(columns: &[Column], width: u16) -> Vec<usize> {
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|place| columns.get(*place).map(|column| column.rank));
    let (mut chosen, mut used) = (Vec::new(), 0);
    for place in by_rank {
        let Some(column) = columns.get(place) else { continue };
        if column.rank > 0 && used + column.width > width {
            continue;
        }
        used += column.width + GAP;
        chosen.push(place);
    }
    chosen.sort_unstable();
    chosen
}

/// The titles of columns, as a row.
pub fn titles(theme: Theme, columns: &[Column]) -> Vec<Cell> {
    columns.iter().map(|column| (column.title.to_owned(), theme.faint())).collect()
}

/// Rows under each other; columns that do not fit are left out. Answers what is left of the area.
pub fn table<'a>(
    buf: &mut Buffer,
    area: Rect,
    columns: &[Column],
    rows: impl IntoIterator<Item = &'a Vec<Cell>>,
) -> Rect {
    let chosen = chosen(columns, area.width);
    let mut y = 0;
    for row in rows {
        let mut x = 0;
        for column in &chosen {
            let (Some(column), Some((text, style))) = (columns.get(*column), row.get(*column)) else { continue };
            let text = fit(text, column.width);
            let indent = if column.right { column.width - width(&text) } else { 0 };
            put(buf, area, x + indent, y, &text, *style);
            x += column.width + GAP;
        }
        y += 1;
    }
    below(area, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_the_little_and_end_with_their_length() {
        assert_eq!([0.0, 0.001, 0.5, 1.0, 7.0].map(|share| bar(share, 4)), ["", "▏", "██", "████", "████"]);
        assert_eq!(columns(&[0, 1, 50, 100]), "·▁▄█");
        assert_eq!(columns(&[]), "");
    }

    #[test]
    fn columns_of_the_highest_rank_go_first() {
        let columns = [Column::text("a", 10, 0), Column::text("b", 5, 2), Column::text("c", 5, 1)];
        assert_eq!(chosen(&columns, 22), [0, 1, 2]);
        assert_eq!(chosen(&columns, 21), [0, 2]);
        assert_eq!(chosen(&columns, 3), [0], "rank 0 stays whatever the width");
    }

    #[test]
    fn a_text_that_is_too_long_says_so() {
        assert_eq!(["abc", "abcd"].map(|text| fit(text, 3)), ["abc", "ab…"]);
        assert_eq!(fit("abc", 0), "");
    }
}
