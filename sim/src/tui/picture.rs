//! A screen as a picture: SVG that needs no font to be aligned.
//!
//! Every character has its own place on a grid, so that the text can be selected and read back as it
//! is. Boxes, blocks and braille dots, whose glyphs differ from font to font, are drawn as shapes, and
//! their text lies over them unseen.

use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::state::State;
use super::view;

/// A cell, in tenths of a pixel: whole numbers keep the picture the same everywhere.
const CELL: (u32, u32) = (84, 170);
const FONT_SIZE: u32 = 14;
/// From a row's top to its letters' feet.
const BASELINE: u32 = 130;
const MARGIN: u32 = 120;
const BAR: u32 = 340;

const BACKGROUND: &str = "#16181d";
const FRAME: &str = "#2a2d35";
const TEXT: &str = "#d5d8de";

/// The state's screen at this size, as a self-contained SVG.
pub fn render_svg(state: &State, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    // Drawing into memory does not fail.
    let Ok(_) = terminal.draw(|frame| view::draw(state, frame));
    svg(terminal.backend().buffer(), &format!("shopctl run: {}", state.facts.name))
}

/// Tenths of a pixel as pixels.
fn px(tenths: u32) -> String {
    match tenths % 10 {
        0 => format!("{}", tenths / 10),
        part => format!("{}.{part}", tenths / 10),
    }
}

fn svg(buffer: &Buffer, title: &str) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = write(&mut text, buffer, title);
    text
}

