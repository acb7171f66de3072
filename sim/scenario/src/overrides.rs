//! `--set path=value`: changes to the tree before anything in it is read.

use serde_yaml::{Mapping, Value};

use super::error::{Problems, quote};
use super::places::{NodePath, Place, Places, Segment};
use super::yaml;

/// More than this many are no longer typed by a person.
const OVERRIDES_MAX: usize = 1000;
const SEGMENTS_MAX: usize = 16;
/// More names than this are not listed in a message.
const NAMES_MAX: usize = 16;

/// Applies the overrides in their order, and tells `places` where the changed nodes come from.
pub(super) fn apply(overrides: &[(String, String)], tree: &mut Value, places: &mut Places, problems: &mut Problems) {
    for (index, (path, value)) in overrides.iter().enumerate().take(OVERRIDES_MAX) {
        let set = parse_value(value).and_then(|value| set(tree, path, value));
        match set {
            Ok(path) => places.overridden(&path, index),
            Err(message) => {
                problems.place(Place::Override(index), message);
            }
        }
    }
    if overrides.len() > OVERRIDES_MAX {
        problems.place(Place::Override(OVERRIDES_MAX), format!("more than {OVERRIDES_MAX} overrides"));
    }
}

/// The value as the file would hold it: lists and maps in YAML's flow style, everything else a text.
fn parse_value(text: &str) -> Result<Value, String> {
    if text.chars().any(|character| character.is_control() && character != '\t') {
        return Err("the value holds control characters".to_owned());
    }
    if !text.trim_start().starts_with(['[', '{']) {
        return Ok(if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) });
    }
    yaml::read(text).map(|(value, _)| value).map_err(|problems| {
        let first = problems.into_vec().into_iter().next();
        first.map_or_else(|| "not valid YAML".to_owned(), |problem| problem.message)
    })
}

/// Sets the node at the dotted path, and answers with the path as the tree knows it.
fn set(tree: &mut Value, dotted: &str, value: Value) -> Result<NodePath, String> {
    let (mut node, mut rest, mut path) = (tree, dotted, NodePath::default());
    loop {
        let (segment, after) = segment(node, rest, &path)?;
        path = path.with(segment.clone());
        if path.segments().len() > SEGMENTS_MAX {
            return Err("the path is too deep".to_owned());
        }
        if node.is_null() {
            *node = Value::Mapping(Mapping::new());
        }
        let child = match (node, &segment) {
            (Value::Mapping(map), Segment::Key(key)) => map.entry(Value::String(key.clone())).or_insert(Value::Null),
            (Value::Sequence(items), Segment::Index(index)) => {
                items.get_mut(*index).ok_or_else(|| format!("there is no item {index}"))?
            }
            _ => return Err(format!("`{path}` leads nowhere")),
        };
        match after {
            None => {
                *child = value;
                return Ok(path);
            }
            Some(after) => (node, rest) = (child, after),
        }
    }
}

/// Splits the first segment off `rest`, which goes on from `node`. A key that is there and contains
/// dots wins over the first dot; under `shop.settings` the rest is one name.
fn segment<'a>(node: &Value, rest: &'a str, at: &NodePath) -> Result<(Segment, Option<&'a str>), String> {
    let (first, after) = rest.split_once('.').map_or((rest, None), |(first, after)| (first, Some(after)));
    match node {
        Value::Sequence(items) => match first.parse::<usize>() {
            Ok(index) if index < items.len() => Ok((Segment::Index(index), after)),
            _ => item_named(items, rest, at),
        },
        Value::Mapping(map) => {
            let known = map.keys().filter_map(Value::as_str);
            let longest = known.filter(|key| continues(key, rest)).max_by_key(|key| key.len());
            if let Some(key) = longest {
                let after = rest.get(key.len() + 1..);
                return Ok((Segment::Key(key.to_owned()), after));
            }
            if at.to_string() == "load" && after.is_some() {
                let groups = map.keys().filter_map(Value::as_str).map(quote).collect::<Vec<_>>().join(", ");
                return Err(format!("the load has no group {}; it has {groups}", quote(first)));
            }
            new_key(first, rest, after, at)
        }
        Value::Null => new_key(first, rest, after, at),
        _ => Err(format!("`{at}` is a single value; nothing stands inside it")),
    }
}

