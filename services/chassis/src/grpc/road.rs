//! The way to a peer: tonic's channel, and in a simulated world what may befall a call on it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tower::{Service, ServiceExt as _};

use super::{grpc_timeout, header, name_of};
use crate::hazard::{CallFate, Hazards, NoAnswer};

/// A larger message is not delayed, lost or repeated.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

type Answer = Result<Response<Body>, Error>;

/// Calls to one peer. Cheap to clone.
#[derive(Clone)]
pub struct Road {
    pub(super) channel: Channel,
    pub(super) hazards: Hazards,
    /// The roles at its ends.
    pub(super) from: &'static str,
    pub(super) to: Arc<str>,
    /// How long a call takes at most.
    pub(super) deadline: Duration,
}

/// A call under way.
pub enum OnTheRoad {
    Safe(<Channel as Service<Request<Body>>>::Future),
    Perilous(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl Future for OnTheRoad {
    type Output = Answer;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        match self.get_mut() {
            Self::Safe(call) => Pin::new(call).poll(context),
            Self::Perilous(call) => call.as_mut().poll(context),
        }
    }
}

impl Service<Request<Body>> for Road {
    type Response = Response<Body>;
    type Error = Error;
    type Future = OnTheRoad;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: Request<Body>) -> OnTheRoad {
        if self.hazards.is_none() {
            return OnTheRoad::Safe(self.channel.call(request));
        }
        // The one that is ready takes the call.
        let other = self.channel.clone();
        let road = Self { channel: std::mem::replace(&mut self.channel, other), ..self.clone() };
        OnTheRoad::Perilous(Box::pin(road.travel(request)))
    }
}

impl Road {
    async fn travel(mut self, request: Request<Body>) -> Answer {
        let method = name_of(request.uri().path()).to_owned();
        let point = |edge: &str| format!("{}.call.{}.{method}.{edge}", self.from, self.to);
        self.hazards.pass(|| point("before")).await;
        let fate = self.hazards.call(&self.to);
        let answer = match fate.is_plain() {
            true => self.channel.call(request).await,
            false => self.befall(request, fate).await,
        };
        self.hazards.pass(|| point("after")).await;
        answer
    }

    async fn befall(&self, request: Request<Body>, fate: CallFate) -> Answer {
        let asked = header(request.headers(), "grpc-timeout").and_then(grpc_timeout);
        let deadline = asked.unwrap_or(self.deadline).min(self.deadline);
        let (head, body) = request.into_parts();
        let Ok(body) = axum::body::to_bytes(axum::body::Body::new(body), BODY_BYTES_MAX).await else {
            return Ok(Status::internal("the message could not be read").into_http());
        };
        let send = || {
            let request = Request::from_parts(head.clone(), whole(body.clone()));
            self.channel.clone().oneshot(request)
        };
        match fate.befall(deadline, send).await {
            Ok(answer) => answer,
            Err(NoAnswer::CutOff) => Ok(Status::unavailable("the call was cut off").into_http()),
            // In the words of the channel's own deadline.
            Err(NoAnswer::InTime) => Ok(Status::cancelled("Timeout expired").into_http()),
        }
    }
}

fn whole(body: Bytes) -> Body {
    Body::new(axum::body::Body::from(body))
}
