//! Faults over HTTP, on the ops port: listed, injected and lifted, by admins and services.
//!
//! | request | answer |
//! |---|---|
//! | `GET /chaos/faults` | 200, the active faults and the last that were lifted |
//! | `PUT /chaos/faults/{name}` | 201, the fault; 400 when it makes no sense; 409 when it cannot be now |
//! | `DELETE /chaos/faults/{name}` | 200, the lifted fault; 404 when there is none |
//! | `DELETE /chaos/faults` | 200, all that were lifted |
//!
//! Times are microseconds since 1970 by the injected clock. What is refused has a body
//! `{"error": "…"}`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};

use super::{Active, Lifted, NotInjected, Switchboard, Target};
use crate::auth::{Caller, Keys, Role};
use crate::clock::SharedClock;
use crate::env::Env;
use crate::metrics::Metrics;

/// A larger body is refused.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// A body that takes longer to arrive is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The routes by which `target` can be broken, and a metric of what is; nothing at all unless the
/// role was started with chaos allowed. `tell` learns of all active faults, oldest first, on each
/// change; it MUST NOT call back.
pub fn ops(env: &Env, target: &'static Target, tell: impl Fn(&[Arc<Active>]) + Send + Sync + 'static) -> Router {
    if !env.chaos {
        return Router::new();
    }
    let count = count_active(&env.metrics, target);
    let told = move |active: &[Arc<Active>]| {
        count(active);
        tell(active);
    };
    let switchboard = Switchboard::new(target, env.clock.clone(), env.shutdown.clone(), told);
    let desk = Desk { switchboard, keys: env.keys.clone(), clock: env.clock.clone() };
    Router::new()
        .route("/chaos/faults", get(list).delete(lift_all))
        .route("/chaos/faults/{name}", axum::routing::put(inject).delete(lift))
        .route_layer(from_fn_with_state(desk.clone(), guard))
        .with_state(desk)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    target: &'static str,
    kind: &'static str,
}

/// Registers the metric; the answer sets it.
fn count_active(metrics: &Metrics, target: &'static Target) -> impl Fn(&[Arc<Active>]) + Send + Sync + 'static {
    let gauges = Family::<Labels, Gauge>::default();
    metrics.register(|registry| registry.register("faults_active", "Faults that are active, by kind", gauges.clone()));
    let count = move |active: &[Arc<Active>]| {
        for kind in target.kinds {
            let count = active.iter().filter(|active| active.fault.kind == kind).count();
            let labels = Labels { target: target.name, kind: kind.name };
            gauges.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    };
    count(&[]);
    count
}

#[derive(Clone)]
struct Desk {
    switchboard: Arc<Switchboard>,
    keys: Keys,
    clock: SharedClock,
}

#[derive(Serialize)]
struct FaultJson {
    name: String,
    target: &'static str,
    kind: &'static str,
    parameters: BTreeMap<&'static str, String>,
    injected_at_us: i64,
    until_us: Option<i64>,
    hits: u64,
}

#[derive(Serialize)]
struct LiftedJson {
    #[serde(flatten)]
    fault: FaultJson,
    lifted_at_us: i64,
    lifted_because: &'static str,
}

#[derive(Serialize)]
struct FaultsJson {
    target: &'static str,
    active: Vec<FaultJson>,
    history: Vec<LiftedJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    kind: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    for_ms: Option<u64>,
}

impl From<&Active> for FaultJson {
    fn from(active: &Active) -> Self {
        Self {
            name: active.fault.name.clone(),
            target: active.fault.target.name,
            kind: active.fault.kind.name,
            parameters: active.fault.written.clone(),
            injected_at_us: active.injected_at.as_micros(),
            until_us: active.until.map(kernel::Timestamp::as_micros),
            hits: active.hits(),
        }
    }
}

impl From<Lifted> for LiftedJson {
    fn from(Lifted { active, at, because }: Lifted) -> Self {
        let fault = FaultJson::from(&*active);
        Self { fault, lifted_at_us: at.as_micros(), lifted_because: because.as_str() }
    }
}

/// Why a request was refused, for people.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ErrorJson {
            error: String,
        }
        let Self(status, error) = self;
        let body = Json(ErrorJson { error });
        match status {
            StatusCode::UNAUTHORIZED => (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}

impl From<NotInjected> for Refused {
    fn from(error: NotInjected) -> Self {
        let status = match &error {
            NotInjected::Unfit(_) | NotInjected::Lasts(_) => StatusCode::BAD_REQUEST,
            NotInjected::Active(_) | NotInjected::TooMany => StatusCode::CONFLICT,
        };
        let hint = match &error {
            NotInjected::Unfit(unfit) => unfit.hint(),
            _ => None,
        };
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        Self(status, format!("{error}{hint}"))
    }
}

/// Lets admins and services through.
async fn guard(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    match desk.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl Desk {
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let stranger = |why: &str| Refused(StatusCode::UNAUTHORIZED, format!("{why}: sign in as an admin"));
        let given = headers.get(header::AUTHORIZATION).ok_or_else(|| stranger("no token"))?;
        let token = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| stranger("not a bearer token"))?;
        let claims = self.keys.verify(token, self.clock.now());
        match claims.and_then(|claims| Caller::from_claims(&claims)) {
            Ok(Caller::User { role: Role::Admin, .. } | Caller::Service { .. }) => Ok(()),
            Ok(_) => Err(Refused(StatusCode::FORBIDDEN, "only admins and services may do this".to_owned())),
            Err(error) => Err(stranger(&error.to_string())),
        }
    }
}

async fn list(State(desk): State<Desk>) -> Json<FaultsJson> {
    let (active, history) = desk.switchboard.snapshot();
    Json(FaultsJson {
        target: desk.switchboard.target().name,
        active: active.iter().map(|active| FaultJson::from(&**active)).collect(),
        history: history.into_iter().map(LiftedJson::from).collect(),
    })
}

async fn inject(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<FaultJson>), Refused> {
    let Wanted { kind, parameters, for_ms } = wanted(request).await?;
    let lasts = for_ms.map(Duration::from_millis);
    let active = desk.switchboard.inject(&name, &kind, &parameters, lasts)?;
    Ok((StatusCode::CREATED, Json(FaultJson::from(&*active))))
}

async fn wanted(request: Request) -> Result<Wanted, Refused> {
    let body = tokio::time::timeout(BODY_DEADLINE, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
    let late = |_| Refused(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {BODY_DEADLINE:?}"));
    let unread = |_| Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {BODY_BYTES_MAX} bytes"));
    let bytes = body.map_err(late)?.map_err(unread)?;
    let example = r#"{"kind": "latency", "parameters": {"latency": "300ms"}, "for_ms": 3000}"#;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refused(StatusCode::BAD_REQUEST, format!("the body: {error}; write it like {example}")))
}

async fn lift(State(desk): State<Desk>, Path(name): Path<String>) -> Result<Json<LiftedJson>, Refused> {
    let lifted = desk.switchboard.lift(&name).map(|lifted| Json(LiftedJson::from(lifted)));
    lifted.ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("no fault named `{name}` is active")))
}

async fn lift_all(State(desk): State<Desk>) -> Json<Vec<LiftedJson>> {
    Json(desk.switchboard.lift_all().into_iter().map(LiftedJson::from).collect())
}
