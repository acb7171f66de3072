//! What is wrong with a scenario, said as a compiler says it: where, what, the line, and what was
//! probably meant.

use std::fmt;

use super::places::{NodePath, Place, Places, Spot};

/// Beyond this many, more messages help nobody.
const SHOWN_MAX: usize = 50;
/// The widest part of an offending line that is shown, in characters.
const LINE_WIDTH_MAX: usize = 160;
/// The longest text of the author's that a message repeats, in characters.
const QUOTE_MAX: usize = 80;
/// More known names than this are not listed in a help line.
const NAMES_LISTED_MAX: usize = 16;

/// One thing that is wrong, with its place in the file where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    /// What was read: a path, or `--set path=value` when an override is at fault.
    pub origin: String,
    /// 1-based, in characters; absent when the file as a whole or an override is at fault.
    pub spot: Option<Spot>,
    pub message: String,
    pub help: Option<String>,
    /// The offending line, as it stands in the file.
    pub line: Option<String>,
}

/// Everything that was found wrong in one reading, at least one, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioErrors {
    pub errors: Vec<ScenarioError>,
    /// How many more there were than [`errors`](Self::errors) holds.
    pub hidden: usize,
}

impl std::error::Error for ScenarioErrors {}

impl ScenarioErrors {
    /// The file as a whole cannot be read.
    pub(super) fn whole(origin: &str, message: impl Into<String>) -> Self {
        let (spot, help, line) = (None, None, None);
        let error = ScenarioError { origin: origin.to_owned(), spot, message: message.into(), help, line };
        Self { errors: vec![error], hidden: 0 }
    }

    /// Gives each problem its place and its line.
    pub(super) fn locate(problems: Vec<Problem>, source: &Source<'_>, places: &Places) -> Self {
        let mut located: Vec<_> = problems.into_iter().map(|problem| (problem.target.place(places), problem)).collect();
        // Overrides last: they were added last.
        located.sort_by_key(|(place, _)| match place {
            Place::Source(spot) => (0, spot.line, spot.column),
            Place::Override(index) => (1, *index, 0),
        });
        let hidden = located.len().saturating_sub(SHOWN_MAX);
        located.truncate(SHOWN_MAX);
        let errors = located.into_iter().map(|(place, problem)| source.error(place, problem)).collect();
        Self { errors, hidden }
    }
}

/// What was read, as the messages show it.
pub(super) struct Source<'a> {
    pub text: &'a str,
    pub origin: &'a str,
    pub overrides: &'a [(String, String)],
}

impl Source<'_> {
    fn error(&self, place: Place, problem: Problem) -> ScenarioError {
        let Problem { message, help, .. } = problem;
        match place {
            Place::Source(spot) => {
                let line = self.text.lines().nth(spot.line.saturating_sub(1)).map(str::to_owned);
                ScenarioError { origin: self.origin.to_owned(), spot: Some(spot), message, help, line }
            }
            Place::Override(index) => {
                let given = self.overrides.get(index).map(|(path, value)| format!("--set {path}={value}"));
                let origin = clipped(&given.unwrap_or_else(|| "--set".to_owned()));
                ScenarioError { origin, spot: None, message, help, line: None }
            }
        }
    }
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{error}")?;
        }
        match self.hidden {
            0 => Ok(()),
            hidden => write!(f, "\n\n… and {hidden} more"),
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.origin)?;
        if let Some(spot) = self.spot {
            write!(f, ":{}:{}", spot.line, spot.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(spot), Some(line)) = (self.spot, &self.line) {
            let (line, column, width) = window(line, spot);
            let number = spot.line.to_string();
            let (margin, indent) = (" ".repeat(number.len()), " ".repeat(column));
            write!(f, "\n{margin} |\n{number} | {line}\n{margin} | {indent}{}", "^".repeat(width))?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  = help: {help}"),
            None => Ok(()),
        }
    }
}

