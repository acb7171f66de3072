//! Where the nodes of a tree stand in the text that they were read from.

use std::collections::BTreeMap;
use std::fmt;

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

    /// Notes a node: where its key stands, if it has one, and its value.
    pub(super) fn note(&mut self, path: &NodePath, key: Option<Spot>, value: Spot) {
        let entry = Entry { key: key.map(Place::Source), value: Place::Source(value) };
        self.0.insert(path.clone(), entry);
    }

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
