//! What payment and inventory say happened, from the event log. An event acts only on a step whose
//! outcome is recorded as unknown: it wakes the order, whose driver then asks the participant again.

use async_trait::async_trait;
use eventlog::consume::{Handler, Rejection};
use eventlog::{ConsumerSettings, Message};
use kernel::OrderId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::application::driver::Driver;
use crate::application::ports::News;
use crate::domain::Step;

/// The durable consumer on `PAYMENTS` and on `INVENTORY`.
pub const CONSUMER: ConsumerSettings = ConsumerSettings {
    name: "order-service",
    ack_wait: std::time::Duration::from_secs(30),
    deliveries_max: 10,
    kinds: KINDS,
};

/// Those that say how a step ended.
const KINDS: &[&str] = &[
    "PaymentProcessed",
    "PaymentFailed",
    "PaymentRefunded",
    "PaymentVoided",
    "StockReserved",
    "StockRefused",
    "StockReleased",
    "StockCommitted",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    why: &'static str,
}

/// Counts the events that changed nothing. Most do not: a participant's answer is quicker than its event.
#[derive(Clone, Default)]
pub struct Ignored(Family<Labels, Counter>);

impl Ignored {
    /// Shows the counts on `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Events of participants that woke no order, by why";
        registry.register("order_events_ignored", help, self.0.clone());
    }

    fn count(&self, news: News) {
        let why = match news {
            News::Awaited => return,
            News::NotAwaited => "not_awaited",
            News::AfterEnd => "after_end",
            News::OfNoOrder => "no_order",
        };
        self.0.get_or_create(&Labels { why }).inc();
    }
}

pub struct WakeOrders {
    pub driver: Driver,
    pub ignored: Ignored,
}

fn step_of(kind: &str) -> Option<Step> {
    Some(match kind {
        "PaymentProcessed" | "PaymentFailed" => Step::ProcessPayment,
        "PaymentRefunded" | "PaymentVoided" => Step::RefundPayment,
        "StockReserved" | "StockRefused" => Step::ReserveStock,
        "StockReleased" => Step::ReleaseStock,
        "StockCommitted" => Step::CommitStock,
        _ => return None,
    })
}

#[async_trait]
impl Handler for WakeOrders {
    async fn handle(&self, message: &Message) -> Result<(), Rejection> {
        let Some(step) = step_of(&message.event.kind) else { return Ok(()) };
        // Not every aggregate of those streams is an order (restocks are not).
        let Ok(order) = message.event.aggregate.parse::<OrderId>() else { return Ok(()) };
        let news = self.driver.wake(order, step).await.map_err(|error| Rejection::Again(error.to_string()))?;
        self.ignored.count(news);
        Ok(())
    }
}
