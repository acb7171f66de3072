//! What payment and inventory say happened, from the event log. An event acts only on a step whose
//! outcome is recorded as unknown: it wakes the order, whose driver then asks the participant again.

use async_trait::async_trait;
use chassis::events::consume::{Handler, Rejection};
use chassis::events::{ConsumerSettings, Message};
use kernel::OrderId;

use crate::application::driver::Driver;
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

pub struct WakeOrders {
    pub driver: Driver,
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
        self.driver.wake(order, step).await.map_err(|error| Rejection::Again(error.to_string()))
    }
}
