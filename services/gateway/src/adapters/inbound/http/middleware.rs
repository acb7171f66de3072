//! What happens to every request before and after its handler: [`observe`] around everything,
//! [`guard`] around the routes that exist.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chassis::auth::Caller;
use chassis::context::{Context, TRACEPARENT, Trace};
use tokio::time::Instant;

use super::metrics::method_label;
use super::problem::{self, Kind, Problem};
use super::{Gateway, Shared};
use crate::application::admission::Verdict;
use crate::application::authentication::Identified;
use crate::domain::keys::{BadKey, RequestId};
use crate::domain::window::{Decision, WINDOW};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// More of a request's head is not read. The server under this router cuts off what is far beyond.
pub(super) const HEADERS_MAX: usize = 64;
pub(super) const HEADERS_BYTES_MAX: usize = 16 * 1024;
pub(super) const TARGET_BYTES_MAX: usize = 8 * 1024;
/// The API is data: nothing in it is to be run, shown in a frame or followed.
const API_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Names the request, finds its trace, bounds its time, renders its failure, logs and measures it.
pub(super) async fn observe(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let request_id = request_id(&gateway, request.headers());
    let Ok(request_id) = request_id else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let parent = text(request.headers(), TRACEPARENT).and_then(|text| text.parse::<Trace>().ok());
    let trace = gateway.tracer.span(parent);
    let request_timeout = gateway.request_timeout;
    let record = Record::begin(gateway, &request, request_id.clone());
    let context = Context { trace, token: None };
    let response = match head_of(&request) {
        Ok(()) => {
            let answer = tokio::time::timeout(request_timeout, context.scope(next.run(request))).await;
            answer.unwrap_or_else(|_| Problem::timeout().into_response())
        }
        Err(problem) => problem.into_response(),
    };
    let mut response = problem::render(response, &request_id);
    let headers = response.headers_mut();
    set(headers, REQUEST_ID, request_id.as_str());
    if let Some(trace) = trace {
        set(headers, HeaderName::from_static(TRACEPARENT), &trace.to_string());
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(API_POLICY);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    record.end(response.status());
    response
}

/// Bounds what a request says about itself.
///
/// # Errors
/// A problem that says what there is too much of.
fn head_of(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.len() > HEADERS_MAX {
        let detail = format!("{} headers came, at most {HEADERS_MAX} are read", headers.len());
        return Err(Problem::new(Kind::HeadersTooLarge, detail));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        let detail = format!("{bytes} bytes of headers came, at most {HEADERS_BYTES_MAX} are read");
        return Err(Problem::new(Kind::HeadersTooLarge, detail));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        let detail = format!("path and query have {target} bytes, at most {TARGET_BYTES_MAX} are read");
        return Err(Problem::new(Kind::UriTooLong, detail));
    }
    Ok(())
}

/// The client's own name for the request, if it is one that logs can bear.
fn request_id(gateway: &Gateway, headers: &HeaderMap) -> Result<RequestId, BadKey> {
    match text(headers, REQUEST_ID.as_str()).map(str::parse) {
        Some(Ok(request_id)) => Ok(request_id),
        _ => gateway.request_ids.next().to_string().parse(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The log line and the measurement of one request. A client that goes away drops the handler; the
/// request is recorded all the same.
struct Record {
    gateway: Arc<Gateway>,
    method: &'static str,
    route: String,
    request_id: RequestId,
    started: Instant,
    /// 499, as nginx has it, until there is an answer.
    status: StatusCode,
}

impl Record {
    fn begin(gateway: Arc<Gateway>, request: &Request, request_id: RequestId) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
        let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        let method = method_label(request.method());
        Self { gateway, method, route, request_id, started: Instant::now(), status }
    }

    fn end(mut self, status: StatusCode) {
        self.status = status;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.gateway.metrics.request(self.method, &self.route, self.status, took);
        tracing::info!(
            target: "shop::http",
            method = self.method,
            route = self.route,
            status = self.status.as_u16(),
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            request_id = %self.request_id,
        );
    }
}

/// Who may come in through a group of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody; tokens are not looked at.
    Open,
    /// Anybody; a token that is sent must hold.
    Public,
    /// Whoever is signed in.
    Private,
}

#[derive(Clone)]
pub(super) struct Guard {
    pub(super) gateway: Arc<Gateway>,
    pub(super) access: Access,
}

/// Verifies the caller, counts the request against their rate limit, and lets the handler act in
/// their name.
pub(super) async fn guard(
    State(Guard { gateway, access }): State<Guard>,
    route: MatchedPath,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Identified { caller, token } = match access {
        Access::Open => Identified::anonymous(),
        Access::Public | Access::Private => identify(&gateway, request.headers())?,
    };
    if access == Access::Private && caller == Caller::Anonymous {
        return Err(Problem::sign_in());
    }
    let operation = format!("{} {}", method_label(request.method()), route.as_str());
    let decision = match gateway.admission.admit(&caller, &operation).await {
        Verdict::Decided(decision) => Some(decision),
        Verdict::Unlimited => None,
        Verdict::Unenforced => {
            gateway.metrics.unenforced();
            None
        }
    };
    let mut response = match decision {
        Some(Decision { admitted: false, retry_after, limit, .. }) => {
            let detail = format!("{limit} requests a minute are admitted");
            Problem::new(Kind::TooManyRequests, detail).retry_after(whole_seconds(retry_after)).into_response()
        }
        _ => {
            request.extensions_mut().insert(caller);
            let context = Context { token, ..Context::current() };
            context.scope(next.run(request)).await
        }
    };
    if let Some(decision) = decision {
        let headers = response.headers_mut();
        headers.insert("ratelimit-limit", HeaderValue::from(decision.limit));
        set(headers, RATE_LIMIT_POLICY, &format!("{};w={}", decision.limit, WINDOW.as_secs()));
        headers.insert("ratelimit-remaining", HeaderValue::from(decision.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(whole_seconds(decision.reset)));
    }
    Ok(response)
}

fn identify(gateway: &Gateway, headers: &HeaderMap) -> Result<Identified, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let authorization = values.next();
    if values.next().is_some() {
        // What stands in front of this gateway may believe the other one.
        return Err(Problem::new(Kind::InvalidToken, "one Authorization header is expected"));
    }
    gateway
        .authentication
        .identify(authorization)
        .map_err(|refusal| Problem::new(Kind::InvalidToken, format!("{refusal}: sign in again")))
}

/// Rounded up, so that a client that waits so long is not refused again.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
