//! Faults that a role can be told to suffer: the vocabulary, shared by scenario files, the command
//! line and the roles themselves.
//!
//! Each role declares the targets that it stands for ([`Target`]), as it declares its settings. A
//! [`Fault`] is one of them with every name known and every value possible. While a role runs, a
//! [`Switchboard`] keeps the faults that it suffers, and [`http`] is where it is told of them.

pub mod http;
mod switchboard;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::settings::{DurationRange, duration, share};

pub use switchboard::{ACTIVE_MAX, Active, Because, HISTORY_MAX, LASTS_MAX, Lifted, NotInjected, Switchboard};

/// Stands for a role in targets that no role is told of: links, processes, clocks.
pub const WORLD: &str = "world";

/// Something that can be broken on purpose.
#[derive(Debug, PartialEq)]
pub struct Target {
    /// As it is written in a scenario.
    pub name: &'static str,
    /// The role that is told, or [`WORLD`].
    pub role: &'static str,
    pub kinds: &'static [Kind],
}

/// A way to break it.
#[derive(Debug, PartialEq)]
pub struct Kind {
    pub name: &'static str,
    /// One line for people: what the target then does.
    pub meaning: &'static str,
    pub parameters: &'static [Parameter],
}

/// A value that a kind takes.
#[derive(Debug, PartialEq)]
pub struct Parameter {
    pub name: &'static str,
    pub shape: Shape,
    /// `None` where it has to be given.
    pub default: Option<&'static str>,
    pub meaning: &'static str,
}

/// What a parameter's text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// From 0 to 1.
    Share,
    /// A duration, or an inclusive range of durations to draw from.
    Durations,
    /// A duration that may go back: `-3s`.
    Offset,
    /// A whole number from 1 on.
    Count,
}

/// A parameter's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Share(f64),
    Durations(DurationRange),
    /// Microseconds.
    Offset(i64),
    Count(u64),
}

/// A fault that can be injected.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// 1 to 48 of `a-z 0-9 -`; unique among those that are active at once.
    pub name: String,
    pub target: &'static Target,
    pub kind: &'static Kind,
    /// One for each parameter of the kind, as written or its default.
    pub written: BTreeMap<&'static str, String>,
    pub values: BTreeMap<&'static str, Value>,
}

/// Why there is no such fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a fault's name is 1 to 48 of a-z, 0-9 and `-`, not `{0}`")]
    Name(String),
    #[error("`{target}` has no fault of kind `{kind}`; it has {}", known.join(", "))]
    Kind { target: &'static str, kind: String, known: Vec<&'static str> },
    #[error("`{kind}` has no parameter `{parameter}`")]
    Parameter { kind: &'static str, parameter: String, known: Vec<&'static str> },
    #[error("`{kind}` needs `{parameter}`: {meaning}")]
    Missing { kind: &'static str, parameter: &'static str, meaning: &'static str },
    #[error("`{parameter}`: {why}")]
    Value { parameter: &'static str, why: String },
}

impl Unfit {
    /// What could have been meant instead, as a question; for a parameter that nothing comes near,
    /// what there is.
    pub fn hint(&self) -> Option<String> {
        let (given, known) = match self {
            Self::Kind { kind, known, .. } => (kind, known),
            Self::Parameter { parameter, known, .. } => (parameter, known),
            _ => return None,
        };
        let distance = |name: &str| strsim::damerau_levenshtein(given, name);
        let nearest = known.iter().copied().min_by_key(|name| distance(name));
        match nearest.filter(|name| distance(name) <= 1 + name.len() / 4) {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None if matches!(self, Self::Kind { .. }) => None,
            None if known.is_empty() => Some("it takes none".to_owned()),
            None => Some(format!("it takes {}", known.join(", "))),
        }
    }
}

impl Target {
    pub fn kind(&self, name: &str) -> Option<&'static Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// The fault of this kind under this name.
    ///
    /// # Errors
    /// What does not fit, one thing at a time.
    pub fn fault(&'static self, name: &str, kind: &str, parameters: &BTreeMap<String, String>) -> Result<Fault, Unfit> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=48).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(Unfit::Name(name.to_owned()));
        }
        let known = || self.kinds.iter().map(|kind| kind.name).collect();
        let kind =
            self.kind(kind).ok_or_else(|| Unfit::Kind { target: self.name, kind: kind.to_owned(), known: known() })?;
        let (written, values) = kind.read(parameters)?;
        Ok(Fault { name: name.to_owned(), target: self, kind, written, values })
    }
}

