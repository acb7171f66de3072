//! `expect.invariants`: what must be true after a run, and which of it is checked.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::check::Check;
use super::error::quote;
use super::places::NodePath;

/// Something that must be true after every run, whatever the load.
#[derive(Debug, Clone, Copy)]
pub struct Invariant {
    pub name: &'static str,
    pub oracle: Oracle,
    /// One line for people.
    pub meaning: &'static str,
}

/// What an invariant is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oracle {
    /// What the services and the acquirer wrote down.
    Books,
    /// What customers saw.
    Witness,
}

const DESCRIBED: [Invariant; 17] = [
    Invariant {
        name: "stock_conserved",
        oracle: Oracle::Books,
        meaning: "per product: what came in = available + reserved + sold; reserved and sold are what the orders' \
                  reservations add up to; the seeder brought what its manifest says, and deliveries that staff were told of came in",
    },
    Invariant { name: "stock_not_negative", oracle: Oracle::Books, meaning: "no count is below zero" },
    Invariant {
        name: "confirmed_iff_captured",
        oracle: Oracle::Books,
        meaning: "a confirmed order is charged once, its price, not refunded but by staff, and has exactly its units; a \
                  cancelled one's customer is not charged",
    },
    Invariant {
        name: "cancelled_net_zero",
        oracle: Oracle::Books,
        meaning: "a cancelled order's customer has paid nothing, and no unit is held or sold to it",
    },
    Invariant {
        name: "charged_at_most_once",
        oracle: Oracle::Books,
        meaning: "at most one capture for each order, no more refunds than captures",
    },
    Invariant {
        name: "ledger_matches_payments",
        oracle: Oracle::Books,
        meaning: "the acquirer's ledger, its summary of the key, the payment and the order agree on user, amount and \
                  state; no payment is left open under an order that has ended; nothing is stored under an order that \
                  does not exist",
    },
    Invariant {
        name: "legal_transitions",
        oracle: Oracle::Books,
        meaning: "only the state changes that the saga allows",
    },
    Invariant {
        name: "events_gapless",
        oracle: Oracle::Books,
        meaning: "the versions of an order's events, of its payment's and of its stock's have no gap",
    },
    Invariant {
        name: "fold_matches_row",
        oracle: Oracle::Books,
        meaning: "the order's row is the fold of its events; its payment and its reservations are what their last \
                  events made them",
    },
    Invariant {
        name: "stream_matches_events",
        oracle: Oracle::Books,
        meaning: "`ORDERS`, `PAYMENTS` and `INVENTORY` have the same facts as the stores that they were fed from",
    },
    Invariant {
        name: "nothing_in_flight",
        oracle: Oracle::Books,
        meaning: "every order has ended and no work on it is due, every event is published, no reservation is held",
    },
    Invariant {
        name: "notified_once",
        oracle: Oracle::Books,
        meaning: "customers were told of every confirmed or cancelled order and of every failed payment, once on each \
                  channel, and of nothing else",
    },
    Invariant {
        name: "cache_converges",
        oracle: Oracle::Books,
        meaning: "what Redis holds of products and their stock is what the database says, or said at an earlier \
                  version, and expires; not applicable where there is no Redis",
    },
    Invariant {
        name: "acknowledged_orders_exist",
        oracle: Oracle::Witness,
        meaning: "every order that an answer named exists and belongs to that user",
    },
    Invariant {
        name: "one_key_one_order",
        oracle: Oracle::Witness,
        meaning: "no key was answered with two orders, no order to two keys, and there are no more orders than keys",
    },
    Invariant {
        name: "answers_hold",
        oracle: Oracle::Witness,
        meaning: "what was told as an end is still so, and the order is of the items asked for",
    },
    Invariant {
        name: "never_told_more_than_stock",
        oracle: Oracle::Witness,
        meaning: "nobody was told of more units than existed",
    },
];

/// All invariants that can be checked after a run, with what they mean.
pub const INVARIANTS_DESCRIBED: &[Invariant] = &DESCRIBED;

/// Their names.
pub const INVARIANTS: &[&str] = &{
    let mut names = [""; DESCRIBED.len()];
    let mut index = 0;
    // A constant cannot call an iterator.
    while index < names.len() {
        names[index] = DESCRIBED[index].name;
        index += 1;
    }
    names
};

/// A single word, or a list of names.
#[derive(Debug)]
pub(super) enum InvariantsFile {
    Word(String),
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for InvariantsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InvariantsVisitor)
    }
}

struct InvariantsVisitor;

impl<'de> Visitor<'de> for InvariantsVisitor {
    type Value = InvariantsFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the word `all` or a list of invariants")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<InvariantsFile, E> {
        Ok(InvariantsFile::Word(word.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<InvariantsFile, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        Ok(InvariantsFile::Names(names))
    }
}

pub(super) fn invariants(written: Option<InvariantsFile>, at: &NodePath, check: &mut Check) -> Vec<&'static str> {
    let names = match written {
        None => return INVARIANTS.to_vec(),
        Some(InvariantsFile::Word(word)) if word == "all" => return INVARIANTS.to_vec(),
        Some(InvariantsFile::Word(word)) => {
            check.value(at, format!("`invariants` is `all` or a list of names, not {}", quote(&word)));
            return Vec::new();
        }
        Some(InvariantsFile::Names(names)) => names,
    };
    if names.is_empty() {
        check.value(at, "`invariants` is an empty list; a run that checks nothing proves nothing");
    }
    for (index, name) in names.iter().enumerate() {
        if !INVARIANTS.contains(&name.as_str()) {
            let problem = check.value(&at.index(index), format!("unknown invariant {}", quote(name)));
            problem.suggest(name, INVARIANTS.iter().copied());
        }
    }
    INVARIANTS.iter().copied().filter(|known| names.iter().any(|name| name == known)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GOOD as HEAD, check, parsed};
    use super::*;

    #[test]
    fn all_invariants_are_checked_unless_some_are_named() {
        assert_eq!(parsed(HEAD).expect.invariants, INVARIANTS);
        let some = format!("{HEAD}expect: {{ invariants: [ events_gapless, stock_conserved ] }}");
        assert_eq!(parsed(&some).expect.invariants, ["stock_conserved", "events_gapless"]);
    }

    #[test]
    fn invariants_are_known_names() {
        let expect = |text: &str| format!("{HEAD}expect: {{ invariants: {text} }}");
        check(
            &expect("[ stock_conservd ]"),
            &[("5:25", "unknown invariant `stock_conservd`, did you mean `stock_conserved`?")],
        );
        check(&expect("some"), &[("5:23", "`invariants` is `all` or a list of names, not `some`")]);
        check(&expect("[]"), &[("5:23", "proves nothing")]);
        check(&expect("{ a: b }"), &[("5:23", "`invariants` is the word `all` or a list")]);
    }
}
