//! The connection, and what is asked of the server over it.

use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::{self, DeliverPolicy};
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, Info, LastRawMessageErrorKind, RawMessageErrorKind, RetentionPolicy,
    StorageType,
};
use async_nats::jetstream::{self, Context, ErrorCode, context::PublishAckFuture};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, HeaderMap, ServerAddr};
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Servers, StoreError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::wire;
use crate::event::Message;
use crate::log::{ConsumerSettings, Publish, PublishError};
use crate::stream::Stream;

/// How long an answer may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long the server remembers message ids.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Two pings without an answer, and the connection counts as lost.
const PING: Duration = Duration::from_secs(5);
/// How many messages a consumer may have under way or put off.
const ACK_PENDING_MAX: i64 = 10_000;

/// A client of the broker; cheap to clone.
#[derive(Clone)]
pub(super) struct Broker {
    pub client: Client,
    context: Context,
    namespace: String,
    create: bool,
    /// Changes when a connection is made or lost.
    changes: watch::Receiver<u64>,
}

fn unavailable(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("NATS: {what}"))
}

#[derive(Deserialize)]
struct Page {
    total: usize,
    consumers: Option<Vec<consumer::Info>>,
}

impl Broker {
    pub async fn connect(servers: &Servers, name: &str) -> Result<Self, StoreError> {
        let address = ServerAddr::from_str(&servers.nats)
            .map_err(|error| StoreError::Unavailable(format!("NATS_URL is not a NATS URL: {error}")))?;
        let (changed, changes) = watch::channel(0);
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(DEADLINE))
            .ping_interval(PING)
            .reconnect_delay_callback(|attempts| Duration::from_millis(20 * attempts.min(25) as u64))
            .event_callback(move |_| {
                changed.send_modify(|count| *count += 1);
                std::future::ready(())
            });
        options = match (address.username(), address.password()) {
            (Some(name), Some(password)) => options.user_and_password(plain(name), plain(password)),
            (Some(token), None) => options.token(plain(token)),
            _ => options,
        };
        // The library writes the address into its log: without the secret.
        let mut url = address.into_inner();
        let (_, _) = (url.set_username(""), url.set_password(None));
        let place = format!("NATS at {url}");
        let address = ServerAddr::from_url(url).map_err(unavailable)?;
        let client = options.connect(address).await.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation => {
                StoreError::Unavailable(format!("{place} refuses the login: check the token in NATS_URL"))
            }
            _ => StoreError::Unavailable(format!("{place}: {error}")),
        })?;
        let context = ContextBuilder::new().timeout(DEADLINE).ack_timeout(DEADLINE).build(client.clone());
        let broker = Self { client, context, namespace: servers.namespace.clone(), create: servers.create, changes };
        let no_jetstream = |error: &dyn std::fmt::Display| {
            StoreError::Unavailable(format!("{place} has no JetStream ({error}): enable it there"))
        };
        let asked = broker.ask::<serde_json::Value>("INFO".into(), &json!({})).await;
        asked.map_err(|error| no_jetstream(&error))?.map_err(|error| no_jetstream(&error))?;
        Ok(broker)
    }

    /// The stream's name on the server.
    pub fn name(&self, stream: Stream) -> String {
        match self.namespace.as_str() {
            "" => stream.name().to_owned(),
            namespace => format!("{}_{}", namespace.to_uppercase(), stream.name()),
        }
    }

    fn subject_of(&self, stream: Stream, end: &str) -> String {
        match self.namespace.as_str() {
            "" => stream.subject(end),
            namespace => format!("{namespace}.{}", stream.subject(end)),
        }
    }

    /// The subject of an aggregate's events.
    pub fn subject(&self, stream: Stream, aggregate: &str) -> String {
        self.subject_of(stream, &wire::encode(aggregate))
    }

    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// How many connections have been made so far.
    pub fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Acquire)
    }

    /// The number of the connection, while there is one.
    pub fn era(&self) -> Option<u64> {
        (self.client.connection_state() == State::Connected).then(|| self.connections())
    }

    /// Waits until there is another connection than that one.
    pub async fn after_era(&self, era: u64) {
        let mut changes = self.changes.clone();
        while self.connections() == era {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A question of JetStream's interface; the inner error is the server's.
    async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        payload: &impl Serialize,
    ) -> Result<Result<T, jetstream::Error>, StoreError> {
        // Commands that are given without a connection wait for the next one, whatever server that is.
        if self.era().is_none() {
            return Err(unavailable("not connected"));
        }
        match self.context.request(subject, payload).await {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn info(&self, stream: Stream) -> Result<Option<Info>, StoreError> {
        let name = self.name(stream);
        match self.ask(format!("STREAM.INFO.{name}"), &json!({})).await? {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            Err(error) => Err(unavailable(format!("{name}: {error}"))),
        }
    }

    /// The sequence of the stream's last message.
    pub async fn last_sequence(&self, stream: Stream) -> Result<i64, StoreError> {
        signed(self.info(stream).await?.ok_or_else(|| self.missing(stream))?.state.last_sequence)
    }

    fn missing(&self, stream: Stream) -> StoreError {
        unavailable(format!("the stream {} does not exist", self.name(stream)))
    }

    pub async fn prepare(&self, stream: Stream) -> Result<(), StoreError> {
        let (name, wanted) = (self.name(stream), self.config(stream));
        let subject = wanted.subjects.concat();
        let found = match self.info(stream).await? {
            Some(info) => info.config,
            None if self.create => match self.ask::<Info>(format!("STREAM.CREATE.{name}"), &wanted).await? {
                Ok(info) => info.config,
                Err(error) => return Err(unavailable(format!("cannot create the stream {name}: {error}"))),
            },
            None => {
                return Err(unavailable(format!(
                    "the stream {name} is missing: create it (file storage, subject {subject}, direct get, duplicate \
                     window 2 minutes, no limits) or start once with --create"
                )));
            }
        };
        if !found.subjects.contains(&subject) || !found.allow_direct {
            return Err(unavailable(format!(
                "the stream {name} needs the subject {subject} and direct get; if it is another program's, choose \
                 another --namespace"
            )));
        }
        if forgets(&found) {
            return Err(unavailable(format!(
                "the stream {name} forgets events: it needs the retention `limits`, and no limit on messages, bytes or age"
            )));
        }
        Ok(())
    }

    fn config(&self, stream: Stream) -> Config {
        Config {
            name: self.name(stream),
            subjects: vec![self.subject_of(stream, ">")],
            storage: StorageType::File,
            // Nothing is ever discarded: history and rebuild read the stream from its beginning. So it grows, as
            // the outbox does; the server refuses publications when its disk is full, and the relay waits.
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: -1,
            allow_direct: true,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: 1,
            ..Config::default()
        }
    }

    fn message(
        &self,
        stream: Stream,
        sequence: u64,
        (subject, headers, payload): (&str, &HeaderMap, &[u8]),
        deliveries: u32,
    ) -> Result<Message, StoreError> {
        let event = wire::event(&self.subject_of(stream, ""), subject, headers, payload)?;
        Ok(Message { stream, sequence: signed(sequence)?, event, deliveries })
    }

    fn stored(&self, stream: Stream, stored: &StreamMessage) -> Result<Message, StoreError> {
        let parts = (stored.subject.as_str(), &stored.headers, stored.payload.as_ref());
        self.message(stream, stored.sequence, parts, 0)
    }

    /// What a consumer was given.
    pub fn delivered(&self, stream: Stream, message: &jetstream::Message) -> Result<Message, StoreError> {
        let info = message.info().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let none = HeaderMap::new();
        let headers = message.headers.as_ref().unwrap_or(&none);
        let parts = (message.subject.as_str(), headers, message.payload.as_ref());
        let deliveries = u32::try_from(info.delivered).unwrap_or(u32::MAX);
        self.message(stream, info.stream_sequence, parts, deliveries)
    }

    /// What a scanner was given: as it stands in the stream.
    pub fn stored_there(&self, stream: Stream, message: &jetstream::Message) -> Result<Message, StoreError> {
        Ok(Message { deliveries: 0, ..self.delivered(stream, message)? })
    }

    async fn stream(&self, stream: Stream) -> Result<jetstream::stream::Stream<()>, StoreError> {
        if self.era().is_none() {
            return Err(unavailable("not connected"));
        }
        self.context.get_stream_no_info(self.name(stream)).await.map_err(unavailable)
    }

    /// The message at a sequence, as the stream's leader has it.
    pub async fn at(&self, stream: Stream, sequence: i64) -> Result<Option<Message>, StoreError> {
        let Some(sequence) = u64::try_from(sequence).ok().filter(|sequence| *sequence > 0) else { return Ok(None) };
        match self.stream(stream).await?.get_raw_message(sequence).await {
            Ok(stored) => self.stored(stream, &stored).map(Some),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The last message of an aggregate, as the stream's leader has it.
    pub async fn last(&self, stream: Stream, aggregate: &str) -> Result<Option<Message>, StoreError> {
        let subject = self.subject(stream, aggregate);
        wire::check_subject(&subject)?;
        match self.stream(stream).await?.get_last_raw_message_by_subject(&subject).await {
            Ok(stored) => self.stored(stream, &stored).map(Some),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The first message of a subject from a sequence on, as any server has it that holds the stream.
    pub async fn quick_next(&self, stream: Stream, subject: &str, from: i64) -> Result<Option<Message>, StoreError> {
        let from = u64::try_from(from).unwrap_or_default();
        match self.stream(stream).await?.direct_get_next_for_subject(subject, Some(from)).await {
            Ok(stored) => self.stored(stream, &stored).map(Some),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Sends all of `batch`, then waits for the answers.
    pub async fn publish(&self, stream: Stream, batch: &[Publish]) -> Vec<Result<i64, PublishError>> {
        let deadline = Instant::now() + DEADLINE;
        let mut sent = Vec::with_capacity(batch.len());
        for publish in batch {
            sent.push(self.send(stream, publish, deadline).await);
        }
        join_all(batch.iter().zip(sent).map(|(publish, sent)| self.settle(stream, publish, sent, deadline))).await
    }

    async fn send(&self, stream: Stream, publish: &Publish, deadline: Instant) -> Result<PublishAckFuture, StoreError> {
        // What is sent without a connection would go to a server that nobody has verified, much later.
        if self.era().is_none() {
            return Err(unavailable("not connected"));
        }
        let subject = self.subject(stream, &publish.event.aggregate);
        wire::check_subject(&subject)?;
        let payload = publish.event.data.clone().into_bytes().into();
        let message = PublishMessage::build().payload(payload).headers(wire::headers(publish)?);
        match timeout_at(deadline, self.context.send_publish(subject, message)).await {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(StoreError::Corrupt(format!("{} is too large for NATS: {error}", publish.event.id())))
            }
            Ok(Err(error)) => Err(unavailable(error)),
            Err(_) => Err(unavailable("nothing can be sent")),
        }
    }

    async fn settle(
        &self,
        stream: Stream,
        publish: &Publish,
        sent: Result<PublishAckFuture, StoreError>,
        deadline: Instant,
    ) -> Result<i64, PublishError> {
        let event = &publish.event;
        let ack = match timeout_at(deadline, sent?.into_future()).await {
            Ok(Ok(ack)) => ack,
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => {
                return self.resolve(stream, publish).await;
            }
            Ok(Err(error)) => return Err(unavailable(error).into()),
            Err(_) => return Err(unavailable(format!("no answer within {DEADLINE:?}")).into()),
        };
        let sequence = signed(ack.sequence)?;
        if !ack.duplicate {
            tracing::debug!(target: "shop::event", %stream, sequence, id = event.id(), kind = event.kind);
            return Ok(sequence);
        }
        // The server remembers ids for a while, also of messages that somebody has deleted.
        match self.at(stream, sequence).await? {
            Some(message) if message.event.id() == event.id() => Ok(sequence),
            _ => Err(unavailable(format!("{} is remembered but gone", event.id())).into()),
        }
    }

    /// The expectation failed: because this very event stands there already, or because another one does.
    async fn resolve(&self, stream: Stream, publish: &Publish) -> Result<i64, PublishError> {
        match self.last(stream, &publish.event.aggregate).await? {
            Some(last) if last.event.id() == publish.event.id() => Ok(last.sequence),
            last => Err(PublishError::WrongLast {
                expected: publish.expected_last,
                actual: last.map_or(0, |message| message.sequence),
            }),
        }
    }

    /// The durable consumers of a stream.
    pub async fn consumers(&self, stream: Stream) -> Result<Vec<consumer::Info>, StoreError> {
        let name = self.name(stream);
        let mut all = Vec::new();
        loop {
            let asked = self.ask::<Page>(format!("CONSUMER.LIST.{name}"), &json!({ "offset": all.len() })).await?;
            let page = asked.map_err(|error| unavailable(format!("{name}: {error}")))?;
            let consumers = page.consumers.unwrap_or_default();
            let end = consumers.is_empty() || all.len() + consumers.len() >= page.total;
            all.extend(consumers);
            if end {
                all.retain(|info| info.config.durable_name.is_some());
                return Ok(all);
            }
        }
    }

    /// Makes sure that the durable consumer exists; a new one starts at the stream's beginning.
    pub async fn make_consumer(&self, stream: Stream, settings: &ConsumerSettings) -> Result<(), StoreError> {
        let (name, durable) = (self.name(stream), settings.name);
        let asked = self.ask::<consumer::Info>(format!("CONSUMER.INFO.{name}.{durable}"), &json!({})).await?;
        let config = match asked {
            Ok(info) if info.config.ack_wait == settings.ack_wait => return Ok(()),
            Ok(info) => consumer::Config { ack_wait: settings.ack_wait, ..info.config },
            Err(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => consumer::Config {
                durable_name: Some(durable.to_owned()),
                deliver_policy: DeliverPolicy::All,
                ack_policy: consumer::AckPolicy::Explicit,
                ack_wait: settings.ack_wait,
                // Whoever takes the last delivery parks the message first: the server must not drop it before.
                max_deliver: -1,
                max_ack_pending: ACK_PENDING_MAX,
                ..consumer::Config::default()
            },
            Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => return Err(self.missing(stream)),
            Err(error) => return Err(unavailable(format!("{name}: {error}"))),
        };
        self.create_consumer(stream, durable, config).await
    }

    async fn create_consumer(&self, stream: Stream, durable: &str, config: consumer::Config) -> Result<(), StoreError> {
        let name = self.name(stream);
        let request = json!({ "stream_name": name, "config": config });
        let asked = self.ask::<consumer::Info>(format!("CONSUMER.CREATE.{name}.{durable}"), &request).await?;
        let failed = |error| unavailable(format!("cannot create the consumer {durable} of {name}: {error}"));
        asked.map(|_| ()).map_err(failed)
    }

    /// A consumer that nothing is acknowledged to, in memory, gone when it was not used for `kept`; answers its name.
    pub async fn create_ephemeral(&self, stream: Stream, start: u64, kept: Duration) -> Result<String, StoreError> {
        let name = self.name(stream);
        let config = consumer::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
            ack_policy: consumer::AckPolicy::None,
            inactive_threshold: kept,
            memory_storage: true,
            ..consumer::Config::default()
        };
        let request = json!({ "stream_name": name, "config": config });
        match self.ask::<consumer::Info>(format!("CONSUMER.CREATE.{name}"), &request).await? {
            Ok(info) => Ok(info.name),
            Err(error) => Err(unavailable(format!("cannot read {name}: {error}"))),
        }
    }

    /// Makes a consumer start again behind what it has acknowledged up to `last`.
    pub async fn restart_consumer(&self, stream: Stream, info: consumer::Info, last: u64) -> Result<(), StoreError> {
        let (name, durable) = (self.name(stream), info.name);
        let asked = self.ask::<serde_json::Value>(format!("CONSUMER.DELETE.{name}.{durable}"), &json!({})).await?;
        match asked {
            Ok(_) => {}
            Err(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {}
            Err(error) => return Err(unavailable(format!("cannot delete the consumer {durable} of {name}: {error}"))),
        }
        let start_sequence = info.ack_floor.stream_sequence.min(last) + 1;
        let config =
            consumer::Config { deliver_policy: DeliverPolicy::ByStartSequence { start_sequence }, ..info.config };
        tracing::warn!(%stream, consumer = durable, start_sequence, "a consumer starts again");
        let created = self.create_consumer(stream, &durable, config).await;
        // Its client may have been quicker: then it starts at the beginning, which is as good.
        let asked = self.ask::<consumer::Info>(format!("CONSUMER.INFO.{name}.{durable}"), &json!({})).await?;
        created.or_else(|error| asked.map(|_| ()).map_err(|_| error))
    }
}

/// Whether the server would discard events, all of which are read again one day. It writes no limit as -1 or 0.
fn forgets(config: &Config) -> bool {
    let limits = [config.max_messages, config.max_bytes, config.max_messages_per_subject];
    config.retention != RetentionPolicy::Limits || !config.max_age.is_zero() || limits.iter().any(|limit| *limit > 0)
}

fn signed(sequence: u64) -> Result<i64, StoreError> {
    i64::try_from(sequence).map_err(|_| StoreError::Corrupt(format!("the sequence {sequence} is too great")))
}

/// A part of a URL as it was meant, without its percent signs.
pub fn plain(part: &str) -> String {
    wire::decode(part).unwrap_or_else(|| part.to_owned())
}
