//! A word, large: three rows high, each letter drawn with half blocks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::widgets::{put, width};

/// How many rows a large word takes.
pub const ROWS: u16 = 3;

/// Five rows of dots; only the letters of the words that are shown large.
const fn letter(c: char) -> Option<[&'static str; 5]> {
    Some(match c {
        'A' => [" # ", "# #", "###", "# #", "# #"],
        'C' => ["###", "#  ", "#  ", "#  ", "###"],
        'D' => ["## ", "# #", "# #", "# #", "## "],
        'E' => ["###", "#  ", "## ", "#  ", "###"],
        'F' => ["###", "#  ", "## ", "#  ", "#  "],
        'H' => ["# #", "# #", "###", "# #", "# #"],
        'I' => ["#", "#", "#", "#", "#"],
        'L' => ["#  ", "#  ", "#  ", "#  ", "###"],
        'N' => ["#  #", "## #", "# ##", "#  #", "#  #"],
        'O' => ["###", "# #", "# #", "# #", "###"],
        'P' => ["###", "# #", "###", "#  ", "#  "],
        'S' => ["###", "#  ", "###", "  #", "###"],
        'T' => ["###", " # ", " # ", " # ", " # "],
        '-' => ["  ", "  ", "##", "  ", "  "],
        _ => return None,
    })
}

/// Draws the word, in ordinary letters where it would not fit or has none of these. Answers how many
/// columns it took.
pub fn large(buf: &mut Buffer, area: Rect, word: &str, style: Style) -> u16 {
    let letters: Option<Vec<[&str; 5]>> = word.chars().map(letter).collect();
    let Some(letters) = letters.filter(|_| area.height >= ROWS) else {
        return put(buf, area, 0, 0, word, style);
    };
    let rows: Vec<String> = (0..ROWS).map(|row| half_blocks(&letters, usize::from(row) * 2)).collect();
    if rows.iter().any(|row| width(row) > area.width) {
        return put(buf, area, 0, 0, word, style);
    }
    let ends = rows.iter().zip(0..).map(|(row, y)| put(buf, area, 0, y, row, style));
    ends.max().unwrap_or_default()
}

/// Two rows of dots as one of blocks.
fn half_blocks(letters: &[[&str; 5]], row: usize) -> String {
    let dots = |row: usize| -> Vec<u8> {
        let rows = letters.iter().map(|letter| match letter.get(row) {
            Some(dots) => (*dots).to_owned(),
            None => " ".repeat(letter.first().map_or(0, |dots| dots.len())),
        });
        rows.collect::<Vec<_>>().join(" ").into_bytes()
    };
    let pairs = dots(row).into_iter().zip(dots(row + 1));
    let blocks = pairs.map(|pair| match pair {
        (b'#', b'#') => '█',
        (b'#', _) => '▀',
        (_, b'#') => '▄',
        _ => ' ',
    });
    blocks.collect()
}
