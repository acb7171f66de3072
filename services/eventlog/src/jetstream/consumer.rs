//! A durable pull consumer. It asks for what is there; if that is nothing, it leaves one request for one
//! message with the server, which answers it the moment that there is one. So nothing is taken before
//! somebody wants it, and the time to acknowledge a message begins when it is handed out.
//!
//! Deliveries and acknowledgements belong to one connection. When that is lost, the log may have lost its end
//! and another message may come to stand at a sequence: whatever was under way is forgotten here, and comes again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_nats::jetstream::message::AckKind;
use async_nats::{Request, StatusCode, Subject, Subscriber, jetstream};
use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use store::StoreError;
use tokio::time::{Instant, sleep_until, timeout};

use super::broker::Broker;
use crate::event::{Event, Message};
use crate::log::{Consumer, ConsumerSettings, Publish, PublishError};
use crate::stream::{DEAD_LETTERS, Stream};

/// How long the server keeps a request that it has nothing for.
const EXPIRY: Duration = Duration::from_secs(30);
/// How often it says meanwhile that it is there, and how long it may be silent.
const HEARTBEAT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(5);
/// How long the rest of a batch may take when its first message is here.
const GAP: Duration = Duration::from_millis(20);
/// How long a call waits for a lost connection.
const RECONNECT: Duration = Duration::from_secs(1);
/// How many messages are asked for at once.
const BATCH_MAX: usize = 1_000;
/// How many messages may be under way; the oldest is forgotten, and comes again.
const UNDER_WAY_MAX: usize = 4_096;

pub(super) struct JetStreamConsumer {
    broker: Broker,
    stream: Stream,
    settings: ConsumerSettings,
    line: Option<Line>,
    /// Delivered, not handed out.
    arrived: VecDeque<Delivery>,
    /// Handed out, not settled; by sequence.
    under_way: BTreeMap<i64, Delivery>,
}

/// Where the deliveries of one connection come in.
struct Line {
    era: u64,
    inbox: String,
    subscriber: Subscriber,
    /// The number of the last request.
    request: u64,
    asked: Option<Asked>,
    /// There was nothing when it was last asked for.
    empty: bool,
}

/// A request that is not answered yet.
#[derive(Clone, Copy)]
struct Asked {
    waits: bool,
    /// When something is wrong if nothing has come.
    until: Instant,
}

#[derive(Clone)]
struct Delivery {
    message: Message,
    /// Where it is settled.
    reply: Subject,
}

fn gone(what: &str) -> StoreError {
    StoreError::Unavailable(format!("NATS: {what}"))
}

impl JetStreamConsumer {
    pub async fn open(broker: Broker, stream: Stream, settings: ConsumerSettings) -> Result<Self, StoreError> {
        let (arrived, under_way) = (VecDeque::new(), BTreeMap::new());
        let mut consumer = Self { broker, stream, settings, line: None, arrived, under_way };
        consumer.connect().await?;
        Ok(consumer)
    }

    /// Makes sure that there is a line of the present connection.
    async fn connect(&mut self) -> Result<(), StoreError> {
        if self.broker.era().is_none() {
            // Whatever ends the wait is looked at below.
            let _ = timeout(RECONNECT, self.broker.after_era(self.broker.connections())).await;
        }
        let era = self.broker.era().ok_or_else(|| gone("not connected"))?;
        if self.line.as_ref().is_some_and(|line| line.era == era) {
            return Ok(());
        }
        self.line = None;
        self.arrived.clear();
        self.under_way.clear();
        self.broker.prepare(DEAD_LETTERS).await?;
        self.broker.make_consumer(self.stream, &self.settings).await?;
        let inbox = self.broker.client.new_inbox();
        let subscriber = self.broker.client.subscribe(format!("{inbox}.*")).await;
        let subscriber = subscriber.map_err(|error| gone(&error.to_string()))?;
        self.line = Some(Line { era, inbox, subscriber, request: 0, asked: None, empty: false });
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.line.as_ref().is_some_and(|line| self.broker.era() == Some(line.era))
    }

