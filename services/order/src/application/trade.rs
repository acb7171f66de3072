//! What the shop sells, in numbers: orders that were placed, how they ended, and what the confirmed ones
//! are worth.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::domain::{CancelReason, Order, Status};

/// The reason of orders that need none.
const NO_REASON: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    status: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CurrencyLabel {
    currency: String,
}

/// Counts orders once each: where they are committed. Cheap to clone.
#[derive(Clone)]
pub struct Trade {
    placed: Counter,
    ended: Family<EndLabels, Counter>,
    value: Family<CurrencyLabel, Histogram, fn() -> Histogram>,
}

/// From 1.00 to about 33,000 in a currency with two decimals, doubling.
fn value_histogram() -> Histogram {
    Histogram::new(exponential_buckets(100.0, 2.0, 16))
}

impl Default for Trade {
    fn default() -> Self {
        let ended = Family::<EndLabels, Counter>::default();
        // Shown as zero until they happen, so that a rate over them has a beginning.
        drop(ended.get_or_create(&EndLabels { status: "confirmed", reason: NO_REASON }));
        for reason in CancelReason::ALL {
            drop(ended.get_or_create(&EndLabels { status: "cancelled", reason: reason.as_str() }));
        }
        let value = Family::new_with_constructor(value_histogram as fn() -> Histogram);
        Self { placed: Counter::default(), ended, value }
    }
}

impl Trade {
    /// Shows it on `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("orders_placed", "Orders that were created, repetitions not counted", self.placed.clone());
        let help = "Orders that came to their end, by that and the reason of a cancellation";
        registry.register("orders_ended", help, self.ended.clone());
        let help = "What confirmed orders are worth, in minor units of their currency";
        registry.register("order_value_minor", help, self.value.clone());
    }

    /// An order was created.
    pub fn placed(&self) {
        self.placed.inc();
    }

    /// The order has come to its end.
    pub fn ended(&self, order: &Order) {
        let (status, reason) = match order.status {
            Status::Confirmed => ("confirmed", NO_REASON),
            _ => ("cancelled", order.cancel_reason.map_or(NO_REASON, CancelReason::as_str)),
        };
        self.ended.get_or_create(&EndLabels { status, reason }).inc();
        if order.status == Status::Confirmed {
            let currency = CurrencyLabel { currency: order.total.currency.to_string() };
            self.value.get_or_create(&currency).observe(order.total.minor as f64);
        }
    }
}
