//! Reads the texts of a scenario as what their keys say they are. Each function reports what is wrong
//! and then answers with a stand-in, so that one reading finds everything; a scenario with a problem
//! never leaves [`super::parse`], and no stand-in with it.

use std::ops::RangeInclusive;
use std::time::Duration;

use chassis::settings::{DurationRange, duration};

use super::error::{Problem, Problems, quote};
use super::places::{NodePath, Segment};

/// Collects what is wrong while the file's sections are turned into a scenario.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub problems: Problems,
}

impl Check {
    pub(super) fn value(&mut self, at: &NodePath, message: impl Into<String>) -> &mut Problem {
        self.problems.value(at, message)
    }

    pub(super) fn key(&mut self, at: &NodePath, message: impl Into<String>) -> &mut Problem {
        self.problems.key(at, message)
    }

    /// Says that the map at `owner` lacks `key`, if `value` is absent.
    pub(super) fn required<T>(&mut self, value: Option<T>, owner: &NodePath, key: &str) -> Option<T> {
        if value.is_none() {
            // The key itself where it is written without a value, else what it should stand in.
            self.key(&owner.key(key), format!("{} needs `{key}`", named(owner)));
        }
        value
    }

    /// The name of a scenario or a fault.
    pub(super) fn name(&mut self, text: &str, at: &NodePath) {
        if !is_name(text) {
            self.value(at, format!("{} is 1 to 48 of a-z, 0-9 and `-`, not {}", named(at), quote(text)));
        }
    }

    /// A whole number within `range`.
    pub(super) fn whole<N>(&mut self, text: &str, at: &NodePath, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<i128> + Into<u64> + Copy,
    {
        let (low, high): (u64, u64) = ((*range.start()).into(), (*range.end()).into());
        let within = |number: &i128| (i128::from(low)..=i128::from(high)).contains(number);
        let number = text.parse::<i128>().ok().filter(within).and_then(|number| N::try_from(number).ok());
        number.unwrap_or_else(|| {
            let bounds = if high == u64::MAX { format!("from {low} on") } else { format!("from {low} to {high}") };
            self.value(at, format!("{} is a whole number {bounds}, not {}", named(at), quote(text)));
            *range.start()
        })
    }

    /// A finite number within `range`; decimals are allowed.
    pub(super) fn decimal(&mut self, text: &str, at: &NodePath, range: RangeInclusive<f64>) -> f64 {
        match decimal(text).filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let (low, high) = (range.start(), range.end());
                self.value(at, format!("{} is a number from {low} to {high}, not {}", named(at), quote(text)));
                *range.start()
            }
        }
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, text: &str, at: &NodePath, range: RangeInclusive<Duration>) -> Duration {
        match duration(text) {
            Ok(duration) if range.contains(&duration) => return duration,
            Ok(_) => {
                let bounds = format!("from {} to {}", shown(*range.start()), shown(*range.end()));
                self.value(at, format!("{} is a duration {bounds}, not {}", named(at), quote(text)));
            }
            Err(_) => {
                self.value(at, format!("{} is a duration such as 50ms, 1.5s or 2m, not {}", named(at), quote(text)));
            }
        }
        *range.start()
    }

    /// A duration, or a range of durations that ends no later than `longest`.
    pub(super) fn durations(&mut self, text: &str, at: &NodePath, longest: Duration) -> DurationRange {
        let problem = match text.parse::<DurationRange>() {
            Ok(range) if range.high <= longest => return range,
            Ok(_) => format!("{} is at most {}, not {}", named(at), shown(longest), quote(text)),
            Err(_)
                if text.split_once("..").is_some_and(|(low, high)| duration(low).is_ok() && duration(high).is_ok()) =>
            {
                format!("{} ends before it starts: {}", named(at), quote(text))
            }
            Err(_) => {
                format!("{} is a duration such as 50ms or a range such as 50ms..300ms, not {}", named(at), quote(text))
            }
        };
        self.value(at, problem);
        DurationRange { low: Duration::ZERO, high: Duration::ZERO }
    }

    /// A text of 1 to `longest` characters on one line.
    pub(super) fn line(&mut self, text: String, at: &NodePath, longest: usize) -> String {
        let length = text.chars().count();
        if !(1..=longest).contains(&length) || text.chars().any(char::is_control) {
            self.value(at, format!("{} is a text of 1 to {longest} characters on one line", named(at)));
        }
        text
    }
}

/// Whether `text` can name a scenario or a fault: 1 to 48 of `a-z 0-9 -`.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=48).contains(&text.len()) && text.bytes().all(allowed)
}

/// A finite number in plain digits; Rust would read `inf` and `NaN` too.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse::<f64>().ok().filter(|number| plain && number.is_finite())
}

/// The shortest way to write `duration` that is exact to the microsecond.
pub(super) fn shown(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0 => "0s".to_owned(),
        _ if micros.is_multiple_of(3_600_000_000) => format!("{}h", micros / 3_600_000_000),
        _ if micros.is_multiple_of(60_000_000) => format!("{}m", micros / 60_000_000),
        _ if micros.is_multiple_of(1_000_000) => format!("{}s", micros / 1_000_000),
        _ if micros.is_multiple_of(1000) => format!("{}ms", micros / 1000),
        _ => format!("{micros}us"),
    }
}

/// How a message calls the node at `path`: by its last key.
pub(super) fn named(path: &NodePath) -> String {
    let key = path.segments().iter().rev().find_map(|segment| match segment {
        Segment::Key(key) => Some(key),
        Segment::Index(_) => None,
    });
    match (key, path.last()) {
        (None, _) => "the scenario".to_owned(),
        (Some(key), Some(Segment::Index(_))) => format!("an item of {}", quote(key)),
        (Some(key), _) => quote(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(read: impl FnOnce(&mut Check, &NodePath)) -> String {
        let mut check = Check::default();
        read(&mut check, &NodePath::default().key("it"));
        check.problems.into_vec().into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn whole_numbers_have_both_ends() {
        for (text, good) in [("1", true), ("9", true), ("0", false), ("10", false), ("-1", false), ("1.0", false)] {
            let said = message(|check, at| _ = check.whole(text, at, 1..=9_u32));
            assert_eq!(said.is_empty(), good, "{text}: {said}");
        }
        let said =
            message(|check, at| _ = check.whole("99999999999999999999999999999999999999999999", at, 0..=u64::MAX));
        assert!(said.contains("from 0 on"), "{said}");
    }

    #[test]
    fn infinity_is_no_number() {
        for text in ["inf", "NaN", "infinity", "1e999", "", "0x1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_told_how_to_write_one() {
        let said = message(|check, at| _ = check.duration("5", at, Duration::ZERO..=Duration::from_secs(30)));
        assert_eq!(said, "`it` is a duration such as 50ms, 1.5s or 2m, not `5`");
        let said = message(|check, at| _ = check.duration("31s", at, Duration::ZERO..=Duration::from_secs(30)));
        assert_eq!(said, "`it` is a duration from 0s to 30s, not `31s`");
    }
}