/// A list's item by the name that it gives itself, as faults do.
fn item_named<'a>(items: &[Value], rest: &'a str, at: &NodePath) -> Result<(Segment, Option<&'a str>), String> {
    let names = || items.iter().zip(0..).filter_map(|(item, index)| Some((item.get("name")?.as_str()?, index)));
    let named = names().filter(|(name, _)| continues(name, rest)).max_by_key(|(name, _)| name.len());
    if let Some((name, index)) = named {
        return Ok((Segment::Index(index), rest.get(name.len() + 1..)));
    }
    let first = quote(rest.split('.').next().unwrap_or_default());
    let known = names().take(NAMES_MAX).map(|(name, _)| quote(name)).collect::<Vec<_>>().join(", ");
    Err(match known.as_str() {
        "" => format!("`{at}` is a list of {}; {first} is no index in it", items.len()),
        known => format!("`{at}` has no item {first}; it has {known}"),
    })
}

fn continues(key: &str, rest: &str) -> bool {
    rest.strip_prefix(key).is_some_and(|after| after.is_empty() || after.starts_with('.'))
}

fn new_key<'a>(
    first: &str,
    rest: &str,
    after: Option<&'a str>,
    at: &NodePath,
) -> Result<(Segment, Option<&'a str>), String> {
    if first.is_empty() {
        return Err("the path has an empty part; write it like `load.buyers.max_vus`".to_owned());
    }
    if at.to_string() == "shop.settings" {
        return Ok((Segment::Key(rest.to_owned()), None));
    }
    Ok((Segment::Key(first.to_owned()), after))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn after(source: &str, path: &str, value: &str) -> Result<Value, String> {
        let (mut tree, _) = yaml::read(source).unwrap();
        set(&mut tree, path, parse_value(value)?)?;
        Ok(tree)
    }

    #[test]
    fn sets_what_is_there_and_what_is_not() {
        for (source, path, value, expected) in [
            ("seed: 1", "seed", "7", "seed: 7"),
            ("a: 1", "seed", "7", "{ a: 1, seed: 7 }"),
            (
                "shop:",
                "shop.settings.acquirer.decline_rate",
                "0.10",
                "shop: { settings: { acquirer.decline_rate: 0.10 } }",
            ),
            ("shop: { settings: { a.b: 1 } }", "shop.settings.a.b", "2", "shop: { settings: { a.b: 2 } }"),
            ("l: { s: [ { t: 1 }, { t: 2 } ] }", "l.s.1.t", "5", "l: { s: [ { t: 1 }, { t: 5 } ] }"),
            ("l: { s: [ 1 ] }", "l.s", "[ a, b ]", "l: { s: [ a, b ] }"),
            ("l: [ { name: a }, { name: b } ]", "l.b.t", "5", "l: [ { name: a }, { name: b, t: 5 } ]"),
            ("l: [ { name: a }, { name: a.b } ]", "l.a.b.t", "5", "l: [ { name: a }, { name: a.b, t: 5 } ]"),
        ] {
            assert_eq!(after(source, path, value), Ok(yaml::read(expected).unwrap().0), "{path}={value}");
        }
    }

    #[test]
    fn refuses_paths_that_lead_nowhere() {
        for (source, path, message) in [
            ("seed: 1", "seed.x", "`seed` is a single value"),
            ("l: [ 1 ]", "l.1", "`l` is a list of 1; `1` is no index in it"),
            ("l: [ 1 ]", "l.x", "`x` is no index in it"),
            ("l: [ { name: a } ]", "l.x.t", "`l` has no item `x`; it has `a`"),
            ("l: [ { name: a } ]", "l.1.t", "`l` has no item `1`; it has `a`"),
            ("seed: 1", "", "an empty part"),
            ("seed: 1", "load..x", "an empty part"),
            ("load: { buyers: {} }", "load.byers.max_vus", "the load has no group `byers`; it has `buyers`"),
        ] {
            let said = after(source, path, "1").unwrap_err();
            assert!(said.contains(message), "{path}: {said}");
        }
        assert!(after("seed: 1", "seed", "[ 1").unwrap_err().contains("not valid YAML"));
    }
}
