//! How one threshold came out.

use serde::{Deserialize, Serialize};

/// How a threshold came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Kept,
    Missed,
    /// Too few samples to say.
    TooFewSamples,
    /// Latency has no meaning in virtual time.
    NotJudged,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThresholdResult {
    pub metric: String,
    /// The fault during which it was judged; `None` for the whole run.
    #[serde(default)]
    pub during: Option<String>,
    pub expression: String,
    /// Microseconds for latencies; a share or a number otherwise. `None` without samples.
    pub observed: Option<f64>,
    pub samples: u64,
    pub outcome: Outcome,
}

impl ThresholdResult {
    /// Says during what it was judged, if that was not the whole run.
    pub fn prefix(&self) -> String {
        self.during.as_ref().map(|fault| format!("during {fault}: ")).unwrap_or_default()
    }
}
