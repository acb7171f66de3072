//! What the services themselves report on their ops ports.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::{Deserialize, Serialize};
use tokio::time::Duration;

use crate::Surroundings;
use shop::http::HttpClient;

const DEADLINE: Duration = Duration::from_secs(5);

/// Attempts by (step, outcome), in microseconds.
#[derive(Debug, Clone, Default)]
pub struct StepHistograms(pub BTreeMap<(String, String), Histogram<u64>>);

impl StepHistograms {
    /// Only what was recorded after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        for (key, before) in &earlier.0 {
            if let Some(histogram) = rest.0.get_mut(key) {
                // It contains the earlier one, so that nothing goes below zero.
                let _ = histogram.subtract(before);
            }
        }
        rest
    }

    /// All attempts that `wanted` picks, together.
    pub fn merged(&self, wanted: impl Fn(&str, &str) -> bool) -> Option<Histogram<u64>> {
        let mut chosen = self.0.iter().filter(|((step, outcome), _)| wanted(step, outcome));
        let mut sum = chosen.next()?.1.clone();
        for (_, histogram) in chosen {
            sum.add(histogram).ok()?;
        }
        Some(sum)
    }
}

#[derive(Deserialize)]
struct Encoded {
    step: String,
    outcome: String,
    hdr_v2_us: String,
}

/// The payment service's circuit breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    pub state: String,
    pub transitions: Vec<Transition>,
}

/// The breaker as a dashboard shows it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct BreakerNow {
    #[serde(flatten)]
    pub breaker: Breaker,
    /// open, closed.
    pub forced: Option<String>,
    pub window: Window,
}

/// What the breaker judges by, and how that stands.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Window {
    pub calls: u64,
    pub failed: u64,
    pub slow: u64,
    pub window_calls: u64,
    pub minimum_calls: u64,
    pub failure_rate: f64,
    pub slow_rate: f64,
    pub open_for_ms: u64,
    pub open_for_left_ms: Option<u64>,
    pub probes: u64,
    pub probes_reported: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub at_us: i64,
    pub from: String,
    pub to: String,
    pub why: String,
}

/// The order service's step histograms since its start.
///
/// # Errors
/// One line, when it does not answer or its answer is not understood.
pub async fn steps(surroundings: &Surroundings) -> Result<StepHistograms, String> {
    let encoded: Vec<Encoded> = read(surroundings, order::ROLE, "/steps").await?;
    let mut histograms = BTreeMap::new();
    for Encoded { step, outcome, hdr_v2_us } in encoded {
        let bytes = STANDARD.decode(hdr_v2_us).map_err(|error| format!("/steps: {error}"))?;
        let histogram =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| format!("/steps: {error}"))?;
        histograms.insert((step, outcome), histogram);
    }
    Ok(StepHistograms(histograms))
}

/// The breaker's state and its last transitions.
///
/// # Errors
/// One line, when the payment service does not answer.
pub async fn breaker(surroundings: &Surroundings) -> Result<Breaker, String> {
    read(surroundings, payment::ROLE, "/breaker").await
}

/// The breaker with its window.
///
/// # Errors
/// One line, when the payment service does not answer.
pub async fn breaker_now(surroundings: &Surroundings) -> Result<BreakerNow, String> {
    read(surroundings, payment::ROLE, "/breaker").await
}

/// Attempts of each saga step that are under way.
///
/// # Errors
/// One line, when the order service does not answer.
pub async fn in_flight(surroundings: &Surroundings) -> Result<BTreeMap<String, u64>, String> {
    read(surroundings, order::ROLE, "/steps/in_flight").await
}

async fn read<T: serde::de::DeserializeOwned>(
    surroundings: &Surroundings,
    role: &str,
    path: &str,
) -> Result<T, String> {
    let address = surroundings.ops.get(role).cloned().unwrap_or_default();
    let client = HttpClient::new(surroundings.network.clone(), address);
    let answer = client.get(path, None, DEADLINE).await.map_err(|error| format!("{role}{path}: {error}"))?;
    answer.json().map_err(|error| format!("{role}{path}: {error}"))
}
