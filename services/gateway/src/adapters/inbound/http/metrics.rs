//! What `/metrics` shows of the HTTP side.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use chassis::metrics::{Metrics, latency_histogram};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Every label has few values: a client can make up neither methods nor routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone)]
pub(super) struct HttpMetrics {
    on: bool,
    requests: Family<Labels, Histogram, fn() -> Histogram>,
    unenforced: Counter,
}

impl HttpMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let requests = Family::new_with_constructor(latency_histogram as fn() -> Histogram);
        let unenforced = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "http_server_duration_seconds",
                "Time from a request's arrival to its answer, by method, matched route and status",
                requests.clone(),
            );
            registry.register(
                "rate_limit_unenforced",
                "Requests let through uncounted, because the rate limit's counters were out of reach",
                unenforced.clone(),
            );
        });
        Self { on: metrics.is_on(), requests, unenforced }
    }

    /// A request was let through uncounted.
    pub(super) fn unenforced(&self) {
        self.unenforced.inc();
    }

    pub(super) fn request(&self, method: &'static str, route: &str, status: StatusCode, took: Duration) {
        if !self.on {
            return;
        }
        let labels = Labels { method, route: route.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// The method's name, or `OTHER` for those that no route takes.
pub(super) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "OTHER",
    }
}
