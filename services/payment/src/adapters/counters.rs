//! How often payments came to which end, for `/metrics`.

use chassis::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::domain::payment::State;

/// What the breaker has refused: there is no payment then, and no state of one.
const UNAVAILABLE: &str = "unavailable";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The counters; cheap to clone.
#[derive(Clone)]
pub struct PaymentCounters(Family<OutcomeLabel, Counter>);

impl PaymentCounters {
    pub fn register(metrics: &Metrics) -> Self {
        let counters = Self(Family::default());
        // Shown as zero until they happen, so that a rate over them has a beginning.
        for outcome in State::ALL.map(State::as_str).into_iter().chain([UNAVAILABLE]) {
            drop(counters.0.get_or_create(&OutcomeLabel { outcome }));
        }
        let help = "Payments that came to that state; `unavailable` were refused by the open breaker";
        metrics.register(|registry| registry.register("payments", help, counters.0.clone()));
        counters
    }

    /// The open breaker has refused a payment.
    pub fn unavailable(&self) {
        self.0.get_or_create(&OutcomeLabel { outcome: UNAVAILABLE }).inc();
    }

    /// A payment has come to that state.
    pub fn reached(&self, state: State) {
        self.0.get_or_create(&OutcomeLabel { outcome: state.as_str() }).inc();
    }
}
