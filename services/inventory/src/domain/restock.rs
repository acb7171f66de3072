//! A delivery of new units.

use std::fmt;
use std::str::FromStr;

use kernel::{ProductId, Quantity};
use serde::Serialize;

/// The idempotency key of a restock: 1 to 64 characters out of `A–Z a–z 0–9 : _ -`. No dot, since it
/// becomes one token of an event subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RestockId(String);

/// The text is no [`RestockId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to 64 letters, digits, `:`, `_` or `-` are expected")]
pub struct RestockIdError;

impl RestockId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RestockId {
    type Err = RestockIdError;
    fn from_str(text: &str) -> Result<Self, RestockIdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
        match (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(RestockIdError),
        }
    }
}

impl fmt::Display for RestockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// New units of one product under a key that counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restock {
    pub id: RestockId,
    pub product_id: ProductId,
    pub quantity: Quantity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restock_id_is_one_token_of_a_subject() {
        assert!("seed:SNEAKER-42_1".parse::<RestockId>().is_ok());
        for text in ["", "a b", "a.b", "*", ">", "é", &"x".repeat(65)] {
            assert_eq!(text.parse::<RestockId>(), Err(RestockIdError), "{text}");
        }
    }
}
