//! SQLite, called inline: no thread, so that virtual time sees every write.

pub mod outbox;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hazard::Hazards;
use crate::metrics::Metrics;
use crate::store::StoreError;

/// Where databases live.
#[derive(Debug, Clone)]
pub enum Storage {
    /// A file for each database in this folder, in WAL mode with `synchronous=NORMAL`: a killed
    /// process loses nothing, a power cut may lose the last commits.
    Folder(PathBuf),
    /// Named databases in this process's memory, which live as long as somebody keeps a connection
    /// to them open; the name sets simulations in one process apart.
    Memory(String),
    /// Either, for a role that something may befall.
    Exposed(Box<Storage>, Hazards),
}

impl Storage {
    fn location(&self, database: &str) -> (String, OpenFlags) {
        match self {
            Self::Exposed(storage, _) => storage.location(database),
            Self::Folder(folder) => {
                (folder.join(format!("{database}.db")).to_string_lossy().into_owned(), OpenFlags::empty())
            }
            Self::Memory(space) => {
                (format!("file:{space}-{database}?mode=memory&cache=shared"), OpenFlags::SQLITE_OPEN_URI)
            }
        }
    }

    /// Whether it is in files.
    fn is_folder(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Memory(_) => false,
            Self::Exposed(storage, _) => storage.is_folder(),
        }
    }

    fn hazards(&self) -> Hazards {
        match self {
            Self::Exposed(_, hazards) => hazards.clone(),
            Self::Folder(_) | Self::Memory(_) => Hazards::default(),
        }
    }

    /// A connection that may write.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a database.
    pub fn open(&self, database: &str) -> Result<Connection, StoreError> {
        let (path, flags) = self.location(database);
        let flags =
            flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let context = |error: rusqlite::Error| StoreError::Unavailable(format!("{path}: {error}"));
        let connection = Connection::open_with_flags(&path, flags).map_err(context)?;
        connection.busy_timeout(Duration::from_secs(2)).map_err(context)?;
        if self.is_folder() {
            // Checkpoints wait for the disk, and everybody waits for them: few of them, each bounded to
            // a write-ahead log of 256 MB; the last connection to close makes one as well.
            let pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;
                           PRAGMA wal_autocheckpoint=65536;";
            connection.execute_batch(pragmas).map_err(context)?;
        }
        connection.execute_batch("PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;").map_err(context)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// A connection that only reads, for audits.
    ///
    /// # Errors
    /// When there is no such database.
    pub fn open_read_only(&self, database: &str) -> Result<Connection, StoreError> {
        let (path, flags) = self.location(database);
        let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let context = |error: rusqlite::Error| StoreError::Unavailable(format!("{path}: {error}"));
        let connection = Connection::open_with_flags(&path, flags).map_err(context)?;
        connection.busy_timeout(Duration::from_secs(2)).map_err(context)?;
        Ok(connection)
    }
}

/// One database of one service.
pub struct Db {
    name: &'static str,
    connection: Mutex<Connection>,
    metrics: Metrics,
    committed: Notify,
    hazards: Hazards,
}

