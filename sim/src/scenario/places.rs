//! Reads YAML into a tree and remembers where every node stands.
//!
//! One parser reads the file once, so that a value and its place can never disagree. Scalars are kept
//! as they are written (`0.10`, `no` and `042` stay that): what a text means is decided by the key it
//! stands under, not guessed from its looks. What a scenario has no use for and a reader could trip
//! over is refused here: anchors and aliases (a few lines of them can unfold to gigabytes), tags,
//! several documents, keys written twice.

use std::collections::BTreeMap;
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_yaml::{Mapping, Value};

use super::error::{Problems, quote};

/// How deep lists and maps may stand inside each other.
const DEPTH_MAX: usize = 32;
/// How many keys, values, lists and maps a file may hold.
const NODES_MAX: usize = 50_000;

/// A place in the text, in characters; lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub line: usize,
    pub column: usize,
    /// How much of the line is meant, at least 1.
    pub width: usize,
}

/// Where a node came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Source(Spot),
    /// The override with this index.
    Override(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// The way from the root to a node; setting names contain dots, so it is no plain text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodePath(Vec<Segment>);

impl NodePath {
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    pub(super) fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_last()?;
        Some(Self(parent.to_vec()))
    }

    pub(super) fn last(&self) -> Option<&Segment> {
        self.0.last()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(super) fn starts_with(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }
}

/// `load.buyers.stages[1].duration`
impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Option<Place>,
    value: Place,
}

/// Where each node of a tree stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(BTreeMap<NodePath, Entry>);

impl Places {
    const START: Place = Place::Source(Spot { line: 1, column: 1, width: 1 });

    /// Where the value at `path` stands; its key where the value itself starts on a later line or is
    /// empty; the nearest node around it when there is none.
    pub(super) fn value(&self, path: &NodePath) -> Place {
        match self.nearest(path) {
            (Some(Entry { key: Some(Place::Source(key)), value: Place::Source(value) }), true)
                if key.line != value.line =>
            {
                Place::Source(key)
            }
            (Some(entry), true) => entry.value,
            (Some(entry), false) => entry.key.unwrap_or(entry.value),
            (None, _) => Self::START,
        }
    }

    /// Where the key that ends `path` stands, or the value where that is a list item.
    pub(super) fn key(&self, path: &NodePath) -> Place {
        match self.nearest(path) {
            (Some(entry), _) => entry.key.unwrap_or(entry.value),
            (None, _) => Self::START,
        }
    }

    /// The entry of `path` or else of its nearest ancestor, and whether it is its own.
    fn nearest(&self, path: &NodePath) -> (Option<Entry>, bool) {
        if let Some(entry) = self.0.get(path) {
            return (Some(*entry), true);
        }
        let mut ancestor = path.parent();
        while let Some(path) = ancestor {
            if let Some(entry) = self.0.get(&path) {
                return (Some(*entry), false);
            }
            ancestor = path.parent();
        }
        (None, false)
    }

    /// The node at `path` and all below it now come from the override `index`.
    pub(super) fn overridden(&mut self, path: &NodePath, index: usize) {
        self.0.retain(|known, _| !known.starts_with(path));
        let place = Place::Override(index);
        self.0.insert(path.clone(), Entry { key: Some(place), value: place });
    }
}

/// The tree of the only document in `source`, and where its nodes stand.
///
/// # Errors
/// All duplicate keys, or the first thing that cannot be read on from.
pub(super) fn read(source: &str) -> Result<(Value, Places), Problems> {
    let mut problems = Problems::default();
    if let Some(spot) = tab_in_indentation(source) {
        problems.place(Place::Source(spot), "a tab in the indentation; YAML indents with spaces only");
        return Err(problems);
    }
    let events = Parser::new_from_str(source);
    let mut reader = Reader { events, places: Places::default(), problems, nodes: 0, position: Marker::default() };
    match reader.document() {
        Ok(tree) if reader.problems.is_empty() => Ok((tree, reader.places)),
        Ok(_) => Err(reader.problems),
        Err(Stop { spot, message }) => {
            reader.problems.place(Place::Source(spot), message);
            Err(reader.problems)
        }
    }
}

fn tab_in_indentation(source: &str) -> Option<Spot> {
    source.lines().zip(1..).find_map(|(line, number)| {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let column = line[..indentation].find('\t')? + 1;
        // A line of blanks and a comment are no indentation.
        let rest = &line[indentation..];
        (!rest.is_empty() && !rest.starts_with('#')).then_some(Spot { line: number, column, width: 1 })
    })
}

/// What ends a reading at once.
struct Stop {
    spot: Spot,
    message: String,
}

fn stop<T>(span: Span, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop { spot: spot(span), message: message.into() })
}

