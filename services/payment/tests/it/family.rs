//! The embedded adapter family, as a test needs it.

use std::sync::Arc;

use chassis::clock::{SharedClock, SystemClock};
use chassis::metrics::Metrics;
use eventlog::outbox::sqlite::SqliteOutbox;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded, Outbox};
use payment::adapters::outbound::sqlite::SqlitePayments;
use payment::adapters::outbound::stored::OUTBOX;
use payment::application::ports::PaymentStore;
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

    /// The store, over connections of its own, and its outbox.
    pub async fn open(&self, clock: SharedClock) -> (Arc<dyn PaymentStore>, Arc<dyn Outbox>) {
        let store = Arc::new(SqlitePayments::open(&self.storage, &Metrics::new("payment")).unwrap());
        let outbox = Arc::new(SqliteOutbox::new(store.db(), OUTBOX, clock));
        (store, outbox)
    }

    /// The kinds of the acquirer's ledger lines, oldest first.
    pub async fn acquirers_lines(&self) -> Vec<String> {
        let ledger = self.storage.open_read_only("acquirer_db").unwrap();
        let mut lines = ledger.prepare("SELECT kind FROM ledger ORDER BY sequence").unwrap();
        lines.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}