impl Db {
    /// Opens `name` and brings its schema up to date. `migrations` are numbered from 1 in order and
    /// never change once released; `PRAGMA user_version` holds the last one applied.
    ///
    /// # Errors
    /// When the database cannot be opened, or is newer than this program.
    pub fn open(
        storage: &Storage,
        name: &'static str,
        migrations: &[&str],
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let mut connection = storage.open(name)?;
        let applied: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if applied > migrations.len() {
            return Err(StoreError::Unavailable(format!(
                "{name} has schema {applied}, this program knows {}: use the newer program",
                migrations.len()
            )));
        }
        for (index, migration) in migrations.iter().enumerate().skip(applied) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", index + 1)?;
            transaction.commit()?;
        }
        let (connection, metrics, hazards) = (Mutex::new(connection), metrics.clone(), storage.hazards());
        Ok(Self { name, connection, metrics, committed: Notify::new(), hazards })
    }

    /// Runs `work` in one write transaction: all of it is committed, or, when it answers an error,
    /// none. `what` names the purpose in metrics and traces.
    ///
    /// # Errors
    /// What `work` answered, or that the commit failed.
    pub fn write<T, E: From<StoreError>>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let started = Instant::now();
        self.hazards.storage(true)?;
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let before = connection.total_changes();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| E::from(error.into()))?;
        let value = work(&transaction)?;
        if transaction.total_changes() > before {
            // Dropped, the transaction leaves nothing.
            self.survives(what, "before")?;
        }
        transaction.commit().map_err(|error| E::from(error.into()))?;
        let changed = connection.total_changes() - before;
        drop(connection);
        if changed > 0 {
            tracing::debug!(target: "shop::commit", store = self.name, what, rows = changed);
            self.metrics.commit(self.name, what, started.elapsed());
            // Also if nobody hears of it: the relay has to look.
            self.committed.notify_one();
            self.survives(what, "after")?;
            self.hazards.storage_answer()?;
        }
        Ok(value)
    }

    /// A crash point: `<database>.<what>.before` or `.after` a commit.
    fn survives(&self, what: &str, edge: &str) -> Result<(), StoreError> {
        match self.hazards.survives(|| format!("{}.{what}.{edge}", self.name)) {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the process is gone".to_owned())),
        }
    }

    /// Runs `work` on the last committed state.
    ///
    /// # Errors
    /// What `work` answered, or that the database does not answer.
    pub fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        self.hazards.storage(false)?;
        work(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notified after each commit that changed something; for one waiter (the relay).
    pub fn committed(&self) -> &Notify {
        &self.committed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hazard::{CallFate, Fate, Passage};

    #[test]
    fn an_error_in_the_work_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let db = Db::open(&storage, "test", &["CREATE TABLE t (x INTEGER)"], &Metrics::new("test")).unwrap();
        let outcome: Result<(), StoreError> = db.write("try", |tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            Err(StoreError::Conflict("changed my mind".into()))
        });
        assert!(outcome.is_err());
        let count: Result<i64, StoreError> =
            db.read(|connection| Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?));
        assert_eq!(count.unwrap(), 0);
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let two = ["CREATE TABLE a (x)", "CREATE TABLE b (x)"];
        drop(Db::open(&storage, "test", &two, &Metrics::new("test")).unwrap());
        assert!(Db::open(&storage, "test", &two[..1], &Metrics::new("test")).is_err());
        assert!(Db::open(&storage, "test", &two, &Metrics::new("test")).is_ok());
    }

    /// Lets one thing happen.
    struct Once(&'static str);

    impl Fate for Once {
        fn pass(&self, point: &str) -> Passage {
            if point == self.0 { Passage::Dead } else { Passage::On }
        }
        fn is_dead(&self) -> bool {
            false
        }
        fn call(&self, _: &str) -> CallFate {
            CallFate::default()
        }
        fn storage_refuses(&self, write: bool) -> Option<&'static str> {
            (self.0 == "down" || (self.0 == "refused" && write)).then_some("nobody answers")
        }
        fn storage_loses_answer(&self) -> bool {
            self.0 == "lost"
        }
    }

    #[test]
    fn what_befalls_a_write_leaves_all_of_it_or_nothing() {
        let count = |db: &Db| -> Result<i64, StoreError> {
            db.read(|connection| Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?))
        };
        for (befalls, succeeds, rows) in [
            ("nothing", true, 1),
            ("refused", false, 0),
            ("test.try.before", false, 0),
            ("test.try.after", false, 1),
            ("lost", false, 1),
        ] {
            let hazards = Hazards::new(Arc::new(Once(befalls)));
            let storage = Storage::Exposed(Storage::Memory(format!("befalls-{befalls}")).into(), hazards);
            let db = Db::open(&storage, "test", &["CREATE TABLE t (x INTEGER)"], &Metrics::new("test")).unwrap();
            let written = db.write("try", |tx| Ok::<_, StoreError>(tx.execute("INSERT INTO t VALUES (1)", [])?));
            assert_eq!((written.is_ok(), count(&db).unwrap()), (succeeds, rows), "{befalls}");
            let looked = db.write("try", |tx| Ok::<_, StoreError>(tx.execute("DELETE FROM t WHERE x = 2", [])?));
            assert_eq!(looked.is_ok(), befalls != "refused", "a write that changes nothing has no crash points");
        }
        let storage =
            Storage::Exposed(Storage::Memory("befalls-down".into()).into(), Hazards::new(Arc::new(Once("down"))));
        let db = Db::open(&storage, "test", &["CREATE TABLE t (x INTEGER)"], &Metrics::new("test")).unwrap();
        assert!(count(&db).is_err());
    }
}
