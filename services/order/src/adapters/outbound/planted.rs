//! PLANTED BUGS of the outbox that the order service's relay empties, for tests that they are found.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use chassis::env::StartError;
use eventlog::{Event, Outbox, Published, Unpublished};
use store::StoreError;
use tokio::sync::Notify;

use crate::application::planted::PlantedBug;

/// The outbox, as the relay sees it.
pub fn outbox(outbox: Arc<dyn Outbox>, bug: Option<PlantedBug>) -> Arc<dyn Outbox> {
    match bug {
        Some(bug @ (PlantedBug::RelayMarksFirst | PlantedBug::RelayTimeCursor)) => {
            Arc::new(PlantedOutbox { outbox, bug, youngest: AtomicI64::new(i64::MIN) })
        }
        _ => outbox,
    }
}

/// Those that stand beside SQLite's statements are in no other store.
///
/// # Errors
/// When `bug` is one of them.
pub fn not_on_servers(bug: Option<PlantedBug>) -> Result<(), StartError> {
    match bug {
        Some(PlantedBug::LastWriterWins | PlantedBug::IgnoreEpoch) => {
            Err(StartError("order: last-writer-wins and ignore-epoch are planted in the embedded family alone".into()))
        }
        _ => Ok(()),
    }
}

struct PlantedOutbox {
    outbox: Arc<dyn Outbox>,
    bug: PlantedBug,
    /// The cursor: microseconds since 1970.
    youngest: AtomicI64,
}

#[async_trait]
impl Outbox for PlantedOutbox {
    async fn unpublished(&self, most: usize) -> Result<Vec<Unpublished>, StoreError> {
        let mut rows = self.outbox.unpublished(most).await?;
        if self.bug == PlantedBug::RelayMarksFirst {
            // Where they will stand nobody knows yet.
            let marks: Vec<_> = rows.iter().map(|row| (row.event.aggregate.clone(), row.event.version, 0)).collect();
            if !marks.is_empty() {
                self.outbox.mark_published(&marks).await?;
            }
            return Ok(rows);
        }
        let youngest = self.youngest.load(Ordering::Relaxed);
        rows.retain(|row| row.event.occurred_at.as_micros() >= youngest);
        let last = rows.iter().map(|row| row.event.occurred_at.as_micros()).max();
        self.youngest.fetch_max(last.unwrap_or(i64::MIN), Ordering::Relaxed);
        Ok(rows)
    }

    async fn all_of(&self, aggregate: &str) -> Result<Vec<Event>, StoreError> {
        self.outbox.all_of(aggregate).await
    }

    async fn mark_published(&self, rows: &[(String, i64, i64)]) -> Result<(), StoreError> {
        self.outbox.mark_published(rows).await
    }

    async fn mark_lost(&self, aggregate: &str, version: i64) -> Result<(), StoreError> {
        self.outbox.mark_lost(aggregate, version).await
    }

    async fn last_published(&self, not_after: i64) -> Result<Option<Published>, StoreError> {
        self.outbox.last_published(not_after).await
    }

    async fn mark_all_lost(&self, after: i64) -> Result<(), StoreError> {
        self.outbox.mark_all_lost(after).await
    }

    fn committed(&self) -> &Notify {
        self.outbox.committed()
    }
}
