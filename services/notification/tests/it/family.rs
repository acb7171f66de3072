//! The embedded adapter family, as a test needs it.

use std::sync::Arc;

use chassis::clock::SystemClock;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded};
use store::sqlite::Storage;
use tempfile::TempDir;

/// Databases and a log that outlive the services on them; gone when this is dropped.
pub struct Family {
    storage: Storage,
    log: Arc<SqliteEventLog>,
    _folder: TempDir,
}

impl Family {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let log = Arc::new(SqliteEventLog::open(&storage, Arc::new(SystemClock)).unwrap());
        Self { storage, log, _folder: folder }
    }

    pub fn backing(&self) -> Backing {
        Backing::Embedded(Embedded { storage: self.storage.clone(), log: self.log.clone() })
    }

    /// Event, channel and recipient of the provider's ledger lines, by event and channel.
    pub async fn sent(&self) -> Vec<(String, String, String)> {
        let ledger = self.storage.open_read_only(notification::DATABASE).unwrap();
        let sql = "SELECT event_id, channel, recipient FROM accepted ORDER BY 1, 2";
        let mut lines = ledger.prepare(sql).unwrap();
        let lines = lines.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        lines.map(Result::unwrap).collect()
    }
}
