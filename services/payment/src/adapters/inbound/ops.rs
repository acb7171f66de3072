//! The circuit breaker on the ops port: `GET /breaker`, and its metrics.

use std::fmt;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use chassis::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use crate::application::breaker::{CircuitBreaker, Snapshot};
use crate::domain::breaker::State;

#[derive(Serialize)]
struct Body {
    state: &'static str,
    transitions: Vec<BodyTransition>,
}

#[derive(Serialize)]
struct BodyTransition {
    at_us: i64,
    from: &'static str,
    to: &'static str,
    why: String,
}

impl From<Snapshot> for Body {
    fn from(snapshot: Snapshot) -> Self {
        let transitions = snapshot.transitions.into_iter().map(|record| BodyTransition {
            at_us: record.at.as_micros(),
            from: record.from.as_str(),
            to: record.to.as_str(),
            why: record.why,
        });
        Self { state: snapshot.state.as_str(), transitions: transitions.collect() }
    }
}

/// `GET /breaker`: its state and its last transitions.
pub fn router(breaker: Arc<CircuitBreaker>) -> Router {
    Router::new().route("/breaker", get(move || async move { Json(Body::from(breaker.snapshot())) }))
}

/// Adds the breaker to `/metrics`.
pub fn register(metrics: &Metrics, breaker: Arc<CircuitBreaker>) {
    metrics.register(|registry| registry.register_collector(Box::new(BreakerMetrics { breaker })));
}

/// Reads the breaker at each scrape, so that the application need not know of metrics.
struct BreakerMetrics {
    breaker: Arc<CircuitBreaker>,
}

impl fmt::Debug for BreakerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BreakerMetrics")
    }
}

impl Collector for BreakerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let snapshot = self.breaker.snapshot();
        let state: i64 = match snapshot.state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        let help = "The circuit breaker's state: 0 closed, 1 open, 2 half-open";
        let gauge = encoder.encode_descriptor("breaker_state", help, None, MetricType::Gauge)?;
        ConstGauge::new(state).encode(gauge)?;
        let help = "Transitions of the circuit breaker, by the state it changed to";
        let mut counter = encoder.encode_descriptor("breaker_transitions", help, None, MetricType::Counter)?;
        for (state, count) in State::ALL.into_iter().zip(snapshot.counts) {
            ConstCounter::new(count).encode(counter.encode_family(&[("to", state.as_str())])?)?;
        }
        Ok(())
    }
}
