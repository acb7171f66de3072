//! REST under `/api/v1`.
//!
//! The three groups of [`router`] say who may come in; which role a handler asks for stands in its
//! signature ([`extract::SignedIn`], [`extract::Staff`], [`extract::Admin`]). The services behind
//! verify the same token again and have the last word.

mod admin;
mod extract;
mod inventory;
mod metrics;
mod middleware;
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
use axum::routing::{get, post};
use chassis::Env;
use chassis::context::Tracer;

use crate::Config;
use crate::adapters::outbound::clients::Clients;
use crate::application::admission::Admission;
use crate::application::authentication::Authentication;
use crate::application::names::Names;
use metrics::HttpMetrics;
use middleware::{Access, Guard};

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
        })
    }
}

/// Everything the gateway answers.
pub fn router(gateway: Arc<Gateway>) -> Router {
    // A token, also a stale one, plays no part in getting a new one.
    let open = Router::new().route("/users/register", post(users::register)).route("/users/login", post(users::login));
    let public = Router::new()
        .route("/products", get(products::search))
        .route("/products/{id}", get(products::read))
        .route("/inventory/{product}", get(inventory::read));
    let private = Router::new()
        .route("/users/me", get(users::me).put(users::update))
        .route("/products", post(products::create))
        .route("/products/{id}", axum::routing::put(products::update).delete(products::delete))
        .route("/inventory/{product}/restock", post(inventory::restock))
        .route("/orders", get(orders::list).post(orders::create))
        .route("/orders/{id}", get(orders::read))
        .route("/orders/{id}/history", get(orders::history))
        .route("/orders/{id}/attempts", get(orders::attempts))
        .route("/orders/{id}/cancel", post(orders::cancel))
        .route("/payments", get(payments::list))
        .route("/admin/users", post(admin::register_bulk))
        .route("/admin/roles", get(admin::roles))
        .route("/admin/orders/stuck", get(recovery::stuck))
        .route("/admin/orders/{id}/retry", post(recovery::retry))
        .route("/admin/orders/rebuild", post(recovery::rebuild));
    let guarded = |routes: Router<Shared>, access| {
        let guard = Guard { gateway: gateway.clone(), access };
        routes.route_layer(from_fn_with_state(guard, middleware::guard))
    };
    let api =
        guarded(open, Access::Open).merge(guarded(public, Access::Public)).merge(guarded(private, Access::Private));
    Router::new()
        .nest("/api/v1", api)
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn_with_state(gateway.clone(), middleware::observe))
        .with_state(gateway)
}
