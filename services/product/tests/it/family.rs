//! The embedded family, for the harness.

use std::path::Path;
use std::sync::Arc;

use chassis::clock::SystemClock;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded};
use store::sqlite::Storage;

pub fn backing(folder: &Path) -> Backing {
    let storage = Storage::Folder(folder.to_owned());
    let log = Arc::new(SqliteEventLog::open(&storage, Arc::new(SystemClock)).unwrap());
    Backing::Embedded(Embedded { storage, log })
}
