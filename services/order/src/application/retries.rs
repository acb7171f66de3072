//! The retry budget of this process, and how it is spent.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use chassis::clock::SharedClock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::Step;
use crate::domain::budget::RetryBudget;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    step: &'static str,
}

/// One budget for all orders: what is failing is shared by them too. Cheap to clone.
#[derive(Clone)]
pub struct Retries {
    budget: Arc<Mutex<RetryBudget>>,
    clock: SharedClock,
    tokens: Gauge<f64, AtomicU64>,
    made: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
}

impl Retries {
    /// `share` of a token comes with each first attempt, `per_s` tokens come a second.
    pub fn new(share: f64, per_s: u32, clock: SharedClock) -> Self {
        let budget = Arc::new(Mutex::new(RetryBudget::new(share, per_s, clock.now())));
        Self { budget, clock, tokens: Gauge::default(), made: Family::default(), refused: Family::default() }
    }

    /// Shows the budget on `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("retry_budget_tokens", "Retries that may be made now", self.tokens.clone());
        let help = "Retries of steps whose outcome was unknown, within the budget";
        registry.register("saga_retries", help, self.made.clone());
        let help = "Retries beyond the budget: forward steps are given up, others wait";
        registry.register("saga_retries_refused", help, self.refused.clone());
        self.look();
    }

    /// A step is tried for the first time.
    pub fn first_attempt(&self) {
        self.with(RetryBudget::deposit);
    }

    /// Whether `step` may be tried again.
    pub fn allow(&self, step: Step) -> bool {
        let allowed = self.with(RetryBudget::withdraw);
        let counter = if allowed { &self.made } else { &self.refused };
        counter.get_or_create(&Labels { step: step.as_str() }).inc();
        allowed
    }

    /// Brings the metric up to date.
    pub fn look(&self) {
        self.with(|_, _| ());
    }

    fn with<T>(&self, act: impl FnOnce(&mut RetryBudget, kernel::Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let value = act(&mut budget, now);
        self.tokens.set(budget.tokens(now));
        value
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    struct Still;

    impl chassis::Clock for Still {
        fn now(&self) -> kernel::Timestamp {
            kernel::Timestamp::default()
        }
    }

    #[test]
    fn the_metrics_tell_retries_that_were_made_from_those_that_were_refused() {
        let (retries, mut registry) = (Retries::new(1.0, 0, Arc::new(Still)), Registry::default());
        retries.register(&mut registry);
        (0..3).for_each(|_| retries.first_attempt());
        assert!(retries.allow(Step::ReserveStock) && retries.allow(Step::ReserveStock));
        assert!(retries.allow(Step::RefundPayment) && !retries.allow(Step::RefundPayment));
        retries.first_attempt();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "retry_budget_tokens 1.0",
            r#"saga_retries_total{step="reserve_stock"} 2"#,
            r#"saga_retries_total{step="refund_payment"} 1"#,
            r#"saga_retries_refused_total{step="refund_payment"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains(r#"refused_total{step="reserve_stock"}"#), "{text}");
    }
}
