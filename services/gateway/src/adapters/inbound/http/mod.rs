//! REST under `/api/v1`.
//!
//! The three groups of [`operations`] say who may come in; which role a handler asks for stands in its
//! signature ([`extract::SignedIn`], [`extract::Staff`], [`extract::Admin`]). The services behind
//! verify the same token again and have the last word.
//!
//! A handler's description stands beside it, and it is by that description that the handler is
//! routed: what is served under `/api/v1` and what [`openapi`] says cannot differ.

mod admin;
mod docs;
mod extract;
mod inventory;
mod metrics;
mod middleware;
mod object;
mod openapi;
mod orders;
mod payments;
mod problem;
mod products;
mod recovery;
mod users;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use chassis::Env;
use chassis::context::Tracer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Config;
use crate::adapters::outbound::clients::Clients;
use crate::application::admission::Admission;
use crate::application::authentication::Authentication;
use crate::application::names::Names;
use metrics::HttpMetrics;
use middleware::{Access, Guard};

pub use openapi::document;
pub use problem::Kind;

/// What every handler and middleware shares.
pub struct Gateway {
    clients: Clients,
    authentication: Authentication,
    admission: Admission,
    request_ids: Names,
    idempotency_keys: Names,
    tracer: Tracer,
    metrics: HttpMetrics,
    roles: Vec<admin::RoleJson>,
    order_wait: Duration,
    body_limit_bytes: usize,
    body_timeout: Duration,
    request_timeout: Duration,
}

type Shared = Arc<Gateway>;

impl Gateway {
    pub fn new(
        config: &Config,
        env: &Env,
        clients: Clients,
        authentication: Authentication,
        admission: Admission,
    ) -> Arc<Self> {
        let names = |stream| Names::new(env.clock.clone(), env.seeds.stream(stream));
        Arc::new(Self {
            clients,
            authentication,
            admission,
            request_ids: names("request-ids"),
            idempotency_keys: names("idempotency-keys"),
            tracer: env.tracer.clone(),
            metrics: HttpMetrics::register(&env.metrics),
            roles: admin::roles_of(env),
            order_wait: config.order_wait,
            body_limit_bytes: usize::try_from(config.body_limit).unwrap_or(usize::MAX),
            body_timeout: config.body_timeout,
            request_timeout: config.request_timeout,
        })
    }
}

/// Where the API begins.
const PREFIX: &str = "/api/v1";

/// Every operation, by who may come in.
fn operations() -> [(Access, OpenApiRouter<Shared>); 3] {
    // A token, also a stale one, plays no part in getting a new one, nor in reading what there is.
    let open = OpenApiRouter::new()
        .routes(routes!(users::register))
        .routes(routes!(users::login))
        .routes(routes!(docs::openapi_json));
    let public = OpenApiRouter::new()
        .routes(routes!(products::search))
        .routes(routes!(products::read))
        .routes(routes!(products::categories))
        .routes(routes!(inventory::read));
    let private = OpenApiRouter::new()
        .routes(routes!(users::me, users::update))
        .routes(routes!(products::create))
        .routes(routes!(products::update, products::delete))
        .routes(routes!(inventory::restock))
        .routes(routes!(orders::list, orders::create))
        .routes(routes!(orders::read))
        .routes(routes!(orders::history))
        .routes(routes!(orders::attempts))
        .routes(routes!(orders::cancel))
        .routes(routes!(payments::list))
        .routes(routes!(payments::read))
        .routes(routes!(payments::history))
        .routes(routes!(payments::refund))
        .routes(routes!(admin::register_bulk))
        .routes(routes!(admin::roles))
        .routes(routes!(users::read))
        .routes(routes!(users::assign_role))
        .routes(routes!(recovery::stuck))
        .routes(routes!(recovery::retry))
        .routes(routes!(recovery::rebuild));
    [(Access::Open, open), (Access::Public, public), (Access::Private, private)]
}

/// Everything the gateway answers.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let mut api = Router::new();
    for (access, operations) in operations() {
        let guard = Guard { gateway: gateway.clone(), access };
        let (routes, _) = operations.split_for_parts();
        api = api.merge(routes.route_layer(from_fn_with_state(guard, middleware::guard)));
    }
    Router::new()
        .nest(PREFIX, api)
        .merge(docs::pages())
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn_with_state(gateway.clone(), middleware::observe))
        .with_state(gateway)
}
