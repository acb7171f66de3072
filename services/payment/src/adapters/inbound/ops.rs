//! The circuit breaker on the ops port: `GET /breaker`, and its metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
use crate::domain::breaker::{Forced, Settings, State};

#[derive(Serialize)]
struct Body {
    state: &'static str,
    forced: Option<&'static str>,
    window: BodyWindow,
    transitions: Vec<BodyTransition>,
}

/// What it counts at this moment, and the settings that it judges it by.
#[derive(Serialize)]
struct BodyWindow {
    calls: usize,
    failed: usize,
    slow: usize,
    window_calls: usize,
    minimum_calls: usize,
    window_ms: u64,
    failure_rate: f64,
    slow_rate: f64,
    open_for_ms: u64,
    open_for_left_ms: Option<u64>,
    probes: usize,
    probes_reported: usize,
}

#[derive(Serialize)]
struct BodyTransition {
    at_us: i64,
    from: &'static str,
    to: &'static str,
    why: String,
}

impl Body {
    fn of(snapshot: Snapshot, settings: &Settings) -> Self {
        let transitions = snapshot.transitions.into_iter().map(|record| BodyTransition {
            at_us: record.at.as_micros(),
            from: record.from.as_str(),
            to: record.to.as_str(),
            why: record.why,
        });
        let window = BodyWindow {
            calls: snapshot.window.calls,
            failed: snapshot.window.failed,
            slow: snapshot.window.slow,
            window_calls: settings.window_calls,
            minimum_calls: settings.minimum_calls,
            window_ms: millis(settings.window_time),
            failure_rate: settings.failure_rate,
            slow_rate: settings.slow_rate,
            open_for_ms: millis(settings.open_for),
            open_for_left_ms: snapshot.window.open_for_left.map(millis),
            probes: settings.probes,
            probes_reported: snapshot.window.probes_reported,
        };
        let forced = snapshot.forced.map(|forced| match forced {
            Forced::Open => State::Open.as_str(),
            Forced::Closed => State::Closed.as_str(),
        });
        Self { state: snapshot.state.as_str(), forced, window, transitions: transitions.collect() }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `GET /breaker`: its state, what it counts, and its last transitions.
pub fn router(breaker: Arc<CircuitBreaker>) -> Router {
    let body = move || Json(Body::of(breaker.snapshot(), &breaker.settings()));
    Router::new().route("/breaker", get(move || async move { body() }))
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
