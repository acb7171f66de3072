//! Sets of seeds: ranges, as `--seeds` takes them and as results keep them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most seeds of one call.
pub const SEEDS_MAX: u64 = 1_000_000;

/// `A..B`, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedRange {
    pub first: u64,
    pub last: u64,
}

impl SeedRange {
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    pub fn is_empty(self) -> bool {
        false
    }
}

impl FromStr for SeedRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.trim_start_matches('=').parse::<u64>().ok();
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => Err(format!("the range ends before it starts: {text}")),
            (Some(first), Some(last)) if last - first >= SEEDS_MAX => Err(format!("at most {SEEDS_MAX} seeds at once")),
            (Some(first), Some(last)) => Ok(Self { first, last }),
            _ => Err("write it as A..B, such as 1..1000; both ends are played".into()),
        }
    }
}

impl fmt::Display for SeedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}..{}", self.first, self.last) }
    }
}

/// A set of seeds. Its memory grows with its gaps, not with its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct SeedSet {
    /// First → last, without overlap or contact.
    ranges: BTreeMap<u64, u64>,
}

impl SeedSet {
    pub fn insert(&mut self, seed: u64) {
        if self.contains(seed) {
            return;
        }
        let mut range = (seed, seed);
        if let Some((first, last)) = self.before(seed)
            && last.checked_add(1) == Some(seed)
        {
            range.0 = first;
        }
        if let Some(next) = seed.checked_add(1)
            && let Some(last) = self.ranges.remove(&next)
        {
            range.1 = last;
        }
        self.ranges.insert(range.0, range.1);
    }

    pub fn contains(&self, seed: u64) -> bool {
        self.before(seed).is_some_and(|(_, last)| last >= seed)
    }

    fn before(&self, seed: u64) -> Option<(u64, u64)> {
        self.ranges.range(..=seed).next_back().map(|(first, last)| (*first, *last))
    }

    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl From<SeedSet> for Vec<String> {
    fn from(set: SeedSet) -> Self {
        set.ranges.into_iter().map(|(first, last)| SeedRange { first, last }.to_string()).collect()
    }
}

impl TryFrom<Vec<String>> for SeedSet {
    type Error = String;

    fn try_from(ranges: Vec<String>) -> Result<Self, String> {
        let mut set = Self::default();
        for text in ranges {
            let (first, last) = text.split_once("..").unwrap_or((&text, &text));
            let (first, last) = (first.parse::<u64>(), last.parse::<u64>());
            let (Ok(first), Ok(last)) = (first, last) else { return Err(format!("no seeds: {text}")) };
            if first > last || set.ranges.last_key_value().is_some_and(|(_, before)| *before >= first) {
                return Err(format!("no seeds: {text}"));
            }
            set.ranges.insert(first, last);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_has_both_its_ends_and_a_bound() {
        let range: SeedRange = "1..1000".parse().unwrap();
        assert_eq!((range.len(), range.to_string().as_str()), (1000, "1..1000"));
        assert_eq!("7".parse::<SeedRange>().unwrap().to_string(), "7");
        for wrong in ["", "1..", "9..1", "a..b", "0..1000000", "-1..3"] {
            assert!(wrong.parse::<SeedRange>().is_err(), "{wrong}");
        }
        assert!("0..999999".parse::<SeedRange>().is_ok());
    }

    proptest! {
        #[test]
        fn a_set_of_seeds_holds_what_was_put_in(seeds in prop::collection::vec(0..40_u64, 0..40)) {
            let mut set = SeedSet::default();
            seeds.iter().for_each(|seed| set.insert(*seed));
            let expected: BTreeSet<u64> = seeds.iter().copied().collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), expected.len() as u64);
            prop_assert!((0..41).all(|seed| set.contains(seed) == expected.contains(&seed)));
            let gaps = expected.iter().filter(|seed| !expected.contains(&(**seed + 1))).count();
            prop_assert_eq!(Vec::from(set.clone()).len(), gaps);
            prop_assert_eq!(SeedSet::try_from(Vec::from(set.clone())).unwrap(), set);
        }
    }

    #[test]
    fn the_last_seed_there_is_fits_in() {
        let mut set = SeedSet::default();
        set.insert(u64::MAX);
        set.insert(u64::MAX - 1);
        assert_eq!(Vec::from(set), [format!("{}..{}", u64::MAX - 1, u64::MAX)]);
    }
}
