//! The streams of the event log: each is declared by the service that publishes to it.

use std::fmt;

/// A stream of the event log. The service that publishes to it declares it; a service that consumes it declares the
/// same name and noun again, because services do not know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    name: &'static str,
    noun: &'static str,
}

/// Where messages go that no consumer can handle: the log's own stream.
pub const DEAD_LETTERS: Stream = Stream::new("DEAD_LETTERS", "dead");

impl Stream {
    /// `name` stands in the log, in metrics and in traces; `noun` is what its aggregates are, in subjects.
    pub const fn new(name: &'static str, noun: &'static str) -> Self {
        Self { name, noun }
    }

    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The subject under which an aggregate's events stand: `events.<noun>.<aggregate>`.
    pub fn subject(self, aggregate: &str) -> String {
        format!("events.{}.{aggregate}", self.noun)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
