//! The family of servers, for the harness.

use std::cell::RefCell;
use std::path::Path;

use eventlog::Backing;
use servers::Borrowed;

use crate::harness::PATIENCE;

thread_local! {
    /// A test has a thread of its own: its servers live as long as it does.
    static BORROWED: RefCell<Option<Borrowed>> = const { RefCell::new(None) };
}

/// The servers of this test, in its namespace.
pub fn connections() -> store::Servers {
    BORROWED
        .with_borrow_mut(|borrowed| borrowed.get_or_insert_with(|| servers::for_test().unwrap()).connections.clone())
}

/// A shop for each folder, as in the embedded family.
pub fn backing(folder: &Path) -> Backing {
    let mut servers = connections();
    let name = folder.file_name().unwrap().as_encoded_bytes();
    servers.namespace.push('_');
    servers.namespace.extend(name.iter().map(|byte| format!("{byte:02x}")));
    Backing::Servers(servers)
}

/// Asks until `probe` answers; fails the test after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
