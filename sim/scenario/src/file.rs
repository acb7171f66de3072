//! The file as it is written: what serde reads, before any value means anything. Everything is
//! optional here, so that the second stage can name all that is missing at once.

use indexmap::IndexMap;
use serde_yaml::Value;

use super::error::{Problems, quote};
use super::expect::ExpectFile;
use super::fault::FaultFile;
use super::load::GroupFile;
use super::map::Keys;
use super::places::{NodePath, Segment};
use super::shop::ShopFile;

/// How many problems of this stage one reading reports.
const PROBLEMS_MAX: usize = 20;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScenarioFile {
    pub version: Option<String>,
    pub name: Option<String>,
    pub about: Option<String>,
    pub seed: Option<String>,
    pub shop: Option<Keys<ShopFile>>,
    pub load: Option<IndexMap<String, Keys<GroupFile>>>,
    pub faults: Option<Vec<FaultFile>>,
    pub expect: Option<Keys<ExpectFile>>,
    pub warmup: Option<String>,
    pub graceful_stop: Option<String>,
    pub quiescence_timeout: Option<String>,
}

/// Reads the tree as a scenario file. What serde refuses is reported, taken out of the tree, and the
/// rest is read again: serde stops at the first thing it dislikes, people want them all.
pub(super) fn read(mut tree: Value) -> Result<ScenarioFile, Problems> {
    let mut problems = Problems::default();
    loop {
        let error = match serde_path_to_error::deserialize::<_, Keys<ScenarioFile>>(&tree) {
            Ok(Keys(file)) if problems.is_empty() => return Ok(file),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let path = path_of(error.path());
        let culprit = report(&error.into_inner().to_string(), path, &tree, &mut problems);
        if problems.len() >= PROBLEMS_MAX || !remove(&mut tree, &culprit) {
            return Err(problems);
        }
    }
}

fn path_of(path: &serde_path_to_error::Path) -> NodePath {
    let mut known = NodePath::default();
    for segment in path {
        known = match segment {
            serde_path_to_error::Segment::Seq { index } => known.index(*index),
            serde_path_to_error::Segment::Map { key } => known.key(key),
            _ => known,
        };
    }
    known
}

/// Reports what serde said about the node at `path`, and answers with the path of the culprit.
fn report(message: &str, path: NodePath, tree: &Value, problems: &mut Problems) -> NodePath {
    if let Some((name, known)) = unknown_field(message) {
        // serde names the map or the key in it, by where it noticed.
        let own = matches!(path.last(), Some(Segment::Key(key)) if *key == name) && find(tree, &path).is_some();
        let culprit = if own { path } else { path.key(&name) };
        problems.key(&culprit, format!("unknown key {}", quote(&name))).suggest(&name, known);
        return culprit;
    }
    let found = match find(tree, &path) {
        Some(Value::Mapping(_)) => "a map",
        Some(Value::Sequence(_)) => "a list",
        Some(Value::Null) => "nothing",
        _ => "a single value",
    };
    let expected = match message.rsplit_once("expected ").map(|(_, expected)| expected) {
        Some("a string") => "a single value",
        Some("a sequence") => "a list, `[ … ]` or lines with `- `",
        Some("a map") => "a map of keys",
        Some(other) => other,
        None => {
            problems.value(&path, message);
            return path;
        }
    };
    problems.value(&path, format!("{} is {expected}; {found} stands here", super::check::named(&path)));
    path
}

/// The name and its known siblings out of serde's "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<(String, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (name, known) = rest.rsplit_once("`, expected ")?;
    Some((name.to_owned(), known.split('`').skip(1).step_by(2).collect()))
}

fn find<'a>(tree: &'a Value, path: &NodePath) -> Option<&'a Value> {
    path.segments().iter().try_fold(tree, |node, segment| match (node, segment) {
        (Value::Mapping(map), Segment::Key(key)) => map.get(key.as_str()),
        (Value::Sequence(items), Segment::Index(index)) => items.get(*index),
        _ => None,
    })
}

/// Takes the node at `path` out of its map. A list keeps its items: the others would change places.
fn remove(tree: &mut Value, path: &NodePath) -> bool {
    let (Some(parent), Some(Segment::Key(key))) = (path.parent(), path.last()) else { return false };
    let node = parent.segments().iter().try_fold(tree, |node, segment| match (node, segment) {
        (Value::Mapping(map), Segment::Key(key)) => map.get_mut(key.as_str()),
        (Value::Sequence(items), Segment::Index(index)) => items.get_mut(*index),
        _ => None,
    });
    node.and_then(Value::as_mapping_mut).is_some_and(|map| map.shift_remove(key.as_str()).is_some())
}
