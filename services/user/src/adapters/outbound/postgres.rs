//! Accounts in PostgreSQL.
//!
//! Who may have an address is decided by more than one row, so whoever is about to give one away
//! locks it first, then reads, decides the batch in memory in its order, and writes each table in one
//! statement. Addresses are locked by the stripe that they fall into: a thousand of them take no more
//! of the server's lock table than [`STRIPES`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use eventlog::outbox::postgres as outbox;
use kernel::UserId;
use sqlx::postgres::PgRow;
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, Row as _};
use store::StoreError;
use store::postgres::{Db, Tx, is_taken};

use super::rows::{AccountRow, COLUMNS, OUTBOX, event_of};
use crate::application::ports::{Account, Added, Registration, UpdateRefusal, UserStore};
use crate::domain::{Change, Email, User};

/// Its schema, one step after the other.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_initial.sql"),
    include_str!("../../../migrations/postgres/0002_lighter_writes.sql"),
];

/// How many locks stand for all addresses.
const STRIPES: u8 = 128;
/// Sets these locks apart from others in the same database.
const ADDRESSES: i32 = 1;

pub struct PostgresUsers {
    db: Arc<Db>,
}

impl PostgresUsers {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db }
    }
}

/// Reads the account for which `filter` holds; `filter` is ours, its parameter the caller's.
fn select(filter: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("SELECT {COLUMNS} FROM users WHERE {filter}"))
}

fn account_of(row: &PgRow) -> Result<Account, StoreError> {
    AccountRow {
        id: UserId::from_uuid(row.try_get(0)?),
        email: row.try_get(1)?,
        name: row.try_get(2)?,
        role: row.try_get(3)?,
        version: row.try_get(4)?,
        created_at: row.try_get(5)?,
        updated_at: row.try_get(6)?,
        password_hash: row.try_get(7)?,
    }
    .try_into()
}

/// The accounts that a batch is about, as they are while it is decided.
#[derive(Default)]
struct Accounts {
    by_id: BTreeMap<UserId, User>,
    by_email: BTreeMap<Email, UserId>,
}