    /// Takes in what has come, without waiting.
    fn collect(&mut self, most: usize) -> Result<(), StoreError> {
        while self.arrived.len() < most {
            let Some(line) = &mut self.line else { return Ok(()) };
            match line.subscriber.next().now_or_never() {
                Some(came) => self.receive(came, most)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Hands out up to `most` of what has arrived; acknowledges what is not wanted, parks what was delivered
    /// too often. Whoever gives up waiting in between loses nothing.
    async fn hand_out(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        let mut ready = 0;
        while ready < most
            && let Some(next) = self.arrived.get(ready).cloned()
        {
            let message = &next.message;
            if !self.settings.kinds.is_empty() && !self.settings.kinds.contains(&message.event.kind.as_str()) {
                self.tell(next.reply, AckKind::Ack).await?;
            } else if message.deliveries > self.settings.deliveries_max {
                match self.bury(next).await {
                    Err(_) if ready > 0 => break,
                    buried => buried?,
                }
            } else {
                ready += 1;
                continue;
            }
            self.arrived.remove(ready);
        }
        let batch: Vec<Message> = self.arrived.iter().take(ready).map(|delivery| delivery.message.clone()).collect();
        self.under_way.extend(self.arrived.drain(..ready).map(|delivery| (delivery.message.sequence, delivery)));
        while self.under_way.len() > UNDER_WAY_MAX {
            self.under_way.pop_first();
        }
        Ok(batch)
    }

    /// Asks the server, unless there is a request already.
    async fn ask(&mut self, most: usize) -> Result<(), StoreError> {
        let Some(line) = self.line.as_mut().filter(|line| line.asked.is_none()) else { return Ok(()) };
        let nanos = |duration: Duration| duration.as_nanos() as u64;
        let waits = line.empty;
        let request = match waits {
            true => json!({ "batch": 1, "expires": nanos(EXPIRY), "idle_heartbeat": nanos(HEARTBEAT) }),
            false => json!({ "batch": most.min(BATCH_MAX), "no_wait": true }),
        };
        line.request += 1;
        let inbox = format!("{}.{}", line.inbox, line.request);
        let (stream, name) = (self.broker.name(self.stream), self.settings.name);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        let sent = self.broker.client.publish_with_reply(subject, inbox, request.to_string().into()).await;
        sent.map_err(|error| gone(&error.to_string()))?;
        line.asked = Some(Asked { waits, until: Instant::now() + SILENCE });
        line.empty = false;
        Ok(())
    }

    /// Waits for the answer to the request.
    async fn hear(&mut self, most: usize) -> Result<(), StoreError> {
        while let Some(line) = &mut self.line
            && let Some(asked) = line.asked
        {
            tokio::select! {
                biased;
                came = line.subscriber.next() => self.receive(came, most)?,
                () = self.broker.after_era(line.era) => return Ok(()),
                () = sleep_until(asked.until) => {
                    line.asked = None;
                    if self.arrived.is_empty() {
                        self.line = None;
                        return Err(gone("the server is silent"));
                    }
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, came: Option<async_nats::Message>, most: usize) -> Result<(), StoreError> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let Some(message) = came else { return Err(gone("the connection is closed")) };
        if let Some(status) = message.status {
            let current = message.subject.rsplit('.').next() == Some(line.request.to_string().as_str());
            let Some(asked) = line.asked.as_mut().filter(|_| current) else { return Ok(()) };
            let description = message.description.unwrap_or_default();
            match status {
                StatusCode::IDLE_HEARTBEAT => asked.until = Instant::now() + SILENCE,
                StatusCode::TIMEOUT => line.asked = None,
                StatusCode::NOT_FOUND => (line.asked, line.empty) = (None, true),
                // There will be something when something else has been settled.
                _ if description.contains("MaxAckPending") => (line.asked, line.empty) = (None, true),
                _ => {
                    self.line = None;
                    return Err(gone(&format!("consumer {}: {status} {description}", self.settings.name)));
                }
            }
            return Ok(());
        }
        let (Some(reply), context) = (message.reply.clone(), self.broker.context()) else { return Ok(()) };
        let message = jetstream::Message { message, context };
        let more = message.info().is_ok_and(|info| info.pending > 0);
        match self.broker.delivered(self.stream, &message) {
            Ok(message) => self.arrived.push_back(Delivery { message, reply }),
            // Not published by us, and never to be understood.
            Err(error) => tracing::error!(stream = %self.stream, %error, "a message is passed over"),
        }
        if let Some(asked) = &mut line.asked {
            match !asked.waits && more && self.arrived.len() < most {
                true => asked.until = Instant::now() + GAP,
                false => line.asked = None,
            }
        }
        Ok(())
    }

    async fn tell(&self, reply: Subject, what: AckKind) -> Result<(), StoreError> {
        self.broker.client.publish(reply, what.into()).await.map_err(|error| gone(&error.to_string()))
    }

    /// Tells, and waits until the server has heard it, with everything that it was told before.
    async fn confirm(&self, reply: Subject, what: AckKind) -> Result<(), StoreError> {
        let request = Request::new().payload(what.into());
        let heard = self.broker.client.send_request(reply, request).await;
        heard.map(|_| ()).map_err(|error| gone(&error.to_string()))
    }

    /// Moves one message to `DEAD_LETTERS`. The letter is there before the message is terminated, and in the
    /// place of one that is there already none is written: a crash in between neither loses nor doubles it. A dead
    /// letter that is poison itself stays where it is: appended again, it would never end.
    async fn bury(&self, Delivery { message, reply }: Delivery) -> Result<(), StoreError> {
        let id = format!("{}.{}.{}", self.stream, self.settings.name, message.event.id());
        tracing::error!(event = id, deliveries = message.deliveries, "dead-lettered");
        if self.stream != DEAD_LETTERS {
            let letter = Publish { event: Event { aggregate: id, version: 1, ..message.event }, expected_last: 0 };
            let written = self.broker.publish(DEAD_LETTERS, &[letter]).await.pop();
            match written {
                Some(Ok(_)) => {}
                Some(Err(PublishError::Log(error))) => {
                    // The stream may have been deleted; then it is there at the next attempt.
                    self.broker.prepare(DEAD_LETTERS).await?;
                    return Err(error);
                }
                Some(Err(error)) => return Err(StoreError::Conflict(error.to_string())),
                None => return Err(gone("no answer")),
            }
        }
        self.confirm(reply, AckKind::Term).await
    }
}

#[async_trait]
impl Consumer for JetStreamConsumer {
    async fn next(&mut self, most: usize) -> Result<Vec<Message>, StoreError> {
        let most = most.max(1);
        loop {
            self.connect().await?;
            self.collect(most)?;
            let batch = self.hand_out(most).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.ask(most).await?;
            self.hear(most).await?;
        }
    }

    async fn acknowledge(&mut self, sequences: &[i64]) -> Result<(), StoreError> {
        if !self.is_connected() {
            return Ok(());
        }
        let mut replies = Vec::with_capacity(sequences.len());
        replies.extend(sequences.iter().filter_map(|sequence| self.under_way.remove(sequence)));
        let Some(last) = replies.pop() else { return Ok(()) };
        for delivery in replies {
            self.tell(delivery.reply, AckKind::Ack).await?;
        }
        self.confirm(last.reply, AckKind::Ack).await
    }

    async fn retry_later(&mut self, sequence: i64, delay: Duration) -> Result<(), StoreError> {
        let Some(delivery) = self.under_way.get(&sequence).filter(|_| self.is_connected()) else { return Ok(()) };
        if delivery.message.deliveries >= self.settings.deliveries_max {
            return self.park(sequence).await;
        }
        let delay = (!delay.is_zero()).then_some(delay);
        self.confirm(delivery.reply.clone(), AckKind::Nak(delay)).await?;
        self.under_way.remove(&sequence);
        Ok(())
    }

    async fn park(&mut self, sequence: i64) -> Result<(), StoreError> {
        let Some(delivery) = self.under_way.get(&sequence).filter(|_| self.is_connected()) else { return Ok(()) };
        self.bury(delivery.clone()).await?;
        self.under_way.remove(&sequence);
        Ok(())
    }
}
