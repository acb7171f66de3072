//! What thresholds may judge: the metrics, their tags, and what they are made of.

/// What a metric is made of, and so which aggregates it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Durations: `avg`, `min`, `med`, `max`, `p(N)`.
    Trend,
    /// A share from 0 to 1: `rate`.
    Rate,
    /// A number of events: `count`.
    Counter,
}

/// A metric that thresholds may judge.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    /// The tags that select a part of it, each with its values.
    pub tags: &'static [(&'static str, &'static [&'static str])],
    /// One line for the documentation.
    pub meaning: &'static str,
}

const STEP_TAG: (&str, &[&str]) = (
    "step",
    &[
        "create",
        "reserve_stock",
        "process_payment",
        "confirm",
        "commit_stock",
        "release_stock",
        "refund_payment",
        "cancel",
    ],
);
const OUTCOME_TAG: (&str, &[&str]) = ("outcome", &["done", "refused", "ongoing", "unknown"]);
const FATE_TAG: (&str, &[&str]) = ("fate", &["confirmed", "cancelled", "rejected", "errors", "unknown"]);
const FROM_TAG: (&str, &[&str]) = ("from", &["pending", "reserved", "paid"]);
const REASON_TAG: (&str, &[&str]) = ("reason", &["sold_out", "declined", "unavailable", "by_client"]);
const REQUEST_TAG: (&str, &[&str]) =
    ("name", &["login", "search", "view", "order", "await", "cancel", "retry", "restock"]);

/// All metrics, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "saga_step_duration",
        kind: MetricKind::Trend,
        tags: &[STEP_TAG, OUTCOME_TAG],
        meaning: "one attempt of a saga step, as the order service sees it",
    },
    Metric {
        name: "order_duration",
        kind: MetricKind::Trend,
        tags: &[],
        meaning: "from the instant an order was due to the answer of its `POST orders`",
    },
    Metric {
        name: "order_errors",
        kind: MetricKind::Rate,
        tags: &[],
        meaning: "orders with fate errors or unknown, out of all that were started",
    },
    Metric {
        name: "orders",
        kind: MetricKind::Counter,
        tags: &[FATE_TAG],
        meaning: "orders that were started, by how they ended",
    },
    Metric {
        name: "cancellations",
        kind: MetricKind::Counter,
        tags: &[FROM_TAG, REASON_TAG],
        meaning: "orders that were cancelled, by the state in which that was decided and the reason",
    },
    Metric {
        name: "http_req_duration",
        kind: MetricKind::Trend,
        tags: &[REQUEST_TAG],
        meaning: "from the instant a request was due to the end of its answer",
    },
    Metric {
        name: "http_req_failed",
        kind: MetricKind::Rate,
        tags: &[],
        meaning: "requests without an answer, with one that is no 2xx, or (`await`) without the end that they waited \
                  for, out of all",
    },
    Metric {
        name: "http_reqs",
        kind: MetricKind::Counter,
        tags: &[],
        meaning: "requests that were sent; an `await` counts as one, however often it looks",
    },
    Metric { name: "iterations", kind: MetricKind::Counter, tags: &[], meaning: "journeys that came to their end" },
    Metric {
        name: "dropped_iterations",
        kind: MetricKind::Counter,
        tags: &[],
        meaning: "arrivals that found all `max_vus` busy and were not started",
    },
    Metric {
        name: "iteration_duration",
        kind: MetricKind::Trend,
        tags: &[],
        meaning: "one whole journey, from the instant it was due, thinking included",
    },
];

const STEPS_ANYWHERE: &str = "its steps may be due before, in and after the fault";

/// Metrics that cannot be told for the time of a fault alone, each with the reason.
pub(super) const WHOLE_RUN_ONLY: &[(&str, &str)] = &[
    ("iterations", STEPS_ANYWHERE),
    ("iteration_duration", STEPS_ANYWHERE),
    ("dropped_iterations", "counted for the whole load only"),
    ("cancellations", "read from the books, which are closed after the run"),
];

/// The metric with this name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The aggregates of a metric of this kind, for people.
pub(super) fn aggregates(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Trend => "avg, min, med, max and p(N)",
        MetricKind::Rate => "rate",
        MetricKind::Counter => "count",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_told_for_the_whole_run_only_exists() {
        assert!(WHOLE_RUN_ONLY.iter().all(|(name, _)| metric(name).is_some()));
    }
}
