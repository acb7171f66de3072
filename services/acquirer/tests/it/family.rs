//! The embedded adapter family, as a test needs it.

use std::sync::Arc;

use acquirer::adapters::outbound::sqlite::SqliteLedger;
use acquirer::application::ports::Ledger;
use chassis::clock::SystemClock;
use chassis::metrics::Metrics;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded};
use store::sqlite::Storage;
use tempfile::TempDir;

/// A place for databases that outlives the services on them; gone when this is dropped.
pub struct Family {
    storage: Storage,
    _folder: TempDir,
}

impl Family {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { storage: Storage::Folder(folder.path().to_owned()), _folder: folder }
    }

    pub fn backing(&self) -> Backing {
        let log = Arc::new(SqliteEventLog::open(&self.storage, Arc::new(SystemClock)).unwrap());
        Backing::Embedded(Embedded { storage: self.storage.clone(), log })
    }

    /// The ledger, over connections of its own.
    pub async fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(SqliteLedger::open(&self.storage, &Metrics::new("acquirer")).unwrap())
    }

    /// The kinds of the key's ledger lines, oldest first.
    pub async fn lines_of(&self, key: &str) -> Vec<String> {
        let connection = self.storage.open_read_only("acquirer_db").unwrap();
        let mut lines = connection.prepare("SELECT kind FROM ledger WHERE key = ?1 ORDER BY sequence").unwrap();
        lines.query_map([key], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Tries to change the database by hand; answers whether it let that happen.
    pub async fn takes(&self, sql: &'static str) -> bool {
        self.storage.open("acquirer_db").unwrap().execute(sql, []).is_ok()
    }
}
