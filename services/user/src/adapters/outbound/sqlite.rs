//! Accounts in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::events::Event;
use chassis::sqlite::{Db, outbox};
use kernel::{Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::application::ports::{Account, Added, Registration, UpdateRefusal, UserStore};
use crate::domain::{Change, Email, Fact, PasswordHash, User};

/// The name of this service's database.
pub const DATABASE: &str = "user_db";
/// Its outbox table.
pub const OUTBOX: &str = "user_events";
/// Its schema, one step after the other.
pub const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];

const COLUMNS: &str = "id, email, name, role, version, created_at, updated_at, password_hash";

pub struct SqliteUsers {
    db: Arc<Db>,
}

impl SqliteUsers {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db }
    }

    /// [`UserStore::add`] for code that runs before there is a runtime.
    ///
    /// # Errors
    /// When nothing was written.
    pub fn add_all(&self, batch: &[Registration]) -> Result<Vec<Added>, StoreError> {
        self.db.write("register", |tx| batch.iter().map(|registration| add(tx, registration)).collect())
    }

    /// The account to which the address belongs, see [`UserStore`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn holder(&self, email: &Email) -> Result<Option<User>, StoreError> {
        self.db.read(|connection| holder(connection, email))
    }
}

fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("users: {error}"))
}

fn account_of(row: &Row<'_>) -> Result<Account, StoreError> {
    let text = |index: usize| row.get::<_, String>(index);
    let user = User {
        id: text(0)?.parse().map_err(corrupt)?,
        email: text(1)?.parse().map_err(corrupt)?,
        name: text(2)?.try_into().map_err(corrupt)?,
        role: text(3)?.parse().map_err(corrupt)?,
        version: row.get(4)?,
        created_at: Timestamp::from_micros(row.get(5)?),
        updated_at: Timestamp::from_micros(row.get(6)?),
    };
    Ok(Account { user, password_hash: PasswordHash::from_phc(text(7)?) })
}

/// The account for which `filter` holds; `filter` is ours, its parameters are the caller's.
fn find(
    connection: &Connection,
    filter: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Account>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE {filter} LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row(parameters, |row| Ok(account_of(row))).optional()?.transpose()
}

fn holder(connection: &Connection, email: &Email) -> Result<Option<User>, StoreError> {
    // Whoever has the address now comes before whoever was registered with it.
    let filter = "email = ?1 OR id = ?2 ORDER BY email <> ?1";
    let found = find(connection, filter, params![email.as_str(), email.user_id().to_string()])?;
    Ok(found.map(|account| account.user))
}

fn event_of(change: &Change) -> Result<Event, StoreError> {
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

fn add(tx: &Transaction<'_>, registration: &Registration) -> Result<Added, StoreError> {
    let user = &registration.change.user;
    if let Some(existing) = holder(tx, &user.email)? {
        return Ok(Added::Existing(existing));
    }
    let sql = format!("INSERT INTO users ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    tx.prepare_cached(&sql)?.execute(params![
        user.id.to_string(),
        user.email.as_str(),
        user.name.as_str(),
        user.role.as_str(),
        user.version,
        user.created_at.as_micros(),
        user.updated_at.as_micros(),
        registration.password_hash.as_str(),
    ])?;
    outbox::append(tx, OUTBOX, &[event_of(&registration.change)?])?;
    Ok(Added::New(user.clone()))
}

/// The outer error undoes the batch; the inner one refuses this change before anything is written.
fn update(tx: &Transaction<'_>, change: &Change) -> Result<Result<(), UpdateRefusal>, StoreError> {
    let user = &change.user;
    let taken = "(email = ?1 OR id = ?2) AND id <> ?3";
    let (id, first_of_address) = (user.id.to_string(), user.email.user_id().to_string());
    if find(tx, taken, params![user.email.as_str(), first_of_address, id])?.is_some() {
        return Ok(Err(UpdateRefusal::EmailTaken));
    }
    let sql = "UPDATE users SET email = ?3, name = ?4, version = ?5, updated_at = ?6 WHERE id = ?1 AND version = ?2";
    let changed = tx.prepare_cached(sql)?.execute(params![
        id,
        user.version - 1,
        user.email.as_str(),
        user.name.as_str(),
        user.version,
        user.updated_at.as_micros(),
    ])?;
    if changed == 0 {
        return Ok(Err(UpdateRefusal::Stale));
    }
    outbox::append(tx, OUTBOX, &[event_of(change)?])?;
    Ok(Ok(()))
}

#[async_trait]
impl UserStore for SqliteUsers {
    async fn add(&self, batch: &[Registration]) -> Result<Vec<Added>, StoreError> {
        self.add_all(batch)
    }

    async fn update(&self, batch: &[Change]) -> Result<Vec<Result<(), UpdateRefusal>>, StoreError> {
        self.db.write("update_profile", |tx| batch.iter().map(|change| update(tx, change)).collect())
    }

    async fn by_id(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let found = self.db.read(|connection| find(connection, "id = ?1", params![id.to_string()]))?;
        Ok(found.map(|account| account.user))
    }

    async fn by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.db.read(|connection| find(connection, "email = ?1", params![email.as_str()]))
    }
}

#[cfg(test)]
mod tests {
    use chassis::clock::SystemClock;
    use chassis::events::Outbox;
    use chassis::metrics::Metrics;
    use chassis::sqlite::Storage;
    use chassis::sqlite::outbox::SqliteOutbox;

    use super::super::contract;
    use super::*;

    struct Fixture {
        _folder: tempfile::TempDir,
        users: SqliteUsers,
        outbox: SqliteOutbox,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let db = Arc::new(Db::open(&storage, DATABASE, &MIGRATIONS, &Metrics::new("user")).unwrap());
        let outbox = SqliteOutbox::new(db.clone(), OUTBOX, Arc::new(SystemClock));
        Fixture { _folder: folder, users: SqliteUsers::new(db), outbox }
    }

    macro_rules! keeps_the_contract {
        ($($case:ident),* $(,)?) => {$(
            #[tokio::test]
            async fn $case() {
                let Fixture { _folder, users, outbox } = fixture();
                contract::$case(&users, &outbox as &dyn Outbox).await;
            }
        )*};
    }

    keeps_the_contract!(
        an_added_account_is_found_by_id_and_by_address,
        a_taken_address_answers_its_holder_unchanged,
        an_address_is_never_given_to_somebody_else,
        folding_the_events_gives_the_row,
        a_refused_change_does_not_stop_the_others,
        a_change_of_an_unknown_account_is_stale,
    );
}
