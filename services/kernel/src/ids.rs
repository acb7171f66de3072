//! Identities. Each is its own type, so that one is never passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why an identity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("`{text}` is not {what}")]
    Malformed { what: &'static str, text: String },
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| IdError::Malformed { what: $what, text: text.chars().take(64).collect() })
            }
        }
    };
}

uuid_id!(
    /// A customer or a member of staff.
    UserId, "a user id"
);
uuid_id!(
    /// An order. Its value is decided by [`OrderId::derive`], so that a key can never make two.
    OrderId, "an order id"
);

impl OrderId {
    /// The namespace under which order ids are derived; changing it would change every id.
    const NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6465_722d_5fd3_8c1e_7368_6f70_6374);

    /// The id that `key` of `user` in `tenant` stands for: a version 5 UUID (RFC 9562) over the
    /// three, each preceded by its length, so that no two triples share a text.
    pub fn derive(tenant: &str, user: UserId, key: &str) -> Self {
        let name = format!("{}:{tenant}|{user}|{}:{key}", tenant.len(), key.len());
        Self(Uuid::new_v5(&Self::NAMESPACE, name.as_bytes()))
    }
}

/// A product: a small number that people can type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(pub i64);

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stock keeping unit: 1 to 64 characters out of `A–Z a–z 0–9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

impl Sku {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let text = text.chars().take(64).collect();
        Err(IdError::Malformed { what: "a SKU (1 to 64 letters, digits, `.`, `_`, `-`)", text })
    }
}

impl TryFrom<String> for Sku {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many units of a product: 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

impl Quantity {
    pub const MAX: u32 = 1_000_000;

    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = IdError;
    fn try_from(units: u32) -> Result<Self, IdError> {
        if (1..=Self::MAX).contains(&units) {
            return Ok(Self(units));
        }
        Err(IdError::Malformed { what: "a quantity from 1 to 1000000", text: units.to_string() })
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn one_key_is_one_order_and_another_users_same_key_is_another() {
        assert_eq!(OrderId::derive("shop", user(1), "k"), OrderId::derive("shop", user(1), "k"));
        assert_ne!(OrderId::derive("shop", user(1), "k"), OrderId::derive("shop", user(2), "k"));
        assert_ne!(OrderId::derive("shop", user(1), "k"), OrderId::derive("other", user(1), "k"));
    }

    #[test]
    fn refuses_skus_that_a_url_or_a_person_would_trip_over() {
        for text in ["", "A B", "ä", "a/b", &"x".repeat(65)] {
            assert!(text.parse::<Sku>().is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_a_quantity_of_nothing_and_of_too_much() {
        for units in [0, Quantity::MAX + 1, u32::MAX] {
            assert!(Quantity::try_from(units).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_two_keys_share_an_order(tenant in ".{0,8}", a in ".{0,16}", b in ".{0,16}", who in any::<u128>()) {
            let same = OrderId::derive(&tenant, user(who), &a) == OrderId::derive(&tenant, user(who), &b);
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn a_sku_is_one_segment_of_a_path_and_comes_back_as_it_was_written(text in "\\PC{0,3}[A-Za-z0-9._-]{0,66}\\PC?") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            match text.parse::<Sku>() {
                Ok(sku) => {
                    prop_assert!((1..=64).contains(&text.len()) && text.chars().all(plain));
                    prop_assert_eq!(sku.to_string(), text);
                    let json = serde_json::to_string(&sku).unwrap();
                    prop_assert_eq!(serde_json::from_str::<Sku>(&json).unwrap(), sku);
                }
                Err(refusal) => {
                    prop_assert!(text.is_empty() || text.len() > 64 || !text.chars().all(plain), "{text}: {refusal}");
                    prop_assert!(refusal.to_string().chars().count() < 160, "a refusal repeats no whole novel");
                    let json = serde_json::to_string(&text).unwrap();
                    prop_assert!(serde_json::from_str::<Sku>(&json).is_err(), "JSON is no way around the check");
                }
            }
        }
    }
}
