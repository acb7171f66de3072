//! The embedded family, for the harness.

use std::path::Path;
use std::sync::Arc;

use chassis::clock::SystemClock;
use chassis::env::{Backing, Embedded};
use chassis::events::sqlite::SqliteEventLog;
use chassis::sqlite::Storage;

pub fn backing(folder: &Path) -> Backing {
    let storage = Storage::Folder(folder.to_owned());
    let log = Arc::new(SqliteEventLog::open(&storage, Arc::new(SystemClock)).unwrap());
    Backing::Embedded(Embedded { storage, log })
}
