//! The relay: carries outbox rows to the event log, at least once, in the order of each aggregate.
//!
//! A log may lose its end: it syncs late, a copy of it is restored, its disk is gone. So nothing is
//! published to a stream that has not been *verified* since it could have lost something: at the
//! relay's start, after any failure, and when the log says that it was disturbed. Verified means that
//! the row with the greatest known sequence stands there: what is lost is always an end, so all before it
//! stands too. Otherwise the relay looks for the last sequence up to which rows and log agree, sends the
//! consumers back there, and marks every row behind it as unpublished; the rounds that follow refill the
//! log, with aggregates in it that will never have another event.
//!
//! Interrupted at any point, that begins anew: the marks go last, and the greatest of them first, so that a
//! mark which the log contradicts is there until the consumers are back, and none is left when the first
//! event is published again. A row that is published is not marked, so a mark that was made in a lost
//! log never agrees with the new one by chance.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::StoreError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::log::{EventLog, Publish, PublishError};
use crate::outbox::{Outbox, Published, Unpublished};
use crate::stream::Stream;

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

/// What makes it allowed to publish.
struct Verified<'a> {
    /// The row with the greatest sequence that the log is known to hold.
    last: Option<Published>,
    /// Ready when the log may have lost something since.
    disturbed: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl Verified<'_> {
    fn is_disturbed(&mut self) -> bool {
        self.disturbed.as_mut().now_or_never().is_some()
    }
}

/// What the log says to a row.
enum Answer {
    StandsAt(i64),
    /// The log holds less of the aggregate than it did: what is missing begins with this version.
    LostFrom(i64),
}

/// Why a round did not do all its work.
enum Failure {
    /// The log has to be verified before anything else is published.
    Doubt(StoreError),
    /// Of one row alone.
    Row(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Doubt(error),
            StoreError::Conflict(_) | StoreError::Corrupt(_) => Self::Row(error),
        }
    }
}

fn doubt(why: &str) -> StoreError {
    StoreError::Unavailable(format!("the log is in doubt: {why}"))
}

