//! Runs a built service on its sockets until it is told to stop, then drains it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use bytes::{Buf, Bytes};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::env::{Env, StartError};
use crate::grpc;
use crate::net::{Listener, Socket};

/// How long requests under way may take to finish after the shutdown signal.
const DRAIN: Duration = Duration::from_secs(5);
/// A client that takes longer to send its request head, or to introduce itself, is cut off.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// More headers of an HTTP/1 request, or a longer head, are answered 431 without a word. It is as many as are read
/// without asking for memory; a router that has something to say about it sets its own limit below.
const HEADERS_MAX: usize = 100;
/// What is read ahead of one connection, and so the longest head.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How an HTTP/2 client introduces itself (RFC 9113, section 3.4).
const H2_PREFACE_BYTES: usize = 24;

pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A service that is being built: opens what it stands on, binds and spawns nothing.
pub type Building = Pin<Box<dyn Future<Output = Result<Service, StartError>> + Send>>;

/// What a role serves on its main port.
pub enum App {
    Grpc(Routes),
    Http(Router),
}

/// A built service: nothing runs yet.
pub struct Service {
    pub env: Env,
    pub app: App,
    /// Routes beside `/metrics`, `/healthz` and `/readyz` on the ops port.
    pub ops: Router,
    /// Background work; each ends on `env.shutdown`.
    pub tasks: Vec<Task>,
}

/// Runs until `env.shutdown` is cancelled and everything under way has ended or [`DRAIN`] is over.
pub fn run(service: Service, main: Box<dyn Listener>, ops: Box<dyn Listener>) -> Task {
    Box::pin(async move {
        let Service { env, app, ops: extra, tasks } = service;
        let tracker = TaskTracker::new();
        for task in tasks {
            tracker.spawn(task);
        }
        let ops_router = ops_router(&env).merge(extra);
        tracker.spawn(accept_loop(env.clone(), ops, tracker.clone(), move |env, socket| {
            Box::pin(serve_http(env, socket, ops_router.clone())) as Task
        }));
        match app {
            App::Grpc(routes) => {
                let routes = routes.prepare();
                tracker.spawn(accept_loop(env.clone(), main, tracker.clone(), move |env, socket| {
                    Box::pin(serve_grpc(env, socket, routes.clone())) as Task
                }));
            }
            App::Http(router) => {
                tracker.spawn(accept_loop(env.clone(), main, tracker.clone(), move |env, socket| {
                    Box::pin(serve_http(env, socket, router.clone())) as Task
                }));
            }
        }
        env.shutdown.cancelled().await;
        tracker.close();
        if tokio::time::timeout(DRAIN, tracker.wait()).await.is_err() {
            tracing::warn!(service = env.role, left = tracker.len(), "stopped with work under way");
        }
    })
}

fn ops_router(env: &Env) -> Router {
    let metrics = env.metrics.clone();
    let shutdown = env.shutdown.clone();
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route(
            "/readyz",
            get(move || async move {
                match shutdown.is_cancelled() {
                    true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
                    false => (StatusCode::OK, "ready"),
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], metrics.render())
            }),
        )
}

async fn accept_loop(
    env: Env,
    mut listener: Box<dyn Listener>,
    tracker: TaskTracker,
    serve: impl Fn(Env, Box<dyn Socket>) -> Task + Send + 'static,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = env.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(socket) => {
                tracker.spawn(serve(env.clone(), socket));
            }
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                tracing::warn!(service = env.role, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve_grpc(env: Env, mut socket: Box<dyn Socket>, routes: Routes) {
    // Until a client has introduced itself there is nothing to drain, and hyper would wait for ever.
    let mut preface = [0; H2_PREFACE_BYTES];
    let spoken = tokio::select! {
        biased;
        () = env.shutdown.cancelled() => return,
        spoken = tokio::time::timeout(HEAD_DEADLINE, socket.read_exact(&mut preface)) => spoken,
    };
    if !matches!(spoken, Ok(Ok(_))) {
        return;
    }
    let socket = ReadAgain { head: Bytes::copy_from_slice(&preface), socket };
    let guarded = env.clone();
    let service = service_fn(move |request: Request<Incoming>| grpc::guard(guarded.clone(), routes.clone(), request));
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(1024)
        .keep_alive_interval(Duration::from_secs(20))
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = env.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(service = env.role, %error, "a connection broke");
    }
}

async fn serve_http(env: Env, socket: Box<dyn Socket>, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .header_read_timeout(HEAD_DEADLINE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = env.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(service = env.role, %error, "a connection broke");
    }
}

/// A socket whose first bytes have been looked at, and are read once more.
struct ReadAgain {
    head: Bytes,
    socket: Box<dyn Socket>,
}

impl AsyncRead for ReadAgain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let length = self.head.len().min(buffer.remaining());
        buffer.put_slice(self.head.get(..length).unwrap_or_default());
        self.head.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAgain {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
