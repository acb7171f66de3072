//! One key, one charge: what it may become, and the ledger line that each change leaves.

use std::fmt;
use std::str::FromStr;

use kernel::{Money, Timestamp};
use uuid::Uuid;

/// The caller's idempotency key: 1 to 128 printable ASCII characters. It is remembered for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to 128 printable ASCII characters are expected")]
pub struct NotAKey;

impl Key {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the acquirer calls this charge: decided by the key alone, so that every answer about a
    /// key carries the same reference.
    pub fn reference(&self) -> String {
        const NAMESPACE: Uuid = Uuid::from_u128(0x6163_7175_6972_5fd3_8c1e_7265_6665_7265);
        format!("acq_{}", Uuid::new_v5(&NAMESPACE, self.0.as_bytes()).simple())
    }
}

impl FromStr for Key {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(NotAKey)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The money moved.
    Captured,
    /// The bank said no; for good.
    Declined,
    /// Blocked: no charge of this key will ever succeed.
    Voided,
    /// Captured once, given back once.
    Refunded,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Captured, Self::Declined, Self::Voided, Self::Refunded];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
        }
    }

    /// The kind of ledger line by which a key arrives here.
    pub const fn line(self) -> &'static str {
        match self {
            Self::Captured => "capture",
            Self::Declined => "decline",
            Self::Voided => "void",
            Self::Refunded => "refund",
        }
    }
}

/// All that is known about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub key: Key,
    /// What was to be charged; `None` when a void came before any charge.
    pub amount: Option<Money>,
    pub state: State,
    /// Why it is declined or voided; empty otherwise.
    pub reason: String,
    pub updated_at: Timestamp,
}

/// What a caller asks of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Charge {
        amount: Money,
        /// A charge that is not in the ledger by then never will be.
        not_after: Timestamp,
        /// What the bank would say.
        declined: bool,
    },
    Void,
    Refund,
}

impl Action {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Charge { .. } => "charge",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

/// An action on its way into the ledger, at the moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub key: Key,
    pub action: Action,
    pub at: Timestamp,
}

/// Why a posting was refused; the ledger is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("amount: this key was first used for {first}")]
    OtherAmount { first: Money },
    #[error("this key was never captured")]
    NeverCaptured,
}

/// The reason of a charge that came after its `not_after`.
pub const TOO_LATE: &str = "too_late";

/// What `posting` makes of the key: the charge to store together with one ledger line, or `None`
/// when the key stays as it is.
///
/// # Errors
/// When the key was used for another amount, or is to be refunded without having been captured.
pub fn decide(current: Option<&Charge>, posting: &Posting) -> Result<Option<Charge>, Refusal> {
    let become_ = |amount, state, reason: &str| {
        let key = posting.key.clone();
        Ok(Some(Charge { key, amount, state, reason: reason.to_owned(), updated_at: posting.at }))
    };
    match (current, &posting.action) {
        (None, Action::Charge { amount, not_after, declined }) => {
            if posting.at > *not_after {
                become_(Some(*amount), State::Voided, TOO_LATE)
            } else if *declined {
                become_(Some(*amount), State::Declined, "declined")
            } else {
                become_(Some(*amount), State::Captured, "")
            }
        }
        (Some(known), Action::Charge { amount, .. }) => match known.amount {
            Some(first) if first != *amount => Err(Refusal::OtherAmount { first }),
            _ => Ok(None),
        },
        (None, Action::Void) => become_(None, State::Voided, "voided"),
        (Some(_), Action::Void) => Ok(None),
        (Some(known), Action::Refund) => match known.state {
            State::Captured => become_(known.amount, State::Refunded, ""),
            State::Refunded => Ok(None),
            State::Declined | State::Voided => Err(Refusal::NeverCaptured),
        },
        (None, Action::Refund) => Err(Refusal::NeverCaptured),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::Currency;
    use proptest::prelude::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn charge_of(minor: i64, not_after: i64, declined: bool) -> Action {
        Action::Charge { amount: Money::new(minor, Currency::EUR), not_after: at(not_after), declined }
    }

    /// Posts all actions, a microsecond apart from 0, and answers every state the key went through.
    fn history(actions: &[Action]) -> Vec<State> {
        let mut current: Option<Charge> = None;
        let mut states = Vec::new();
        for (moment, action) in (0..).zip(actions) {
            let posting = Posting { key: "k".parse().unwrap(), action: action.clone(), at: at(moment) };
            if let Ok(Some(next)) = decide(current.as_ref(), &posting) {
                states.push(next.state);
                current = Some(next);
            }
        }
        states
    }

    #[test]
    fn charges_once_however_often_it_is_asked() {
        let ask = charge_of(100, 9, false);
        assert_eq!(history(&[ask.clone(), ask.clone(), ask]), [State::Captured]);
    }

    #[test]
    fn a_void_blocks_later_charges_and_leaves_a_capture_alone() {
        let ask = charge_of(100, 9, false);
        assert_eq!(history(&[Action::Void, ask.clone()]), [State::Voided]);
        assert_eq!(history(&[ask, Action::Void]), [State::Captured]);
    }

    #[test]
    fn a_charge_at_its_last_moment_is_in_time_and_one_after_it_voids_the_key() {
        assert_eq!(history(&[charge_of(100, 0, false)]), [State::Captured]);
        assert_eq!(history(&[charge_of(100, -1, false), charge_of(100, 9, false)]), [State::Voided]);
    }

    #[test]
    fn refunds_what_was_captured_and_only_that() {
        let ask = charge_of(100, 9, false);
        assert_eq!(history(&[ask, Action::Refund, Action::Refund]), [State::Captured, State::Refunded]);
        for first in [charge_of(100, 9, true), Action::Void] {
            let posting = |action| Posting { key: "k".parse().unwrap(), action, at: at(0) };
            let known = decide(None, &posting(first)).unwrap().unwrap();
            assert_eq!(decide(Some(&known), &posting(Action::Refund)), Err(Refusal::NeverCaptured));
            assert_eq!(decide(None, &posting(Action::Refund)), Err(Refusal::NeverCaptured));
        }
    }

    #[test]
    fn a_key_never_serves_two_amounts() {
        let posting = |minor| Posting { key: "k".parse().unwrap(), action: charge_of(minor, 9, false), at: at(0) };
        let known = decide(None, &posting(100)).unwrap().unwrap();
        let first = Money::new(100, Currency::EUR);
        assert_eq!(decide(Some(&known), &posting(101)), Err(Refusal::OtherAmount { first }));
    }

    #[test]
    fn refuses_keys_that_a_log_line_would_trip_over() {
        for text in ["", "a b", "ä", "line\nbreak", &"x".repeat(129)] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    fn any_action() -> impl Strategy<Value = Action> {
        prop_oneof![
            (1..3_i64, -5..20_i64, any::<bool>()).prop_map(|(minor, until, no)| charge_of(minor, until, no)),
            Just(Action::Void),
            Just(Action::Refund),
        ]
    }

    proptest! {
        #[test]
        fn a_key_is_decided_once_and_only_a_capture_is_ever_refunded(
            actions in prop::collection::vec(any_action(), 0..12),
        ) {
            let states = history(&actions);
            let legal = match states.as_slice() {
                [] | [State::Captured | State::Declined | State::Voided] => true,
                [first, second] => (*first, *second) == (State::Captured, State::Refunded),
                _ => false,
            };
            prop_assert!(legal, "{states:?}");
        }
    }
}
