//! What the tests lend the code: a clock that can be moved, and an event log that outlives a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chassis::Clock;
use chassis::events::sqlite::{DATABASE, SqliteEventLog};
use chassis::sqlite::Storage;
use kernel::Timestamp;
use tempfile::TempDir;
use tokio::time::Instant;

/// A wall clock that goes with tokio's time, which tests pause, and counts who asks.
pub struct TestClock {
    started: Instant,
    readings: AtomicU64,
}

impl TestClock {
    const EPOCH: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    pub fn new() -> Self {
        Self { started: Instant::now(), readings: AtomicU64::new(0) }
    }

    /// How often anybody looked at the clock.
    pub fn readings(&self) -> u64 {
        self.readings.load(Ordering::Relaxed)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.readings.fetch_add(1, Ordering::Relaxed);
        Self::EPOCH.plus(self.started.elapsed())
    }
}

/// A folder with databases in it, and the clock of whoever opens them.
pub struct World {
    pub folder: TempDir,
    pub storage: Storage,
    pub clock: Arc<TestClock>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        Self { folder, storage, clock: Arc::new(TestClock::new()) }
    }

    /// The same in this process's memory, for those who need many: what nobody has open is gone.
    pub fn in_memory() -> Self {
        let world = Self::new();
        let name = world.folder.path().file_name().unwrap().to_string_lossy().into_owned();
        Self { storage: Storage::Memory(name), ..world }
    }

    /// Opens the log as it stands on disk.
    pub fn log(&self) -> Arc<SqliteEventLog> {
        Arc::new(SqliteEventLog::open(&self.storage, self.clock.clone()).unwrap())
    }

    /// Deletes the log's files, as a broker that lost its disk; nobody may have it open.
    pub fn lose_the_log(&self) {
        for suffix in ["db", "db-wal", "db-shm"] {
            let file = self.folder.path().join(format!("{DATABASE}.{suffix}"));
            if file.exists() {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The outcome of `work`, which comes within [`PATIENCE`].
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