fn spot(span: Span) -> Spot {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Spot { line: span.start.line().max(1), column: span.start.col() + 1, width: width.max(1) }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    places: Places,
    problems: Problems,
    nodes: usize,
    /// Where the last event ended.
    position: Marker,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.position = span.end;
                Ok((event, span))
            }
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::empty(self.position))),
        }
    }

    fn document(&mut self) -> Result<Value, Stop> {
        let mut tree = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(tree.unwrap_or(Value::Null)),
                Event::DocumentStart(_) if tree.is_some() => {
                    return stop(span, "a second document starts here; a scenario is one document");
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    tree = Some(self.node(event, span, &NodePath::default(), None, 0)?);
                }
                _ => {}
            }
        }
    }

    /// Reads the node that `event` begins, which stands at `path` under the key at `key`.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: &NodePath,
        key: Option<Spot>,
        depth: usize,
    ) -> Result<Value, Stop> {
        self.count(span)?;
        if depth > DEPTH_MAX {
            return stop(span, format!("nested more than {DEPTH_MAX} deep"));
        }
        let empty = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty());
        let place = Place::Source(key.filter(|_| empty).unwrap_or_else(|| spot(span)));
        self.places.0.insert(path.clone(), Entry { key: key.map(Place::Source), value: place });
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_marks(anchor, tag.is_some(), span)?;
                Ok(scalar(&text, style))
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_marks(anchor, tag.is_some(), span)?;
                self.sequence(path, depth)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_marks(anchor, tag.is_some(), span)?;
                self.mapping(path, depth)
            }
            Event::Alias(_) => refuse_marks(1, false, span).map(|()| Value::Null),
            _ => stop(span, "not valid YAML: a value is expected here"),
        }
    }

    fn sequence(&mut self, path: &NodePath, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Sequence(items));
            }
            let item = self.node(event, span, &path.index(items.len()), None, depth + 1)?;
            items.push(item);
        }
    }

    fn mapping(&mut self, path: &NodePath, depth: usize) -> Result<Value, Stop> {
        let mut map = Mapping::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Mapping(map)),
                Event::Scalar(text, _, anchor, tag) => {
                    refuse_marks(anchor, tag.is_some(), span)?;
                    text.into_owned()
                }
                Event::Alias(_) => return refuse_marks(1, false, span).map(|()| Value::Null),
                _ => return stop(span, "a list or a map stands here as a key; keys are plain words"),
            };
            self.count(span)?;
            let at = spot(span);
            let first = lines.get(&key).copied();
            if let Some(line) = first {
                let message = format!("{} is written twice; the first is on line {line}", quote(&key));
                self.problems.place(Place::Source(at), message);
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, &path.key(&key), Some(at), depth + 1)?;
            if first.is_none() {
                lines.insert(key.clone(), at.line);
                map.insert(Value::String(key), value);
            }
        }
    }

    fn count(&mut self, span: Span) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return stop(span, format!("more than {NODES_MAX} keys and values"));
        }
        Ok(())
    }
}

fn refuse_marks(anchor: usize, tag: bool, span: Span) -> Result<(), Stop> {
    if anchor > 0 {
        return stop(span, "anchors (`&`) and aliases (`*`) are not part of a scenario; write the value out");
    }
    if tag {
        return stop(span, "tags (`!`) are not part of a scenario; quote a text that starts with `!`");
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let nothing = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if nothing { Value::Null } else { Value::String(text.to_owned()) }
}

fn syntax(error: &ScanError) -> Stop {
    let marker = *error.marker();
    let message = match error.info() {
        info if info.contains("anchor") => {
            "anchors (`&`) and aliases (`*`) are not part of a scenario; quote a text that starts so".to_owned()
        }
        info if info.contains("recursion limit") => format!("nested more than {DEPTH_MAX} deep"),
        info => format!("not valid YAML: {info}"),
    };
    Stop { spot: spot(Span::empty(marker)), message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spot_of(source: &str, path: &NodePath) -> (usize, usize, usize) {
        let (_, places) = read(source).unwrap();
        match places.value(path) {
            Place::Source(Spot { line, column, width }) => (line, column, width),
            Place::Override(_) => (0, 0, 0),
        }
    }

    #[test]
    fn every_node_has_its_place() {
        let source = "a: 1\nb:\n  - c: x\n    d: { e: yes, \"f g\": [ 1, 2 ] }\n";
        let item = NodePath::default().key("b").index(0);
        assert_eq!(spot_of(source, &NodePath::default().key("a")), (1, 4, 1));
        assert_eq!(spot_of(source, &item.key("c")), (3, 8, 1));
        assert_eq!(spot_of(source, &item.key("d").key("e")), (4, 13, 3));
        assert_eq!(spot_of(source, &item.key("d").key("f g").index(1)), (4, 30, 1));
    }

    #[test]
    fn what_is_missing_is_looked_for_at_the_key_around_it() {
        let source = "load:\n  buyers:\n    vus: 1\n";
        let path = NodePath::default().key("load").key("buyers").key("duration");
        assert_eq!(spot_of(source, &path), (2, 3, 6));
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        assert_eq!(spot_of("{ \"äöü\": 1, b: 2 }", &NodePath::default().key("b")), (1, 16, 1));
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        for text in ["0.10", "no", "042", "1e3", "0x10"] {
            assert_eq!(read(text).unwrap().0, Value::String(text.to_owned()));
        }
        assert_eq!(read("~").unwrap().0, Value::Null);
        assert_eq!(read("'~'").unwrap().0, Value::String("~".to_owned()));
    }

    #[test]
    fn a_path_reads_as_people_write_it() {
        let path = NodePath::default().key("load").key("buyers").key("stages").index(1).key("duration");
        assert_eq!(path.to_string(), "load.buyers.stages[1].duration");
    }
}
