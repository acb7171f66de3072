//! The family of servers, for the harness.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use chassis::clock::SystemClock;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{Backing, EventLog};
use servers::Borrowed;
use store::sqlite::Storage;

thread_local! {
    /// A test has a thread of its own: its servers live as long as it does.
    static BORROWED: RefCell<Option<Borrowed>> = const { RefCell::new(None) };
}

/// The servers of this test, in its namespace.
pub fn connections() -> store::Servers {
    BORROWED
        .with_borrow_mut(|borrowed| borrowed.get_or_insert_with(|| servers::for_test().unwrap()).connections.clone())
}

/// A shop for each folder, as in the embedded family; the event log alone stands in the folder.
pub fn backing(folder: &Path) -> (Backing, Arc<dyn EventLog>) {
    let mut servers = connections();
    let name = folder.file_name().unwrap().as_encoded_bytes();
    servers.namespace.push('_');
    servers.namespace.extend(name.iter().map(|byte| format!("{byte:02x}")));
    (Backing::Servers(servers), event_log(folder))
}

/// An event log without a server.
pub fn event_log(folder: &Path) -> Arc<dyn EventLog> {
    Arc::new(SqliteEventLog::open(&Storage::Folder(folder.to_owned()), Arc::new(SystemClock)).unwrap())
}
