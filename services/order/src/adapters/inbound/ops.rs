//! `GET /steps` on the ops port: the latency histogram of every step by outcome, since the process
//! started, as HDR V2 (base64), so that whoever reads loses no precision. `GET /steps/in_flight`: how many
//! attempts of each step are under way.

use std::collections::BTreeMap;

use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde::Serialize;

use crate::application::steps::StepRecorder;

#[derive(Serialize)]
struct StepHistogram {
    step: &'static str,
    outcome: &'static str,
    count: u64,
    hdr_v2_us: String,
}

pub fn routes(recorder: StepRecorder) -> Router {
    let under_way = recorder.clone();
    Router::new()
        .route("/steps", get(move || async move { Json(snapshot(&recorder)) }))
        .route("/steps/in_flight", get(move || async move { Json(in_flight(&under_way)) }))
}

fn in_flight(recorder: &StepRecorder) -> BTreeMap<&'static str, u64> {
    recorder.in_flight().into_iter().map(|(step, attempts)| (step.as_str(), attempts)).collect()
}

fn snapshot(recorder: &StepRecorder) -> Vec<StepHistogram> {
    let histograms = recorder.snapshot().into_iter();
    let encoded = histograms.filter_map(|(step, outcome, histogram)| {
        let mut bytes = Vec::new();
        // Writing into memory does not fail.
        V2Serializer::new().serialize(&histogram, &mut bytes).ok()?;
        let hdr_v2_us = STANDARD.encode(bytes);
        Some(StepHistogram { step: step.as_str(), outcome: outcome.as_str(), count: histogram.len(), hdr_v2_us })
    });
    encoded.collect()
}
