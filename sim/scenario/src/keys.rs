//! What the keys of a scenario are, as data. Each section declares its own beside its parser and with
//! the parser's bounds; the JSON Schema and the reference are made from that.

use std::time::Duration;

use super::check::shown;

/// A key of one of the file's maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub need: Need,
    /// One line for people.
    pub meaning: &'static str,
}

/// What happens when a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    /// This is read instead.
    Default(&'static str),
    /// Nothing is read, which the meaning explains.
    Optional,
}

/// What may stand under a key. Numbers and durations include both of their ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Version,
    /// Of a scenario or a fault: see [`super::check::is_name`].
    Name,
    /// On one line, unless it may be empty.
    Text {
        longest: usize,
        empty: bool,
    },
    Whole(u64, u64),
    /// A list of so many whole numbers at most, each from 0 to the first of the two.
    Numbers(u64, usize),
    /// Decimals from 0 on; how many are too many depends on other keys.
    Rate,
    /// Decimals from 0 to 1.
    Share,
    Duration(Duration, Duration),
    /// A duration or a range of durations.
    Durations(Duration),
    /// A number of units or a range of them.
    Quantity(u32),
    /// Units of a currency.
    Price(i64),
    /// A SKU that the file makes up.
    OwnSku,
    /// The SKU of a product, or `any`.
    Pick,
    Executor,
    Target,
    Kind,
    /// A section, described under this name.
    Map(&'static str),
    /// Names of the author's choice, each with a section.
    Named(&'static str, usize),
    /// So many sections at least, and at most.
    List(&'static str, usize, usize),
}

impl Shape {
    /// For people.
    pub(super) fn words(self) -> String {
        match self {
            Self::Version => format!("`{}`", super::VERSION),
            Self::Name => "1 to 48 of `a-z`, `0-9` and `-`".into(),
            Self::Text { longest, empty: true } => format!("a text, at most {} characters", grouped(longest as u64)),
            Self::Text { longest, .. } => format!("a text on one line, 1 to {} characters", grouped(longest as u64)),
            Self::Whole(low, u64::MAX) => format!("a whole number from {low} on"),
            Self::Whole(low, high) => format!("a whole number, {} to {}", grouped(low), grouped(high)),
            Self::Numbers(high, most) => {
                format!("a list of 1 to {} whole numbers, 0 to {}", grouped(most as u64), grouped(high))
            }
            Self::Share => "a share from 0 to 1".into(),
            Self::Rate => "a number from 0 on, decimals allowed".into(),
            Self::Duration(low, high) => format!("a duration, {} to {}", shown(low), shown(high)),
            Self::Durations(longest) => format!("a duration or a range of them, at most {}", shown(longest)),
            Self::Quantity(most) => format!("`N` or `N..M`, 1 to {}", grouped(most.into())),
            Self::Price(most) => {
                format!("an amount such as `129.00 EUR`, 0.01 to {}", grouped(most.unsigned_abs()))
            }
            Self::OwnSku => "1 to 64 letters, digits, `.`, `_`, `-`; neither `any` nor `GEN-…`".into(),
            Self::Pick => "a SKU of the catalogue, or `any`".into(),
            Self::Executor => "one of the executors".into(),
            Self::Target => "one of the targets".into(),
            Self::Kind => "one of the target's kinds".into(),
            Self::Map(section) => format!("see `{section}`"),
            Self::Named(section, most) => format!("at most {} by name: see `{section}`", grouped(most as u64)),
            Self::List(section, low, high) => {
                format!("a list of {low} to {}: see `{section}`", grouped(high as u64))
            }
        }
    }
}

/// `1000000` as `1,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
