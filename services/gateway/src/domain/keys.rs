//! The syntax of the texts by which clients name things: idempotency keys and request ids.

use std::fmt;
use std::str::FromStr;

/// Longer names are refused.
const LENGTH_MAX: usize = 128;

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to 128 visible ASCII characters are expected")]
pub struct BadKey;

/// What a client chose to make a request repeatable: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        if (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadKey)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the name of a restock was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to 64 letters, digits, `:`, `_` or `-` are expected")]
pub struct BadRestockId;

/// What staff chose to make a restock repeatable. Narrower than a key: it becomes a part of an event's subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestockId(String);

impl FromStr for RestockId {
    type Err = BadRestockId;
    fn from_str(text: &str) -> Result<Self, BadRestockId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadRestockId)
    }
}

impl fmt::Display for RestockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one request in logs and problems. Narrower than a key: it is quoted in places that
/// people copy from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(BadKey)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_short_and_visible() {
        for text in ["k", "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"quoted\"", &"x".repeat(128)] {
            assert!(text.parse::<IdempotencyKey>().is_ok(), "{text}");
        }
        for text in ["", " ", "a b", "tab\t", "ä", &"x".repeat(129)] {
            assert_eq!(text.parse::<IdempotencyKey>(), Err(BadKey), "{text}");
        }
    }

    #[test]
    fn a_restocks_name_is_one_token_of_a_subject() {
        for text in ["delivery-1", "seed:x_1", &"x".repeat(64)] {
            assert!(text.parse::<RestockId>().is_ok(), "{text}");
        }
        for text in ["", "a.b", "a b", "a>", "*", "ä", &"x".repeat(65)] {
            assert_eq!(text.parse::<RestockId>(), Err(BadRestockId), "{text}");
        }
    }

    #[test]
    fn a_request_id_cannot_forge_a_log_line() {
        assert!("trace-1:2.3_4".parse::<RequestId>().is_ok());
        for text in ["", "a b", "a\nb", "{\"a\":1}", "<b>", &"x".repeat(129)] {
            assert_eq!(text.parse::<RequestId>(), Err(BadKey), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_key_is_kept_as_it_was_written(text in ".{0,140}") {
            if let Ok(key) = text.parse::<IdempotencyKey>() {
                prop_assert_eq!(key.as_str(), text);
            }
        }
    }
}
