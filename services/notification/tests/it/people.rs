//! Who and what the tests are about.

use kernel::{OrderId, UserId};
use uuid::Uuid;

/// The user that the user service does not know.
pub const STRANGER: u128 = 404;

pub fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

/// Everybody's address follows from their number.
pub fn address(number: u128) -> String {
    format!("user-{number}@example.test")
}

pub fn order(number: u128) -> OrderId {
    OrderId::from_uuid(Uuid::from_u128(number))
}
