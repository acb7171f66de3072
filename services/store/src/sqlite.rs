//! SQLite, called inline: no thread, so that virtual time sees every write.

mod db;

use std::path::PathBuf;

use chassis::hazard::Hazards;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;

use db::BUSY;
pub use db::Db;

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
        connection.busy_timeout(BUSY).map_err(context)?;
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
        connection.busy_timeout(BUSY).map_err(context)?;
        Ok(connection)
    }
}
