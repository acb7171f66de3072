//! News from the event log, and how often it could be passed on.

use async_trait::async_trait;
use chassis::metrics::Metrics;
use eventlog::Message;
use eventlog::consume::{Handler, Rejection};
use kernel::{Money, OrderId, UserId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Deserialize;

use crate::adapters::streams::{ORDERS, PAYMENTS};
use crate::application::notify::{Notifier, Unsent};
use crate::domain::{EventId, News, What};

/// The name of the durable consumers on `ORDERS` and on `PAYMENTS`.
pub const CONSUMER: &str = "notification-service";
/// What there is to tell customers.
pub const KINDS: &[&str] = &["OrderConfirmed", "OrderCancelled", "PaymentFailed"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    channel: &'static str,
    kind: &'static str,
    outcome: &'static str,
}

/// Passes on what customers have to know.
pub struct Announce {
    notifier: Notifier,
    counts: Family<Labels, Counter>,
}

impl Announce {
    pub fn new(notifier: Notifier, metrics: &Metrics) -> Self {
        let counts = Family::<Labels, Counter>::default();
        let help = "Attempts to hand a message to the provider, by channel, kind of event and outcome";
        metrics.register(|registry| registry.register("notifications", help, counts.clone()));
        Self { notifier, counts }
    }
}

/// What is read of an order's event; older ones do not name the buyer.
#[derive(Deserialize)]
struct OrderFacts {
    user: Option<UserId>,
}

/// What is read of a payment's event.
#[derive(Deserialize)]
struct PaymentFacts {
    user_id: Option<UserId>,
    amount: Option<Money>,
    #[serde(default)]
    reason: String,
}

/// The news in a message; `None` if there is none for customers.
fn news(message: &Message) -> Result<Option<News>, String> {
    let event = &message.event;
    let unreadable = |error: serde_json::Error| format!("its data cannot be read: {error}");
    let of_order = || serde_json::from_str::<OrderFacts>(&event.data).map_err(unreadable);
    let (user, what) = match (message.stream, event.kind.as_str()) {
        (ORDERS, "OrderConfirmed") => (of_order()?.user, What::OrderConfirmed),
        (ORDERS, "OrderCancelled") => (of_order()?.user, What::OrderCancelled),
        (PAYMENTS, "PaymentFailed") => {
            let facts: PaymentFacts = serde_json::from_str(&event.data).map_err(unreadable)?;
            (facts.user_id, What::PaymentFailed { amount: facts.amount, reason: facts.reason })
        }
        _ => return Ok(None),
    };
    let order: OrderId = event.aggregate.parse().map_err(|error| format!("its aggregate: {error}"))?;
    let event_id = EventId::new(message.stream.name(), &event.id());
    Ok(Some(News { event_id, order, user, what }))
}

const fn outcome<T>(answer: &Result<T, Unsent>) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(Unsent::Provider(_)) => "failed",
        Err(_) => "unaddressed",
    }
}

#[async_trait]
impl Handler for Announce {
    async fn handle(&self, message: &Message) -> Result<(), Rejection> {
        // What is written in the log does not change: it will not be readable later.
        let Some(news) = news(message).map_err(Rejection::Never)? else { return Ok(()) };
        let mut handled = Ok(());
        for (channel, answer) in self.notifier.tell(&news).await {
            let labels = Labels { channel: channel.as_str(), kind: news.what.kind(), outcome: outcome(&answer) };
            self.counts.get_or_create(&labels).inc();
            if let Err(unsent) = answer {
                let why = format!("{channel}: {unsent}");
                let rejection = if unsent.is_final() { Rejection::Never(why) } else { Rejection::Again(why) };
                handled = handled.and(Err(rejection));
            }
        }
        handled
    }
}
