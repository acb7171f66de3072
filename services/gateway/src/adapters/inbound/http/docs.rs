//! The API's description, and a page to read it and to try it.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;

use super::Shared;
use super::openapi::document;

/// The page runs its own script and asks its own server, nothing else.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

static DOCUMENT: LazyLock<String> = LazyLock::new(document);

/// This document.
#[utoipa::path(get, operation_id = "getDescription", path = "/openapi.json", tag = "description", responses(
    (status = 200, description = "The API in OpenAPI 3.1", body = Object),
))]
pub(super) async fn openapi_json() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// The page under `/docs` and its parts.
pub(super) fn pages() -> Router<Shared> {
    let part = |kind: &'static str, text: &'static str| {
        get(move || async move {
            let headers: [(HeaderName, HeaderValue); 2] = [
                (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
                (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
            ];
            (headers, text)
        })
    };
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/docs") }))
        .route("/docs", part("text/html; charset=utf-8", include_str!("docs/page.html")))
        .route("/docs/page.css", part("text/css; charset=utf-8", include_str!("docs/page.css")))
        .route("/docs/page.js", part("text/javascript; charset=utf-8", include_str!("docs/page.js")))
}
