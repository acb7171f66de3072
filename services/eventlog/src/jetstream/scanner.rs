//! Reads a stream from end to end, a page at a time, through one consumer of its own: that costs a tenth of
//! asking for message after message. The server forgets it soon after the last page.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber, jetstream};
use futures_util::StreamExt as _;
use serde_json::json;
use store::StoreError;
use tokio::time::{Instant, timeout_at};

use super::broker::{Broker, DEADLINE};
use crate::event::Message;
use crate::stream::Stream;

/// How long the server keeps a consumer that nobody asks for a page.
const KEPT: Duration = Duration::from_secs(30);

pub(super) struct Scanner {
    stream: Stream,
    era: u64,
    /// The consumer's name on the server.
    name: String,
    inbox: String,
    subscriber: Subscriber,
    request: u64,
    /// Everything up to here has been read.
    read: i64,
    asked_at: Instant,
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("NATS: {error}"))
}

impl Scanner {
    /// Begins behind the sequence `after`.
    pub async fn start(broker: &Broker, stream: Stream, after: i64) -> Result<Self, StoreError> {
        let era = broker.era().ok_or_else(|| failed("not connected"))?;
        let inbox = broker.client.new_inbox();
        let subscriber = broker.client.subscribe(format!("{inbox}.*")).await.map_err(failed)?;
        let start = u64::try_from(after).unwrap_or_default() + 1;
        let name = broker.create_ephemeral(stream, start, KEPT).await?;
        Ok(Self { stream, era, name, inbox, subscriber, request: 0, read: after, asked_at: Instant::now() })
    }

    /// Whether the next page begins where this one ended.
    pub fn continues(&self, broker: &Broker, stream: Stream, after: i64) -> bool {
        let fresh = self.asked_at.elapsed() < KEPT / 2;
        self.stream == stream && self.read == after && broker.era() == Some(self.era) && fresh
    }

    /// Up to `most` messages; none only at the end.
    pub async fn page(&mut self, broker: &Broker, most: usize) -> Result<Vec<Message>, StoreError> {
        self.asked_at = Instant::now();
        self.request += 1;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", broker.name(self.stream), self.name);
        let inbox = format!("{}.{}", self.inbox, self.request);
        let request = json!({ "batch": most, "no_wait": true }).to_string();
        broker.client.publish_with_reply(subject, inbox.clone(), request.into()).await.map_err(failed)?;
        let deadline = Instant::now() + DEADLINE;
        let mut page = Vec::new();
        while page.len() < most {
            let came = timeout_at(deadline, self.subscriber.next()).await;
            let message = came.map_err(|_| failed("no answer in time"))?.ok_or_else(|| failed("closed"))?;
            match message.status {
                None => {}
                // The end of a page that was left at its last message comes late.
                Some(_) if message.subject.as_str() != inbox => continue,
                // Nothing there; or nothing more than what has come.
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => break,
                Some(status) => return Err(failed(status)),
            }
            let message = jetstream::Message { message, context: broker.context() };
            let pending = message.info().map_err(failed)?.pending;
            page.push(broker.stored_there(self.stream, &message)?);
            if pending == 0 {
                break;
            }
        }
        self.read = page.last().map_or(self.read, |last| last.sequence);
        Ok(page)
    }
}
