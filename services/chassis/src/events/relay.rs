//! The relay: carries outbox rows to the event log, at least once, in the order of each aggregate.
//!
//! A log that lost messages is refilled, aggregate by aggregate, when the aggregate's next event
//! finds its predecessor gone. An aggregate that never has another event is not looked at again:
//! what the log lost of it stays in the outbox alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{EventLog, Outbox, Publish, PublishError, Stream, Unpublished};
use crate::store::StoreError;

/// How many aggregates are in flight at once.
const PIPELINE: usize = 256;
/// How long to wait after the log or the store failed.
const RETRY: Duration = Duration::from_millis(200);

/// The relay of one stream. One instance at a time; the log's expected-sequence check fences a
/// second one.
pub struct Relay {
    pub stream: Stream,
    pub outbox: Arc<dyn Outbox>,
    pub log: Arc<dyn EventLog>,
}

impl Relay {
    /// Runs until shutdown. A commit wakes it; what is found at the start is what a killed
    /// process left behind.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let pause = match self.round().await {
                Ok(0) => None,
                Ok(_) => Some(Duration::ZERO),
                Err(error) => {
                    tracing::warn!(stream = %self.stream, %error, "the relay waits");
                    Some(RETRY)
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = async {
                    match pause {
                        None => self.outbox.committed().notified().await,
                        Some(Duration::ZERO) => tokio::task::yield_now().await,
                        Some(delay) => sleep(delay).await,
                    }
                } => {}
            }
        }
    }

    /// Publishes the next event of up to [`PIPELINE`] aggregates; answers how many it moved on.
    ///
    /// # Errors
    /// When the store or the log is unavailable, or the log has a hole; nothing is lost by that.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let waiting = self.outbox.unpublished(PIPELINE).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let batch: Vec<Publish> = waiting
            .iter()
            .map(|row| Publish { event: row.event.clone(), expected_last: row.previous_sequence })
            .collect();
        let answers = self.log.publish(self.stream, &batch).await;
        let mut published = Vec::with_capacity(waiting.len());
        let mut failure = None;
        for (row, answer) in waiting.iter().zip(answers) {
            match answer {
                Ok(sequence) => published.push(mark(row, sequence)),
                Err(PublishError::WrongLast { .. }) => match self.reconcile(row).await {
                    Ok(mark) => published.extend(mark),
                    Err(error) => failure = Some(error),
                },
                Err(PublishError::Log(error)) => failure = Some(error),
            }
        }
        self.outbox.mark_published(&published).await?;
        match failure {
            Some(error) => Err(error),
            None => Ok(waiting.len()),
        }
    }

    /// The log did not stand where the outbox thought; its last version decides. Mine or later: it
    /// is there already (the process died before marking it). The one before mine: publish after
    /// it. Earlier: the log lost its end, and the rounds to come refill it.
    async fn reconcile(&self, row: &Unpublished) -> Result<Option<(String, i64, i64)>, StoreError> {
        let (aggregate, mine) = (&row.event.aggregate, row.event.version);
        let last = self.log.last(self.stream, aggregate).await?;
        let (version, sequence) = last.map_or((0, 0), |message| (message.event.version, message.sequence));
        if version >= mine {
            let stands = self.log.read(self.stream, aggregate).await?;
            let found = stands.iter().find(|message| message.event.version == mine);
            let hole =
                || StoreError::Corrupt(format!("the log holds {aggregate}/{version} but not {}", row.event.id()));
            return found.map(|message| Some(mark(row, message.sequence))).ok_or_else(hole);
        }
        if version + 1 < mine {
            // All marks go before the first event is published again: a refill that is interrupted
            // must leave none behind that a sequence of the new log could match by chance.
            tracing::warn!(stream = %self.stream, aggregate, from = version + 1, "the log lost events: refilling");
            self.outbox.mark_lost(aggregate, version + 1).await?;
            return Ok(None);
        }
        let publish = Publish { event: row.event.clone(), expected_last: sequence };
        match self.log.publish(self.stream, &[publish]).await.pop() {
            Some(Ok(at)) => Ok(Some(mark(row, at))),
            Some(Err(error)) => Err(StoreError::Conflict(error.to_string())),
            None => Err(StoreError::Corrupt("the log did not answer".into())),
        }
    }
}

fn mark(row: &Unpublished, sequence: i64) -> (String, i64, i64) {
    (row.event.aggregate.clone(), row.event.version, sequence)
}
