//! Accounts as rows and events as outbox rows, in whichever database.

use eventlog::Event;
use kernel::{Timestamp, UserId};
use store::StoreError;

use crate::application::ports::Account;
use crate::domain::{Change, Fact, PasswordHash, User};

/// The name of this service's database.
pub const DATABASE: &str = "user_db";
/// Its outbox table.
pub const OUTBOX: &str = "user_events";

/// In the order of [`AccountRow`].
pub const COLUMNS: &str = "id, email, name, role, version, created_at, updated_at, password_hash";

/// What stands in a row of `users`.
pub struct AccountRow {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub role: String,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub password_hash: String,
}

pub fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("users: {error}"))
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;
    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        let user = User {
            id: row.id,
            email: row.email.parse().map_err(corrupt)?,
            name: row.name.try_into().map_err(corrupt)?,
            role: row.role.parse().map_err(corrupt)?,
            version: row.version,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        };
        Ok(Self { user, password_hash: PasswordHash::from_phc(row.password_hash) })
    }
}

/// The outbox row of a change.
///
/// # Errors
/// When the fact cannot be written as JSON.
pub fn event_of(change: &Change) -> Result<Event, StoreError> {
    let data = match &change.event.fact {
        Fact::Registered(fact) => serde_json::to_string(fact)?,
        Fact::Updated(fact) => serde_json::to_string(fact)?,
    };
    Ok(Event {
        aggregate: change.event.user.to_string(),
        version: change.event.version,
        kind: change.event.fact.kind().to_owned(),
        data,
        occurred_at: change.event.occurred_at,
        traceparent: None,
    })
}
