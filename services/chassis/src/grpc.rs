//! gRPC to and from peers: deadlines, the caller's identity and the trace on every call.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kernel::Timestamp;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::{Service as _, service_fn};

use crate::auth::{Caller, Role};
use crate::context::{Context, TRACEPARENT, Trace};
use crate::env::{Env, StartError};

mod road;
mod standard;

pub use road::Road;
pub use standard::{serving, serving_nothing};

/// The metadata of a refusal that says after how many seconds it may be tried again.
pub const RETRY_AFTER: &str = "retry-after";

/// No call waits longer than this, whatever its caller says.
pub const DEADLINE_MAX: Duration = Duration::from_secs(35);
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const SERVICE_TOKEN_TTL: Duration = Duration::from_secs(60);

/// The method in the metrics of a call that was refused before any method took it.
const UNROUTED: &str = "unrouted";

/// A connection to a peer; cheap to clone, connects on first use and again after a loss.
pub type PeerChannel = InterceptedService<Road, Signer>;

/// In whose name calls are made.
#[derive(Clone)]
pub enum Identity {
    /// In the service's own name, with a short-lived token of its own.
    Service(Env),
    /// In the name of the caller of the current request.
    Caller(Env),
}

/// Puts trace and identity on every call over one channel. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    identity: Identity,
    /// The service's own token as it stands in a header, until it has to be made anew. It is kept because making
    /// one costs a signature, and because HTTP/2 sends a header that it has sent before as a number.
    kept: Arc<Mutex<Option<Kept>>>,
}

/// A token, and when it is to be made anew.
struct Kept {
    token: MetadataValue<Ascii>,
    renewed_at: Timestamp,
}

impl Signer {
    fn new(identity: Identity) -> Self {
        Self { identity, kept: Arc::default() }
    }

    fn own_token(&self, env: &Env) -> Result<MetadataValue<Ascii>, Status> {
        let now = env.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Kept { token, .. }) = kept.as_ref().filter(|kept| now < kept.renewed_at) {
            return Ok(token.clone());
        }
        let token = bearer(&env.keys.issue(env.role, Role::Service, SERVICE_TOKEN_TTL, now))?;
        *kept = Some(Kept { token: token.clone(), renewed_at: now.plus(SERVICE_TOKEN_TTL / 2) });
        Ok(token)
    }
}

fn ascii(text: String) -> Result<MetadataValue<Ascii>, Status> {
    MetadataValue::try_from(text).map_err(|_| Status::internal("metadata"))
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, Status> {
    ascii(format!("Bearer {token}"))
}

impl Interceptor for Signer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let context = Context::current();
        let (env, token) = match &self.identity {
            Identity::Service(env) => (env, Some(self.own_token(env)?)),
            Identity::Caller(env) => (env, context.token.as_deref().map(bearer).transpose()?),
        };
        if let Some(trace) = env.tracer.span(context.trace) {
            let mut trace = ascii(trace.to_string())?;
            // No two calls have the same one: kept in the connection's table of headers it would only drive out others.
            trace.set_sensitive(true);
            request.metadata_mut().insert(TRACEPARENT, trace);
        }
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }
}

/// A channel to the peer in `role`. Each call may set a shorter deadline than `deadline`.
///
/// # Errors
/// When nobody said where that role is.
pub fn channel(env: &Env, role: &str, identity: Identity, deadline: Duration) -> Result<PeerChannel, StartError> {
    let authority = env.peer(role)?.to_owned();
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|error| StartError(format!("{role} at {authority}: {error}")))?
        .timeout(deadline.min(DEADLINE_MAX))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        // HTTP/2 may remember the streams whose callers gave up, so that it can ignore late answers; it forgets them by
        // the machine's clock, which virtual time does not see. So it remembers none, and a late answer is no error of
        // the peer: one of the shop's own roles, which was slow.
        .http2_max_concurrent_reset_streams(0)
        .http2_max_local_error_reset_streams(None)
        .tcp_nodelay(true);
    let network = env.network.clone();
    let connector = service_fn(move |_: http::Uri| {
        let (network, authority) = (network.clone(), authority.clone());
        // Bounded here and not by the endpoint, whose own bound is reported as `UNKNOWN`.
        async move { tokio::time::timeout(CONNECT_DEADLINE, network.connect(&authority)).await?.map(TokioIo::new) }
    });
    let road = Road {
        channel: endpoint.connect_with_connector_lazy(connector),
        hazards: env.hazards(),
        from: env.role,
        to: role.into(),
        deadline: deadline.min(DEADLINE_MAX),
    };
    Ok(InterceptedService::new(road, Signer::new(identity)))
}

/// Serves one request: finds its trace, verifies its caller, bounds its time, and says what became
/// of it.
pub(crate) async fn guard(
    env: Env,
    mut routes: Routes,
    mut request: Request<Incoming>,
) -> Result<Response<tonic::body::Body>, Infallible> {
    let started = Instant::now();
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let parent = header(request.headers(), TRACEPARENT).and_then(|text| text.parse::<Trace>().ok());
    let trace = env.tracer.span(parent);
    tracing::debug!(target: "shop::rpc", service = env.role, method, trace = trace.map(display), "received");
    // Whoever asks whether a service is well need not be anybody, and a stale token is no illness.
    let verified = if standard::is_open(&method) { Ok(Caller::Anonymous) } else { caller(&env, request.headers()) };
    let caller = match verified {
        Ok(caller) => caller,
        Err(status) => {
            finish(&env, UNROUTED, trace, status.code(), started);
            return Ok(status.into_http());
        }
    };
    let deadline = header(request.headers(), "grpc-timeout").and_then(grpc_timeout).unwrap_or(DEADLINE_MAX);
    request.extensions_mut().insert(caller);
    let context = Context { trace, token: None };
    let hazards = env.hazards();
    let point = |edge: &str| format!("{}.serve.{}.{edge}", env.role, name_of(&method));
    let work = context.scope(async {
        hazards.pass(|| point("before")).await;
        let answer = routes.call(request).await;
        hazards.pass(|| point("after")).await;
        answer
    });
    let response = match tokio::time::timeout(deadline.min(DEADLINE_MAX), work).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Status::deadline_exceeded("the deadline passed").into_http(),
    };
    let code = response.headers().get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    // What callers make up is not a method; as a label it would grow the metrics without bound.
    let method = if code == Code::Unimplemented { UNROUTED } else { &method };
    finish(&env, method, trace, code, started);
    Ok(response)
}

/// The last part of a method's path: `Check` of `grpc.health.v1.Health/Check`.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn finish(env: &Env, method: &str, trace: Option<Trace>, code: Code, started: Instant) {
    let took = started.elapsed();
    if env.metrics.is_on() {
        env.metrics.rpc(method, &format!("{code:?}"), took);
    }
    tracing::debug!(target: "shop::rpc", service = env.role, method, trace = trace.map(display), ?code, "answered");
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn caller(env: &Env, headers: &HeaderMap) -> Result<Caller, Status> {
    let Some(value) = headers.get("authorization") else { return Ok(Caller::Anonymous) };
    let refused = |reason: &str| Status::unauthenticated(format!("{reason}: sign in again"));
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| refused("not a bearer token"))?;
    let claims = env.keys.verify(token, env.clock.now()).map_err(|error| refused(&error.to_string()))?;
    Caller::from_claims(&claims).map_err(|error| refused(&error.to_string()))
}

/// Reads a `grpc-timeout` header: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_deadlines_that_grpc_writes() {
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("3S"), Some(Duration::from_secs(3)));
        for text in ["", "m", "123456789S", "5x", "-1S", "5é"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
    }
}