fn write(svg: &mut String, buffer: &Buffer, title: &str) -> std::fmt::Result {
    let columns = u32::from(buffer.area.width);
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, u32::from(buffer.area.height) * CELL.1 + BAR + MARGIN);
    let (title, middle) = (escaped(title), width / 2);
    let (w, h) = (px(width), px(height));
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" xml:space="preserve" role="img">"#
    )?;
    writeln!(svg, "<title>{title}</title>")?;
    writeln!(
        svg,
        "<style>text{{font:{FONT_SIZE}px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre;\
         fill:{TEXT}}}.b{{font-weight:bold}}.i{{font-style:italic}}.u{{text-decoration:underline}}.s{{fill-opacity:0}}\
         path,rect{{shape-rendering:crispEdges}}</style>"
    )?;
    writeln!(
        svg,
        r#"<rect width="{w}" height="{h}" rx="8" fill="{BACKGROUND}" stroke="{FRAME}" style="shape-rendering:auto"/>"#
    )?;
    for (place, colour) in [(18, "#ff5f57"), (36, "#febc2e"), (54, "#28c840")] {
        writeln!(svg, r#"<circle cx="{place}" cy="15" r="5.5" fill="{colour}"/>"#)?;
    }
    writeln!(svg, r#"<text x="{}" y="20" text-anchor="middle" class="b">{title}</text>"#, px(middle))?;
    for (row, y) in buffer.content().chunks(usize::from(buffer.area.width).max(1)).zip(0_u32..) {
        self::row(svg, row, BAR + y * CELL.1)?;
    }
    writeln!(svg, "</svg>")
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    front: (u8, u8, u8),
    back: Option<(u8, u8, u8)>,
    bold: bool,
    italic: bool,
    underlined: bool,
    dim: bool,
}

const fn rgb(colour: Color) -> Option<(u8, u8, u8)> {
    Some(match colour {
        Color::Black => (0x2a, 0x2d, 0x35),
        Color::Red | Color::LightRed => (0xf0, 0x6a, 0x6a),
        Color::Green | Color::LightGreen => (0x7e, 0xc9, 0x7a),
        Color::Yellow | Color::LightYellow => (0xe5, 0xc0, 0x5c),
        Color::Blue | Color::LightBlue => (0x6c, 0xa4, 0xf2),
        Color::Magenta | Color::LightMagenta => (0xd0, 0x86, 0xe0),
        Color::Cyan | Color::LightCyan => (0x5c, 0xc8, 0xd6),
        Color::Gray | Color::White => (0xd5, 0xd8, 0xde),
        Color::DarkGray => (0x80, 0x86, 0x92),
        Color::Rgb(r, g, b) => (r, g, b),
        Color::Reset | Color::Indexed(_) => return None,
    })
}

impl Look {
    fn of(cell: &Cell) -> Self {
        let has = |modifier| cell.modifier.contains(modifier);
        let front = rgb(cell.fg).unwrap_or((0xd5, 0xd8, 0xde));
        let (front, back) = if has(Modifier::REVERSED) {
            (rgb(cell.bg).unwrap_or((0x16, 0x18, 0x1d)), Some(front))
        } else {
            (front, rgb(cell.bg))
        };
        Self {
            front,
            back,
            bold: has(Modifier::BOLD),
            italic: has(Modifier::ITALIC),
            underlined: has(Modifier::UNDERLINED),
            dim: has(Modifier::DIM),
        }
    }

    fn fill(self) -> String {
        let (r, g, b) = self.front;
        let dim = if self.dim { r#" fill-opacity=".55""# } else { "" };
        format!(r##"fill="#{r:02x}{g:02x}{b:02x}"{dim}"##)
    }
}

fn row(svg: &mut String, cells: &[Cell], top: u32) -> std::fmt::Result {
    let looks: Vec<Look> = cells.iter().map(Look::of).collect();
    let used = cells.iter().zip(&looks).rposition(|(cell, look)| cell.symbol() != " " || look.back.is_some());
    let Some(last) = used else { return Ok(()) };
    let (cells, looks) = (cells.get(..=last).unwrap_or(cells), looks.get(..=last).unwrap_or(&looks));
    for (first, run) in runs(looks, |a, b| a.back == b.back) {
        if let Some((r, g, b)) = looks.get(first).and_then(|look| look.back) {
            let (x, w) = (px(MARGIN + first as u32 * CELL.0), px(run as u32 * CELL.0));
            let (y, h) = (px(top), px(CELL.1));
            writeln!(svg, r##"<rect x="{x}" y="{y}" width="{w}" height="{h}" fill="#{r:02x}{g:02x}{b:02x}"/>"##)?;
        }
    }
    for (first, run) in runs(looks, |a, b| a == b) {
        let mut path = String::new();
        for (cell, place) in cells.iter().zip(0_u32..).skip(first).take(run) {
            shape(&mut path, cell.symbol(), MARGIN + place * CELL.0, top)?;
        }
        if let Some(look) = looks.get(first).filter(|_| !path.is_empty()) {
            writeln!(svg, r#"<path {} d="{path}"/>"#, look.fill())?;
        }
    }
    // One element a row, so that what is copied is a line.
    write!(svg, r#"<text y="{}">"#, px(top + BASELINE))?;
    for (first, run) in runs(&kinds(cells, looks), |a, b| a == b) {
        let Some(look) = looks.get(first) else { continue };
        span(svg, cells.get(first..first + run).unwrap_or_default(), first as u32, *look)?;
    }
    writeln!(svg, "</text>")
}

/// What a cell's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letters(Look),
    /// Drawn apart; its text is not seen.
    Unseen,
}

/// A space belongs to the words beside it; several are a gap, after which a new piece begins.
fn kinds(cells: &[Cell], looks: &[Look]) -> Vec<Kind> {
    let blank = |place: Option<usize>| place.and_then(|place| cells.get(place)).is_none_or(|cell| cell.symbol() == " ");
    let kind = |(place, (cell, look)): (usize, (&Cell, &Look))| {
        let gap = cell.symbol() == " " && (blank(place.checked_sub(1)) || blank(Some(place + 1)));
        if gap || is_shape(cell.symbol()) { Kind::Unseen } else { Kind::Letters(*look) }
    };
    cells.iter().zip(looks).enumerate().map(kind).collect()
}

/// Stretches of what is alike: where each begins, and how long it is.
fn runs<T>(items: &[T], alike: impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    let mut first = 0;
    let chunks = items.chunk_by(alike).map(|chunk| {
        let begins = first;
        first += chunk.len();
        (begins, chunk.len())
    });
    chunks.collect()
}

fn span(svg: &mut String, cells: &[Cell], first: u32, look: Look) -> std::fmt::Result {
    let text: String = cells.iter().map(Cell::symbol).collect();
    let place = |number: u32| px(MARGIN + (first + number) * CELL.0);
    let places: Vec<String> = (0..cells.len() as u32).map(place).collect();
    if cells.iter().all(|cell| cell.symbol() == " " || is_shape(cell.symbol())) {
        let x = places.first().cloned().unwrap_or_default();
        return write!(svg, r#"<tspan x="{x}" class="s">{}</tspan>"#, escaped(&text));
    }
    let classes = [(look.bold, "b"), (look.italic, "i"), (look.underlined, "u")];
    let classes: Vec<&str> = classes.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
    let class = if classes.is_empty() { String::new() } else { format!(r#" class="{}""#, classes.join(" ")) };
    write!(svg, r#"<tspan x="{}"{class} {}>{}</tspan>"#, places.join(" "), look.fill(), escaped(&text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn is_shape(symbol: &str) -> bool {
    let mut path = String::new();
    shape(&mut path, symbol, 0, 0).is_ok() && !path.is_empty()
}

/// Adds what the character looks like in the cell at `(x, y)`; nothing for letters.
fn shape(path: &mut String, symbol: &str, x: u32, y: u32) -> std::fmt::Result {
    let Some(c) = symbol.chars().next() else { return Ok(()) };
    let (w, h) = CELL;
    let mut rect = |left: u32, top: u32, wide: u32, high: u32| {
        write!(path, "M{} {}h{}v{}h-{}z", px(x + left), px(y + top), px(wide), px(high), px(wide))
    };
    let eighth = |number: u32, whole: u32| whole * number / 8;
    match c {
        '█' => rect(0, 0, w, h),
        '▀' => rect(0, 0, w, h / 2),
        '▁'..='▇' => {
            let high = eighth(u32::from(c) - 0x2580, h);
            rect(0, h - high, w, high)
        }
        '▉'..='▏' => rect(0, 0, eighth(0x2590 - u32::from(c), w), h),
        '░' | '▒' | '▓' => {
            // Eight dots, the larger the denser.
            let size = 10 + 8 * (u32::from(c) - 0x2591);
            (0..8).try_for_each(|dot| rect(dot % 2 * w / 2 + 5, dot / 2 * h / 4 + 5, size, size))
        }
        '\u{2801}'..='\u{28ff}' => {
            const PLACES: [(u32, u32); 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
            let dots = u32::from(c) - 0x2800;
            PLACES
                .iter()
                .zip(0..)
                .filter(|(_, bit)| dots >> bit & 1 == 1)
                .try_for_each(|((column, line), _)| rect(column * w / 2 + 11, line * h / 4 + 11, 20, 20))
        }
        _ => match arms(c) {
            Some([up, right, down, left]) => {
                let (middle_x, middle_y, thick) = (w / 2 - 5, h / 2 - 5, 10);
                let mut arm = |has, a, b, c, d| if has { rect(a, b, c, d) } else { Ok(()) };
                arm(up, middle_x, 0, thick, h / 2 + 5)?;
                arm(right, middle_x, middle_y, w - middle_x, thick)?;
                arm(down, middle_x, middle_y, thick, h - middle_y)?;
                arm(left, 0, middle_y, w / 2 + 5, thick)
            }
            None => Ok(()),
        },
    }
}

/// Where the lines of a box go: up, right, down, left.
const fn arms(c: char) -> Option<[bool; 4]> {
    Some(match c {
        '─' => [false, true, false, true],
        '│' => [true, false, true, false],
        '┤' => [true, false, true, true],
        '└' | '╰' => [true, true, false, false],
        '┴' => [true, true, false, true],
        '╭' => [false, true, true, false],
        '╮' => [false, false, true, true],
        '╯' => [true, false, false, true],
        _ => return None,
    })
}
