//! The verdict's oracles: the books (what the shop wrote down) and the witness (what clients saw).

pub mod books;
mod cache;
pub mod export;
pub mod invariants;
pub mod manifest;
mod messages;
pub mod postgres;
pub mod rows;
pub mod shelf;
pub mod sqlite;
pub mod witness;

use serde::{Deserialize, Serialize};

/// One invariant's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub name: String,
    /// How many orders, products or answers were looked at.
    pub checked: u64,
    pub violations: u64,
    /// The first few, each naming its order or product.
    /// Where nothing was checked: why not.
    pub examples: Vec<String>,
    /// Why it has no meaning for these books, if it has none: it is then neither kept nor broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_applicable: Option<String>,
}

/// How many examples are kept of each.
const EXAMPLES_MAX: usize = 5;

impl Finding {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), checked: 0, violations: 0, examples: Vec::new(), not_applicable: None }
    }

    /// It has no meaning for these books.
    pub fn not_applicable(name: &str, why: &str) -> Self {
        Self { not_applicable: Some(why.to_owned()), ..Self::new(name) }
    }

    /// What it is about could not be looked at.
    pub fn unseen(name: &str, why: String) -> Self {
        Self { examples: vec![why], ..Self::new(name) }
    }

    /// Why it could not be looked at, if it could not.
    pub fn why_unseen(&self) -> Option<&str> {
        let unseen = self.checked == 0 && self.violations == 0;
        self.examples.first().filter(|_| unseen).map(String::as_str)
    }

    /// Looked at one more; it holds if `violation` is `None`.
    pub fn check(&mut self, violation: Option<String>) {
        self.checked += 1;
        if let Some(violation) = violation {
            self.violations += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(violation);
            }
        }
    }

    /// Shorthand: looked at one more, and said what is wrong unless it `holds`.
    pub fn expect(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        self.check((!holds).then(violation));
    }
}
