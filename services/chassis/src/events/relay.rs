//! The relay: carries outbox rows to the event log, at least once, in the order of each aggregate.

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

    /// Publishes the next event of up to [`PIPELINE`] aggregates; answers how many.
    ///
    /// # Errors
    /// When the store or the log is unavailable; nothing is lost by that.
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
                    Ok(marks) => published.extend(marks),
                    Err(error) => failure = Some(error),
                },
                Err(PublishError::Log(error)) => failure = Some(error),
            }
        }
        self.outbox.mark_published(&published).await?;
        match failure {
            Some(error) => Err(error),
            None => Ok(published.len()),
        }
    }

    /// The log did not stand where the outbox thought. Its last version decides: mine or later, it
    /// is there already (the process died before marking it); earlier, publish from there on,
    /// which also refills a log that lost its end.
    async fn reconcile(&self, row: &Unpublished) -> Result<Vec<(String, i64, i64)>, StoreError> {
        let aggregate = &row.event.aggregate;
        let last = self.log.last(self.stream, aggregate).await?;
        let (mut version, mut sequence) = last.map_or((0, 0), |m| (m.event.version, m.sequence));
        if version >= row.event.version {
            let stands = self.log.read(self.stream, aggregate).await?;
            let found = stands.iter().find(|message| message.event.version == row.event.version);
            return Ok(found.map(|message| mark(row, message.sequence)).into_iter().collect());
        }
        let mut marks = Vec::new();
        for event in self.outbox.all_of(aggregate).await? {
            if event.version <= version || event.version > row.event.version {
                continue;
            }
            let publish = Publish { event: event.clone(), expected_last: sequence };
            match self.log.publish(self.stream, &[publish]).await.pop() {
                Some(Ok(at)) => sequence = at,
                Some(Err(error)) => return Err(StoreError::Conflict(error.to_string())),
                None => return Err(StoreError::Corrupt("the log did not answer".into())),
            }
            version = event.version;
            marks.push((aggregate.clone(), version, sequence));
        }
        Ok(marks)
    }
}

fn mark(row: &Unpublished, sequence: i64) -> (String, i64, i64) {
    (row.event.aggregate.clone(), row.event.version, sequence)
}
