//! The invariants that can be judged while the load runs: those of one database, which a single
//! statement sees in one moment, and those of the witness.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use audit::Finding;
use audit::books::Books;
use audit::invariants::stock_findings;
use audit::manifest::Manifest;
use audit::shelf::BookShelf;
use audit::witness::WitnessLog;

/// Looking takes at most one part in so many of the time.
const SHARE: u32 = 50;
/// Beyond so many orders the witness is asked at the end only: asking it holds the load up.
const WITNESS_ORDERS_MAX: usize = 5_000;

/// Looks now and then.
pub struct LiveInvariants {
    shelf: BookShelf,
    /// Opened at the first look: whoever looks has a runtime of its own.
    books: Option<Arc<dyn Books>>,
    manifest: Manifest,
    findings: BTreeMap<String, (u64, u64)>,
    not_before: Instant,
}

impl LiveInvariants {
    pub fn new(shelf: BookShelf, manifest: Manifest) -> Self {
        Self { shelf, books: None, manifest, findings: BTreeMap::new(), not_before: Instant::now() }
    }

    /// Checks once more, unless the last time was so long that it is too early.
    pub async fn look(&mut self, witness: &WitnessLog) {
        let began = Instant::now();
        if began < self.not_before {
            return;
        }
        if self.books.is_none() {
            self.books = self.shelf.open().await.ok();
        }
        if let Some(books) = &self.books
            && let Ok(stock) = books.stock(&self.manifest.scenario).await
        {
            self.take(stock_findings(&stock, Some(&self.manifest), None));
        }
        if let Some(known) = witness.witness_of_at_most(WITNESS_ORDERS_MAX) {
            // Orders that were placed after the look at the witness are no business of it.
            self.take([known.one_key_one_order(0), known.never_told_more_than_stock(&self.manifest)]);
        }
        let took: Duration = began.elapsed();
        self.not_before = began + took * SHARE;
    }

    /// How often the invariant was checked, and found broken, in the last look.
    pub fn found(&self, name: &str) -> (u64, u64) {
        self.findings.get(name).copied().unwrap_or_default()
    }

    fn take(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            // What was broken once stays so.
            let (_, before) = self.found(&finding.name);
            self.findings.insert(finding.name, (finding.checked, finding.violations.max(before)));
        }
    }
}
