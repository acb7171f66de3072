use async_trait::async_trait;
use store::StoreError;

use crate::domain::charge::{Charge, Key, Posting, Refusal};

/// The acquirer's durable memory.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Posts in the given order, one answer each: where the key stands afterwards. MUST decide by
    /// [`crate::domain::charge::decide`] on the latest state, which includes the postings before it
    /// in the batch; MUST have committed every change together with its ledger line before it
    /// answers. A refused posting MUST NOT keep the others from being posted.
    ///
    /// # Errors
    /// When it is not known of each whether it was written: the same postings, made again, find out.
    async fn post(&self, postings: &[Posting]) -> Result<Vec<Result<Charge, Refusal>>, StoreError>;

    /// Where the key stands; `None` if it was never seen.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn find(&self, key: &Key) -> Result<Option<Charge>, StoreError>;
}