type Read = (BTreeMap<&'static str, String>, BTreeMap<&'static str, Value>);

impl Kind {
    fn read(&'static self, given: &BTreeMap<String, String>) -> Result<Read, Unfit> {
        let known = |name: &String| self.parameters.iter().any(|parameter| parameter.name == name);
        if let Some(parameter) = given.keys().find(|name| !known(name)) {
            let known = self.parameters.iter().map(|parameter| parameter.name).collect();
            return Err(Unfit::Parameter { kind: self.name, parameter: parameter.clone(), known });
        }
        let (mut written, mut values) = Read::default();
        for parameter in self.parameters {
            let text = given.get(parameter.name).map(String::as_str).or(parameter.default);
            let missing = Unfit::Missing { kind: self.name, parameter: parameter.name, meaning: parameter.meaning };
            let text = text.ok_or(missing)?;
            let value = parameter.shape.read(text);
            values.insert(parameter.name, value.map_err(|why| Unfit::Value { parameter: parameter.name, why })?);
            written.insert(parameter.name, text.to_owned());
        }
        Ok((written, values))
    }
}

impl Shape {
    /// # Errors
    /// When the text is none.
    pub fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Share => share(text).map(Value::Share),
            Self::Durations => text.parse().map(Value::Durations),
            Self::Offset => offset(text).map(Value::Offset),
            Self::Count => count(text).map(Value::Count),
        }
    }
}

/// Longest jump of a clock.
const OFFSET_MAX: Duration = Duration::from_secs(24 * 3600);
/// Greatest count.
const COUNT_MAX: u64 = 1_000_000;

fn offset(text: &str) -> Result<i64, String> {
    let (sign, length) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let length = duration(length).map_err(|_| format!("`{text}` is not a jump; write it like 5s or -500ms"))?;
    if length.is_zero() || length > OFFSET_MAX {
        return Err(format!("`{text}` is not a jump of 1us to 24h, forwards or back"));
    }
    Ok(sign * i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

fn count(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=COUNT_MAX).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a whole number from 1 to {COUNT_MAX}"))
}

impl Fault {
    /// A jump that its kind has, in microseconds; zero for one that it has not.
    pub fn offset(&self, parameter: &str) -> i64 {
        match self.values.get(parameter) {
            Some(Value::Offset(micros)) => *micros,
            _ => 0,
        }
    }

    /// A count that its kind has; one for one that it has not.
    pub fn count(&self, parameter: &str) -> u64 {
        match self.values.get(parameter) {
            Some(Value::Count(count)) => *count,
            _ => 1,
        }
    }

    /// A share that its kind has; zero for one that it has not.
    pub fn share(&self, parameter: &str) -> f64 {
        match self.values.get(parameter) {
            Some(Value::Share(share)) => *share,
            _ => 0.0,
        }
    }

    /// Durations that its kind has.
    pub fn durations(&self, parameter: &str) -> Option<DurationRange> {
        match self.values.get(parameter) {
            Some(Value::Durations(range)) => Some(*range),
            _ => None,
        }
    }
}

/// `<target> latency(latency=300ms..600ms)`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target.name, self.kind.name)?;
        let parameters: Vec<String> = self.written.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if parameters.is_empty() { Ok(()) } else { write!(f, "({})", parameters.join(", ")) }
    }
}
