//! Reads YAML into a tree and remembers where every node stands.
//!
//! One parser reads the file once, so that a value and its place can never disagree. Scalars are kept
//! as they are written (`0.10`, `no` and `042` stay that): what a text means is decided by the key it
//! stands under, not guessed from its looks. What a scenario has no use for and a reader could trip
//! over is refused here: anchors and aliases (a few lines of them can unfold to gigabytes), tags,
//! several documents, keys written twice.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_yaml::{Mapping, Value};

use super::error::{Problems, quote};
use super::places::{NodePath, Place, Places, Spot};

/// How deep lists and maps may stand inside each other.
const DEPTH_MAX: usize = 32;
/// How many keys, values, lists and maps a file may hold.
const NODES_MAX: usize = 50_000;

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
        self.places.note(path, key, key.filter(|_| empty).unwrap_or_else(|| spot(span)));
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
