//! Lines on axes that begin at nought, as SVG: one panel below the other, all over the same x.

use std::fmt::Write as _;

/// One diagram.
pub struct Panel {
    pub title: &'static str,
    pub series: Vec<Series>,
}

/// One line of it.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 70.0;
/// Room for names beside the lines.
const RIGHT: f64 = 150.0;
const HEAD: f64 = 50.0;
const PANEL: f64 = 190.0;
/// Of a panel, above and below its lines.
const ABOVE: f64 = 28.0;
const BELOW: f64 = 34.0;
/// Between two names.
const LINE: f64 = 15.0;
/// Steps of an axis, about as many.
const STEPS: f64 = 4.0;

/// Told apart also by whoever does not see all colours (Okabe and Ito, 2008, "Color Universal Design").
const COLOURS: [&str; 7] = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The panels, one below the other.
pub fn svg(title: &str, x_title: &str, panels: &[Panel]) -> String {
    let height = HEAD + PANEL * panels.len() as f64 + 20.0;
    let mut svg = String::new();
    // Writing into a String does not fail.
    let _ = write(&mut svg, title, x_title, panels, height);
    svg
}

fn write(svg: &mut String, title: &str, x_title: &str, panels: &[Panel], height: f64) -> std::fmt::Result {
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">"#
    )?;
    writeln!(svg, "<title>{}</title>", escaped(title))?;
    svg.push_str(
        "<style>text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#333}.h{font-size:16px;font-weight:bold}\
         .t{font-weight:bold}.n{text-anchor:end}.m{text-anchor:middle}.g{stroke:#ddd}.a{stroke:#888}\
         polyline{fill:none;stroke-width:1.6}</style>\n",
    );
    writeln!(svg, r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##)?;
    writeln!(svg, r#"<text x="{LEFT}" y="28" class="h">{}</text>"#, escaped(title))?;
    let points = || panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
    let x = Axis::to(points().map(|(x, _)| *x).fold(0.0, f64::max));
    for (number, panel) in panels.iter().enumerate() {
        self::panel(svg, panel, &x, HEAD + PANEL * number as f64)?;
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    writeln!(svg, r#"<text x="{middle}" y="{}" class="m">{}</text>"#, height - 10.0, escaped(x_title))?;
    svg.write_str("</svg>\n")
}

fn panel(svg: &mut String, panel: &Panel, x: &Axis, top: f64) -> std::fmt::Result {
    let y = Axis::to(panel.series.iter().flat_map(|series| &series.points).map(|(_, y)| *y).fold(0.0, f64::max));
    let (upper, lower) = (top + ABOVE, top + PANEL - BELOW);
    let across = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
    let up = |value: f64| lower - y.share(value) * (lower - upper);
    writeln!(svg, r#"<text x="{LEFT}" y="{:.1}" class="t">{}</text>"#, top + 16.0, escaped(panel.title))?;
    for value in y.steps() {
        let (at, end, class) = (up(value), WIDTH - RIGHT, if value > 0.0 { "g" } else { "a" });
        writeln!(svg, r#"<line x1="{LEFT}" y1="{at:.1}" x2="{end}" y2="{at:.1}" class="{class}"/>"#)?;
        writeln!(svg, r#"<text x="{}" y="{:.1}" class="n">{}</text>"#, LEFT - 6.0, at + 4.0, grouped(value))?;
    }
    for value in x.steps() {
        // The last one ends with its axis, beside which the names stand.
        let class = if x.share(value) < 1.0 { "m" } else { "n" };
        writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" class="{class}">{}</text>"#,
            across(value),
            lower + 16.0,
            grouped(value)
        )?;
    }
    // A name stands where its line ends, or below the one above it.
    let mut ends: Vec<(f64, usize)> = Vec::new();
    for (number, series) in panel.series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> =
            series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y))).collect();
        writeln!(svg, r#"<polyline points="{}" stroke="{colour}"/>"#, points.join(" "))?;
        ends.extend(series.points.last().map(|(_, y)| (up(*y), number)));
    }
    ends.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut free = f64::MIN;
    let spare = ends.len() as f64 * LINE;
    for (number, (at, of)) in ends.into_iter().enumerate() {
        // Those below it need room too.
        let lowest = lower + BELOW - spare + LINE * number as f64;
        let at = at.min(lowest).max(free);
        free = at + LINE;
        let (x, colour, name) = (WIDTH - RIGHT + 8.0, COLOURS[of % COLOURS.len()], escaped(&panel.series[of].name));
        writeln!(svg, r#"<text x="{x}" y="{:.1}" style="fill:{colour}">{name}</text>"#, at + 4.0)?;
    }
    Ok(())
}

/// From nought to a round number.
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    /// One on which `most` has its place.
    fn to(most: f64) -> Self {
        let rough = if most > 0.0 { most / STEPS } else { 1.0 };
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(power * 10.0);
        Self { step, end: step * (most / step).ceil().max(1.0) }
    }

    fn share(&self, value: f64) -> f64 {
        value / self.end
    }

    fn steps(&self) -> impl Iterator<Item = f64> {
        let (step, count) = (self.step, (self.end / self.step).round() as u32);
        (0..=count).map(move |number| step * f64::from(number))
    }
}

/// With a narrow space between thousands.
fn grouped(value: f64) -> String {
    let text = match value {
        _ if value.fract().abs() < 1e-9 => format!("{value:.0}"),
        ..0.1 => format!("{value:.3}"),
        ..1.0 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    };
    let (whole, part) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let mut grouped = String::new();
    for (number, digit) in whole.chars().enumerate() {
        if number > 0 && (whole.len() - number).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped + &part.map(|part| format!(".{part}")).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_that_holds_everything() {
        for (most, step, end) in
            [(0.0, 1.0, 1.0), (7.0, 2.0, 8.0), (100.0, 50.0, 100.0), (1_000_000.0, 500_000.0, 1e6), (0.3, 0.1, 0.3)]
        {
            let axis = Axis::to(most);
            assert!(
                (axis.step - step).abs() < 1e-6 && (axis.end - end).abs() < 1e-6,
                "{most}: {}, {}",
                axis.step,
                axis.end
            );
        }
    }

    #[test]
    fn figures_are_grouped_by_thousands() {
        assert_eq!([grouped(0.5), grouped(999.0), grouped(1_250_000.0)], ["0.50", "999", "1\u{202f}250\u{202f}000"]);
    }

    #[test]
    fn names_beside_the_lines_do_not_lie_over_each_other() {
        let series = |name: &str| Series { name: name.into(), points: vec![(0.0, 1.0), (10.0, 1.0)] };
        let panel = Panel { title: "a < b", series: ["one", "two", "three"].map(series).into() };
        let text = svg("t", "x", &[panel]);
        let y = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.contains(&format!(">{name}<"))).unwrap();
            line.split_once("y=\"").unwrap().1.split_once('"').unwrap().0.parse().unwrap()
        };
        let mut at = ["one", "two", "three"].map(y);
        at.sort_by(f64::total_cmp);
        assert!(at[1] - at[0] >= LINE && at[2] - at[1] >= LINE, "{at:?}");
        assert!(text.contains("a &lt; b") && text.matches("<polyline").count() == 3);
    }
}
