//! What every gRPC port answers beside its own service: `grpc.health.v1.Health`, and reflection for tools that
//! have no `.proto` files. Both are open to everybody; they tell what is served, and nothing of what it holds.

use std::convert::Infallible;
use std::pin::Pin;

use axum::response::IntoResponse;
use futures_util::Stream;
use futures_util::stream::{StreamExt as _, once};
use http::Request;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::server::Builder;

use crate::env::{Env, StartError};

/// What the paths of the open services begin with.
const OPEN: [&str; 3] =
    ["grpc.health.v1.Health/", "grpc.reflection.v1.ServerReflection/", "grpc.reflection.v1alpha.ServerReflection/"];

/// Whether a method (without the first slash) is one of those that anybody may call.
pub(super) fn is_open(method: &str) -> bool {
    OPEN.iter().any(|prefix| method.starts_with(prefix))
}

/// The routes of a role's own service, with health and reflection beside it. `descriptors` is an encoded
/// `FileDescriptorSet` that has the service in it.
///
/// # Errors
/// When the descriptors cannot be read.
pub fn serving<S>(env: &Env, service: S, descriptors: &'static [u8]) -> Result<Routes, StartError>
where
    S: tower::Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    standard(env, Routes::new(service), Some(S::NAME), descriptors)
}

/// The routes of a role that has no service of its own.
///
/// # Errors
/// As [`serving`].
pub fn serving_nothing(env: &Env) -> Result<Routes, StartError> {
    standard(env, Routes::default(), None, &[])
}

fn standard(
    env: &Env,
    routes: Routes,
    name: Option<&'static str>,
    descriptors: &'static [u8],
) -> Result<Routes, StartError> {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        name.into_iter().fold(builder, Builder::with_service_name)
    };
    let unreadable = |error| StartError(format!("{}: the descriptors of its gRPC service: {error}", env.role));
    // Tools are divided about which of the two they ask.
    let (v1, v1alpha) = (builder().build_v1(), builder().build_v1alpha());
    let health = HealthServer::new(Serving { name, shutdown: env.shutdown.clone() });
    Ok(routes.add_service(health).add_service(v1.map_err(unreadable)?).add_service(v1alpha.map_err(unreadable)?))
}

/// Serving until the shutdown signal, then draining.
#[derive(Clone)]
struct Serving {
    name: Option<&'static str>,
    shutdown: CancellationToken,
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Serving {
    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.name == Some(service)
    }

    fn now(&self) -> ServingStatus {
        match self.shutdown.is_cancelled() {
            true => ServingStatus::NotServing,
            false => ServingStatus::Serving,
        }
    }
}

#[tonic::async_trait]
impl Health for Serving {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.knows(&request.get_ref().service) {
            true => Ok(Response::new(answer(self.now()))),
            false => Err(Status::not_found("this port does not serve that service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The status now, and the drain when it begins. Then it ends, so that nobody who watches holds the drain up.
    async fn watch(&self, request: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if !self.knows(&request.get_ref().service) {
            let unknown = once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
            return Ok(Response::new(Box::pin(unknown)));
        }
        let (now, shutdown) = (self.now(), self.shutdown.clone());
        let drain = once(async move {
            shutdown.cancelled_owned().await;
            Ok(answer(ServingStatus::NotServing))
        });
        Ok(Response::new(Box::pin(once(async move { Ok(answer(now)) }).chain(drain))))
    }
}