impl Relay {
    /// Runs until shutdown. A commit wakes it; what is found at the start is what a killed
    /// process left behind.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.relay() => {}
            }
        })
    }

    async fn relay(&self) {
        loop {
            let Err(error) = self.relay_while_verified().await;
            tracing::warn!(stream = %self.stream, %error, "the relay waits");
            sleep(RETRY).await;
        }
    }

    async fn relay_while_verified(&self) -> Result<std::convert::Infallible, StoreError> {
        let mut verified = self.verify().await?;
        loop {
            if self.publish_waiting(&mut verified).await? > 0 {
                tokio::task::yield_now().await;
                continue;
            }
            let disturbed = tokio::select! {
                biased;
                () = &mut verified.disturbed => true,
                () = self.outbox.committed().notified() => false,
            };
            if disturbed {
                verified = self.verify().await?;
            }
        }
    }

    /// Verifies the log, then publishes the next event of up to [`PIPELINE`] aggregates; answers how many
    /// it moved on. That is what a relay does which has just started.
    ///
    /// # Errors
    /// When the store or the log is unavailable, or the log has a hole; nothing is lost by that.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut verified = self.verify().await?;
        self.publish_waiting(&mut verified).await
    }

    async fn publish_waiting(&self, verified: &mut Verified<'_>) -> Result<usize, StoreError> {
        let waiting = self.outbox.unpublished(PIPELINE).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        // Between the last look and this one the log may have come back with less in it.
        if verified.is_disturbed() {
            return Err(doubt("it was disturbed"));
        }
        let batch: Vec<Publish> = waiting
            .iter()
            .map(|row| Publish { event: row.event.clone(), expected_last: row.previous_sequence })
            .collect();
        let answers = self.log.publish(self.stream, &batch).await;
        let (mut marks, mut lost, mut failure) = (Vec::with_capacity(waiting.len()), Vec::new(), None);
        for (row, answer) in waiting.iter().zip(answers) {
            match self.understand(row, answer).await {
                Ok(Answer::StandsAt(sequence)) => marks.push(mark(row, sequence)),
                Ok(Answer::LostFrom(version)) => lost.push((&row.event.aggregate, version)),
                // Some of the others may have been published before the log lost something, some after: none
                // is marked. They will be found there, or not, when it has been verified.
                Err(Failure::Doubt(error)) => return Err(error),
                Err(Failure::Row(error)) => failure = Some(error),
            }
        }
        self.check(verified, &marks, !lost.is_empty()).await?;
        for (aggregate, version) in lost {
            tracing::warn!(stream = %self.stream, aggregate, from = version, "the log lost events: refilling");
            self.outbox.mark_lost(aggregate, version).await?;
        }
        if !marks.is_empty() {
            self.outbox.mark_published(&marks).await?;
        }
        let last = marks.into_iter().map(|(aggregate, version, sequence)| Published { aggregate, version, sequence });
        verified.last = verified.last.take().into_iter().chain(last).max_by_key(|row| row.sequence);
        match failure {
            Some(error) => Err(error),
            None => Ok(waiting.len()),
        }
    }

    /// Whether these answers are of the log that was verified. A sequence that is not greater than the
    /// greatest known one is of an event that an earlier process published and did not mark, or of a
    /// log that went back: what stands at the greatest known one tells.
    async fn check(
        &self,
        verified: &mut Verified<'_>,
        marks: &[(String, i64, i64)],
        lost: bool,
    ) -> Result<(), StoreError> {
        if verified.is_disturbed() {
            return Err(doubt("it was disturbed"));
        }
        let sequences: BTreeSet<i64> = marks.iter().map(|mark| mark.2).collect();
        if sequences.len() < marks.len() {
            return Err(doubt("it gave two events one sequence"));
        }
        let Some(last) = &verified.last else { return Ok(()) };
        let gone_back = sequences.first().is_some_and(|first| *first <= last.sequence);
        if (gone_back || lost) && !self.stands(last).await? {
            return Err(doubt("it has gone back"));
        }
        Ok(())
    }

    async fn understand(&self, row: &Unpublished, answer: Result<i64, PublishError>) -> Result<Answer, Failure> {
        match answer {
            Ok(sequence) => Ok(Answer::StandsAt(sequence)),
            Err(PublishError::WrongLast { .. }) => self.reconcile(row).await,
            Err(PublishError::Log(error)) => Err(error.into()),
        }
    }

    /// The log did not stand where the outbox thought; its last version decides. Mine or later: it
    /// is there already (the process died before marking it). The one before mine: publish after
    /// it. Earlier: the log lost events of this aggregate.
    async fn reconcile(&self, row: &Unpublished) -> Result<Answer, Failure> {
        let (aggregate, mine) = (&row.event.aggregate, row.event.version);
        let last = self.log.last(self.stream, aggregate).await?;
        let (version, sequence) = last.map_or((0, 0), |message| (message.event.version, message.sequence));
        if version >= mine {
            let stands = self.log.read(self.stream, aggregate).await?;
            let found = stands.iter().find(|message| message.event.version == mine);
            let hole =
                || StoreError::Corrupt(format!("the log holds {aggregate}/{version} but not {}", row.event.id()));
            return Ok(Answer::StandsAt(found.ok_or_else(hole)?.sequence));
        }
        if version + 1 < mine {
            return Ok(Answer::LostFrom(version + 1));
        }
        let publish = Publish { event: row.event.clone(), expected_last: sequence };
        match self.log.publish(self.stream, &[publish]).await.pop() {
            Some(Ok(at)) => Ok(Answer::StandsAt(at)),
            Some(Err(PublishError::Log(error))) => Err(error.into()),
            // Somebody else publishes as well.
            Some(Err(error @ PublishError::WrongLast { .. })) => {
                Err(Failure::Doubt(StoreError::Conflict(error.to_string())))
            }
            None => Err(StoreError::Corrupt("the log did not answer".into()).into()),
        }
    }

    /// Makes sure that rows and log agree.
    async fn verify(&self) -> Result<Verified<'_>, StoreError> {
        let mut disturbed = self.log.disturbed();
        // What happens from here on is noticed.
        if disturbed.as_mut().now_or_never().is_some() {
            return Err(doubt("it was disturbed"));
        }
        self.log.prepare(self.stream).await?;
        let last = match self.outbox.last_published(i64::MAX).await? {
            Some(last) if !self.stands(&last).await? => self.go_back(last).await?,
            last => last,
        };
        Ok(Verified { last, disturbed })
    }

    /// `lost` does not stand in the log: takes back every mark that does not hold. Answers the last
    /// row that does.
    async fn go_back(&self, lost: Published) -> Result<Option<Published>, StoreError> {
        let agreed = self.last_agreed(&lost).await?;
        let last = agreed.as_ref().map_or(0, |row| row.sequence);
        let missing = lost.id();
        tracing::warn!(stream = %self.stream, behind = last, missing, "the log lost its end: refilling");
        self.log.rewind(self.stream, last).await?;
        self.outbox.mark_all_lost(last).await?;
        Ok(agreed)
    }

    /// The last row that stands in the log, where `lost` does not: a binary search, for what is lost is
    /// an end.
    async fn last_agreed(&self, lost: &Published) -> Result<Option<Published>, StoreError> {
        if self.log.scan(self.stream, 0, 1).await?.is_empty() {
            return Ok(None);
        }
        let mut agreed: Option<Published> = None;
        // No marked row up to `holds` is missing; the one at `fails` is.
        let (mut holds, mut fails) = (0, lost.sequence);
        while fails - holds > 1 {
            let middle = holds + (fails - holds) / 2;
            match self.outbox.last_published(middle).await?.filter(|row| row.sequence > holds) {
                None => holds = middle,
                Some(row) if self.stands(&row).await? => {
                    holds = middle;
                    agreed = Some(row);
                }
                Some(row) => fails = row.sequence,
            }
        }
        Ok(agreed)
    }

    async fn stands(&self, row: &Published) -> Result<bool, StoreError> {
        let there = self.log.at(self.stream, row.sequence).await?;
        Ok(there.is_some_and(|message| message.event.id() == row.id()))
    }
}

fn mark(row: &Unpublished, sequence: i64) -> (String, i64, i64) {
    (row.event.aggregate.clone(), row.event.version, sequence)
}