impl Accounts {
    /// Locks the addresses, then the accounts of those ids; reads them, and whoever holds an address.
    async fn locked(tx: &mut Tx<'_>, emails: &[&Email], ids: &[UserId]) -> Result<Self, StoreError> {
        // In one order for everybody, or two batches wait for each other for ever.
        let mut stripes: Vec<i32> = emails.iter().map(|email| stripe(email)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        sqlx::query("SELECT pg_advisory_xact_lock($1, stripe) FROM unnest($2::int[]) AS stripe")
            .bind(ADDRESSES)
            .bind(stripes)
            .execute(&mut **tx)
            .await?;
        let ids: Vec<Uuid> = ids.iter().map(|id| *id.as_uuid()).collect();
        if !ids.is_empty() {
            sqlx::query("SELECT 1 FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE")
                .bind(&ids)
                .execute(&mut **tx)
                .await?;
        }
        // A statement sees what was committed when it began: after the locks were granted.
        let texts: Vec<&str> = emails.iter().map(|email| email.as_str()).collect();
        let of_addresses = emails.iter().map(|email| *email.user_id().as_uuid());
        let ids: Vec<Uuid> = ids.iter().copied().chain(of_addresses).collect();
        let rows =
            sqlx::query(select("email = ANY($1) OR id = ANY($2)")).bind(texts).bind(ids).fetch_all(&mut **tx).await?;
        let mut accounts = Self::default();
        for row in &rows {
            accounts.set(account_of(row)?.user);
        }
        Ok(accounts)
    }

    fn set(&mut self, user: User) {
        self.by_email.insert(user.email.clone(), user.id);
        if let Some(before) = self.by_id.insert(user.id, user.clone())
            && before.email != user.email
        {
            self.by_email.remove(&before.email);
        }
    }

    /// To whom an address belongs: who has it now comes before who was registered with it.
    fn holder(&self, email: &Email) -> Option<&User> {
        self.by_email.get(email).and_then(|id| self.by_id.get(id)).or_else(|| self.by_id.get(&email.user_id()))
    }

    fn add(&mut self, user: &User) -> Added {
        if let Some(existing) = self.holder(&user.email) {
            return Added::Existing(existing.clone());
        }
        self.set(user.clone());
        Added::New(user.clone())
    }

    fn update(&mut self, user: &User) -> Result<(), UpdateRefusal> {
        let held = self.by_email.get(&user.email).is_some_and(|id| *id != user.id);
        let first = user.email.user_id();
        if held || (first != user.id && self.by_id.contains_key(&first)) {
            return Err(UpdateRefusal::EmailTaken);
        }
        if self.by_id.get(&user.id).is_none_or(|before| before.version != user.version - 1) {
            return Err(UpdateRefusal::Stale);
        }
        self.set(user.clone());
        Ok(())
    }
}

/// The lock that stands for an address: its id is a digest of it.
fn stripe(email: &Email) -> i32 {
    let [.., last] = *email.user_id().as_uuid().as_bytes();
    i32::from(last % STRIPES)
}

/// A refusal that the locks should have prevented: somebody writes without them.
fn refused(error: sqlx::Error) -> StoreError {
    match is_taken(&error) {
        true => StoreError::Conflict("an address or an account was added meanwhile".into()),
        false => error.into(),
    }
}

async fn insert(tx: &mut Tx<'_>, new: &[&Registration]) -> Result<(), StoreError> {
    let users: Vec<&User> = new.iter().map(|registration| &registration.change.user).collect();
    let sql = format!(
        "INSERT INTO users ({COLUMNS})
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                              $8::text[])"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(users.iter().map(|user| *user.id.as_uuid()).collect::<Vec<_>>())
        .bind(users.iter().map(|user| user.email.as_str()).collect::<Vec<_>>())
        .bind(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>())
        .bind(users.iter().map(|user| user.role.as_str()).collect::<Vec<_>>())
        .bind(users.iter().map(|user| user.version).collect::<Vec<_>>())
        .bind(users.iter().map(|user| user.created_at.as_micros()).collect::<Vec<_>>())
        .bind(users.iter().map(|user| user.updated_at.as_micros()).collect::<Vec<_>>())
        .bind(new.iter().map(|registration| registration.password_hash.as_str()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await
        .map_err(refused)?;
    append(tx, new.iter().map(|registration| &registration.change)).await
}

async fn write(tx: &mut Tx<'_>, changes: &[&Change]) -> Result<(), StoreError> {
    // Several changes of one account leave its last state.
    let users: BTreeMap<UserId, &User> = changes.iter().map(|change| (change.user.id, &change.user)).collect();
    sqlx::query(
        "UPDATE users SET email = new.email, name = new.name, version = new.version, updated_at = new.updated_at,
                          role = new.role
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
              AS new (id, email, name, version, updated_at, role)
         WHERE users.id = new.id",
    )
    .bind(users.keys().map(|id| *id.as_uuid()).collect::<Vec<_>>())
    .bind(users.values().map(|user| user.email.as_str()).collect::<Vec<_>>())
    .bind(users.values().map(|user| user.name.as_str()).collect::<Vec<_>>())
    .bind(users.values().map(|user| user.version).collect::<Vec<_>>())
    .bind(users.values().map(|user| user.updated_at.as_micros()).collect::<Vec<_>>())
    .bind(users.values().map(|user| user.role.as_str()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(refused)?;
    append(tx, changes.iter().copied()).await
}

async fn append(tx: &mut Tx<'_>, changes: impl Iterator<Item = &Change>) -> Result<(), StoreError> {
    let events = changes.map(event_of).collect::<Result<Vec<_>, _>>()?;
    outbox::append(tx, OUTBOX, &events).await
}

#[async_trait]
impl UserStore for PostgresUsers {
    async fn add(&self, batch: &[Registration]) -> Result<Vec<Added>, StoreError> {
        let mut tx = self.db.begin("register").await?;
        let emails: Vec<&Email> = batch.iter().map(|registration| &registration.change.user.email).collect();
        let mut accounts = Accounts::locked(&mut tx, &emails, &[]).await?;
        let answers: Vec<Added> = batch.iter().map(|registration| accounts.add(&registration.change.user)).collect();
        let new = batch.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Added::New(_)));
        let new: Vec<&Registration> = new.map(|(registration, _)| registration).collect();
        if !new.is_empty() {
            insert(&mut tx, &new).await?;
            tx.commit().await?;
        }
        Ok(answers)
    }

    async fn update(&self, batch: &[Change]) -> Result<Vec<Result<(), UpdateRefusal>>, StoreError> {
        let mut tx = self.db.begin("update_profile").await?;
        let emails: Vec<&Email> = batch.iter().map(|change| &change.user.email).collect();
        let ids: Vec<UserId> = batch.iter().map(|change| change.user.id).collect();
        let mut accounts = Accounts::locked(&mut tx, &emails, &ids).await?;
        let answers: Vec<Result<(), UpdateRefusal>> =
            batch.iter().map(|change| accounts.update(&change.user)).collect();
        let accepted = batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let accepted: Vec<&Change> = accepted.map(|(change, _)| change).collect();
        if !accepted.is_empty() {
            write(&mut tx, &accepted).await?;
            tx.commit().await?;
        }
        Ok(answers)
    }

    async fn by_ids(&self, ids: &[UserId]) -> Result<Vec<Option<User>>, StoreError> {
        let wanted: Vec<Uuid> = ids.iter().map(|id| *id.as_uuid()).collect();
        let rows = sqlx::query(select("id = ANY($1)")).bind(wanted).fetch_all(self.db.pool()).await?;
        let found = rows.iter().map(|row| account_of(row).map(|account| (account.user.id, account.user)));
        let found = found.collect::<Result<BTreeMap<UserId, User>, StoreError>>()?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(select("email = $1")).bind(email.as_str()).fetch_optional(self.db.pool()).await?;
        row.map(|row| account_of(&row)).transpose()
    }
}
