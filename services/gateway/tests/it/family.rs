//! The embedded family, for the harness.

use std::path::Path;
use std::sync::Arc;

use chassis::clock::{SharedClock, SystemClock};
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, Embedded};
use store::sqlite::Storage;

pub fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

pub fn backing(folder: &Path) -> Backing {
    let storage = Storage::Folder(folder.to_owned());
    let log = Arc::new(SqliteEventLog::open(&storage, clock()).unwrap());
    Backing::Embedded(Embedded { storage, log })
}