/// The part of `line` around `spot`, the caret's offset in it, and the caret's width. A terminal
/// never gets a control character from somebody's file.
fn window(line: &str, spot: Spot) -> (String, usize, usize) {
    let at = spot.column.saturating_sub(1);
    let start = if at < LINE_WIDTH_MAX { 0 } else { at - LINE_WIDTH_MAX / 2 };
    let shown: String = line.chars().skip(start).take(LINE_WIDTH_MAX).map(printable).collect();
    let offset = at - start;
    let room = shown.chars().count().saturating_sub(offset);
    (shown.trim_end().to_owned(), offset, spot.width.min(room).max(1))
}

fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// The author's text between backticks: short, and without control characters.
pub(super) fn quote(text: &str) -> String {
    format!("`{}`", clipped(text))
}

fn clipped(text: &str) -> String {
    let shown: String = text.chars().take(QUOTE_MAX).map(printable).collect();
    if text.chars().nth(QUOTE_MAX).is_some() { format!("{shown}…") } else { shown }
}

/// The known name that `text` is most probably a slip of.
pub(super) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 200 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let text = plain(text);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&text, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (text.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What is wrong, and at which node; the line comes later.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub target: Target,
    pub message: String,
    pub help: Option<String>,
}

/// What a problem points at.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// The value at a path.
    Value(NodePath),
    /// The key at the end of a path, or the list item there.
    Key(NodePath),
    Place(Place),
}

impl Target {
    fn place(&self, places: &Places) -> Place {
        match self {
            Self::Value(path) => places.value(path),
            Self::Key(path) => places.key(path),
            Self::Place(place) => *place,
        }
    }
}

/// Collects problems, so that one reading reports them all. The bound on a file's nodes bounds them.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// The value at `path` is wrong.
    pub(super) fn value(&mut self, path: &NodePath, message: impl Into<String>) -> &mut Problem {
        self.push(Target::Value(path.clone()), message.into())
    }

    /// The key that ends `path` is wrong, or what it holds lacks something.
    pub(super) fn key(&mut self, path: &NodePath, message: impl Into<String>) -> &mut Problem {
        self.push(Target::Key(path.clone()), message.into())
    }

    /// Something is wrong at a place that is no node.
    pub(super) fn place(&mut self, place: Place, message: impl Into<String>) -> &mut Problem {
        self.push(Target::Place(place), message.into())
    }

    fn push(&mut self, target: Target, message: String) -> &mut Problem {
        let index = self.0.len();
        // A service that refuses a setting repeats the author's text as it is.
        let message = message.chars().map(printable).collect();
        self.0.push(Problem { target, message, help: None });
        &mut self.0[index]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

impl Problem {
    pub(super) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    /// Adds the nearest of the `known` names to the message, or lists them where none is near.
    pub(super) fn suggest<'a>(&mut self, text: &str, known: impl IntoIterator<Item = &'a str>) {
        let known: Vec<&str> = known.into_iter().collect();
        if let Some(name) = nearest(text, known.iter().copied()) {
            self.message.push_str(&format!(", did you mean `{name}`?"));
        } else if !known.is_empty() {
            self.help = Some(listed(&known));
        }
    }
}

/// `known here: a, b, c`, cut where it would be too long.
fn listed(known: &[&str]) -> String {
    let shown = known.iter().take(NAMES_LISTED_MAX).map(|name| clipped(name)).collect::<Vec<_>>().join(", ");
    let more = known.len().saturating_sub(NAMES_LISTED_MAX);
    if more == 0 { format!("known here: {shown}") } else { format!("known here: {shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_away_or_none() {
        assert_eq!(nearest("durration", ["duration", "target"]), Some("duration"));
        assert_eq!(nearest("start-rate", ["start_rate"]), Some("start_rate"));
        assert_eq!(nearest("zebra", ["duration", "target"]), None);
        assert_eq!(nearest("", ["at"]), None);
    }

    #[test]
    fn a_caret_stands_under_the_place_even_far_to_the_right() {
        let line = format!("{}durration: 4s", " ".repeat(500));
        let (shown, column, width) = window(&line, Spot { line: 1, column: 501, width: 9 });
        let marked: String = shown.chars().skip(column).take(width).collect();
        assert_eq!(marked, "durration");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(quote("a\u{1b}[31m"), "`a [31m`");
    }
}
