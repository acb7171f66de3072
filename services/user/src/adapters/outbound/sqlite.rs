//! Accounts in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use eventlog::outbox::sqlite as outbox;
use kernel::UserId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::Db;

use super::rows::{AccountRow, COLUMNS, OUTBOX, corrupt, event_of};
use crate::application::ports::{Account, Added, Registration, UpdateRefusal, UserStore};
use crate::domain::{Change, Email, User};

/// Its schema, one step after the other.
pub const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];

pub struct SqliteUsers {
    db: Arc<Db>,
}

impl SqliteUsers {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db }
    }
}

fn account_of(row: &Row<'_>) -> Result<Account, StoreError> {
    AccountRow {
        id: row.get::<_, String>(0)?.parse().map_err(corrupt)?,
        email: row.get(1)?,
        name: row.get(2)?,
        role: row.get(3)?,
        version: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        password_hash: row.get(7)?,
    }
    .try_into()
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

fn add(tx: &Connection, registration: &Registration) -> Result<Added, StoreError> {
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
fn update(tx: &Connection, change: &Change) -> Result<Result<(), UpdateRefusal>, StoreError> {
    let user = &change.user;
    let taken = "(email = ?1 OR id = ?2) AND id <> ?3";
    let (id, first_of_address) = (user.id.to_string(), user.email.user_id().to_string());
    if find(tx, taken, params![user.email.as_str(), first_of_address, id])?.is_some() {
        return Ok(Err(UpdateRefusal::EmailTaken));
    }
    let sql = "UPDATE users SET email = ?3, name = ?4, version = ?5, updated_at = ?6, role = ?7
               WHERE id = ?1 AND version = ?2";
    let changed = tx.prepare_cached(sql)?.execute(params![
        id,
        user.version - 1,
        user.email.as_str(),
        user.name.as_str(),
        user.version,
        user.updated_at.as_micros(),
        user.role.as_str(),
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
        self.db.write_alone("register", |tx| batch.iter().map(|registration| add(tx, registration)).collect())
    }

    async fn update(&self, batch: &[Change]) -> Result<Vec<Result<(), UpdateRefusal>>, StoreError> {
        self.db.write_alone("update_profile", |tx| batch.iter().map(|change| update(tx, change)).collect())
    }

    async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Option<User>>, StoreError> {
        self.db.read(|connection| {
            let user = |id: &UserId| find(connection, "id = ?1", params![id.to_string()]);
            ids.iter().map(|id| Ok(user(id)?.map(|account| account.user))).collect()
        })
    }

    async fn by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        self.db.read(|connection| find(connection, "email = ?1", params![email.as_str()]))
    }
}
