//! The embedded family, for the harness.

use std::path::Path;
use std::sync::Arc;

use chassis::clock::SystemClock;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded, EventLog};
use store::sqlite::Storage;

pub fn backing(folder: &Path) -> (Backing, Arc<dyn EventLog>) {
    let storage = Storage::Folder(folder.to_owned());
    let log: Arc<dyn EventLog> = Arc::new(SqliteEventLog::open(&storage, Arc::new(SystemClock)).unwrap());
    (Backing::Embedded(Embedded { storage, log: log.clone() }), log)
}
