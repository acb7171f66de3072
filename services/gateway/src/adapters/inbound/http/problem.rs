//! Every failure as a problem (RFC 9457), and the one place where gRPC statuses become HTTP ones.
//!
//! A [`Problem`] travels as an extension of an empty response; [`render`] writes the body at the
//! outermost layer, where the request's id is known. Failures that axum made itself are caught there
//! too.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use chassis::context::Context;
use serde::Serialize;
use tonic::{Code, Status};
use utoipa::ToSchema;

use crate::domain::keys::RequestId;

/// What every `type` begins with.
pub(super) const TYPE_PREFIX: &str = "urn:shopctl:problem:";
/// Details quote what clients sent; no more of it than this.
const DETAIL_CHARACTERS_MAX: usize = 500;

/// What went wrong. The slug is part of the contract, the title explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Validation,
    Unauthenticated,
    InvalidToken,
    Forbidden,
    NotFound,
    UnknownProduct,
    NoSuchRoute,
    NoSuchMethod,
    BodyTooSlow,
    AlreadyExists,
    KeyReused,
    NotPossibleNow,
    Conflict,
    BodyTooLarge,
    UriTooLong,
    HeadersTooLarge,
    TooManyRequests,
    Internal,
    Unavailable,
    Timeout,
}

impl Kind {
    /// In the order of their statuses.
    pub const ALL: [Self; 20] = [
        Self::Validation,
        Self::Unauthenticated,
        Self::InvalidToken,
        Self::Forbidden,
        Self::NotFound,
        Self::UnknownProduct,
        Self::NoSuchRoute,
        Self::NoSuchMethod,
        Self::BodyTooSlow,
        Self::AlreadyExists,
        Self::KeyReused,
        Self::NotPossibleNow,
        Self::Conflict,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::TooManyRequests,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::Unavailable,
        Self::Timeout,
    ];

    /// The HTTP status, the last part of the `type`, and the title.
    pub const fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Validation => (StatusCode::BAD_REQUEST, "validation", "The request is not valid"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Sign in first"),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid-token", "Sign in again"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "You may not do this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::UnknownProduct => (StatusCode::NOT_FOUND, "unknown-product", "An ordered product does not exist"),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no-such-route", "Nothing is served at this path"),
            Self::NoSuchMethod => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This path does not take this method")
            }
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "body-too-slow", "The body did not arrive in time"),
            Self::AlreadyExists => (StatusCode::CONFLICT, "already-exists", "It exists already"),
            Self::KeyReused => (StatusCode::CONFLICT, "idempotency-key-reused", "The key was used for another request"),
            Self::NotPossibleNow => (StatusCode::CONFLICT, "not-possible-now", "Its state does not allow this"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "It was changed meanwhile"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri-too-long", "The path and query are too long"),
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers are too large")
            }
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "A service is unavailable"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout", "A service did not answer in time"),
        }
    }
}

/// A failure on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    /// Whole seconds.
    retry_after: Option<u64>,
    /// What a peer said, where that may hold an address or a statement: it is for the log alone.
    cause: Option<String>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, cause: None }
    }

    /// A request that names its own mistake.
    pub fn invalid(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(Kind::Validation, format!("{field}: {reason}"))
    }

    pub fn sign_in() -> Self {
        Self::new(Kind::Unauthenticated, "a bearer token is needed: POST /api/v1/users/login")
    }

    pub fn timeout() -> Self {
        Self::new(Kind::Timeout, "the answer did not come in time; whether the request took effect is not known")
    }

    /// A peer answered something that its contract excludes; said in the log, not to the client.
    pub fn broken_answer(what: &str) -> Self {
        tracing::error!(target: "shop::http", what, "a service broke its contract");
        Self::new(Kind::Internal, "the shop could not make sense of its own answer")
    }

    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The same failure, said more precisely by a handler that knows what it means there.
    pub fn rename(self, from: Kind, to: Kind) -> Self {
        Self { kind: if self.kind == from { to } else { self.kind }, ..self }
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let kind = match status.code() {
            Code::InvalidArgument => Kind::Validation,
            // It held when it came in here, a moment ago.
            Code::Unauthenticated if Context::current().token.is_some() => Kind::InvalidToken,
            Code::Unauthenticated => Kind::Unauthenticated,
            Code::PermissionDenied => Kind::Forbidden,
            Code::NotFound => Kind::NotFound,
            Code::AlreadyExists => Kind::AlreadyExists,
            Code::FailedPrecondition => Kind::NotPossibleNow,
            Code::Aborted => Kind::Conflict,
            Code::ResourceExhausted => Kind::TooManyRequests,
            Code::DeadlineExceeded | Code::Cancelled => Kind::Timeout,
            Code::Unavailable => Kind::Unavailable,
            _ => Kind::Internal,
        };
        match kind {
            Kind::Timeout => Self::timeout(),
            Kind::Unavailable | Kind::Internal => {
                let problem = match kind {
                    Kind::Unavailable => Self::new(kind, "a service is out of reach; try again").retry_after(1),
                    _ => Self::new(kind, "the failure was logged under the request id"),
                };
                Self { cause: Some(format!("{:?}: {}", status.code(), status.message())), ..problem }
            }
            Kind::TooManyRequests => {
                // A service that refuses for longer says so.
                let after = status.metadata().get(chassis::grpc::RETRY_AFTER).and_then(|text| text.to_str().ok());
                let seconds = after.and_then(|text| text.parse().ok()).unwrap_or(1);
                Self::new(kind, status.message()).retry_after(seconds)
            }
            _ => Self::new(kind, status.message()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.kind.facts().0.into_response();
        let headers = response.headers_mut();
        let challenge = match self.kind {
            Kind::Unauthenticated => Some("Bearer"),
            Kind::InvalidToken => Some("Bearer error=\"invalid_token\""),
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

pub(super) async fn no_such_route() -> Problem {
    Problem::new(Kind::NoSuchRoute, "the paths that exist are listed at /api/v1/openapi.json")
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(Kind::NoSuchMethod, "the Allow header names the methods that it takes")
}

/// Why a request failed (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
    /// `urn:shopctl:problem:` and a name that does not change; what programs decide by.
    #[schema(pattern = "^urn:shopctl:problem:[a-z-]+$")]
    r#type: String,
    /// What the type means.
    title: &'a str,
    /// The HTTP status, again.
    status: u16,
    /// What is wrong with this request, for people.
    detail: String,
    /// The answer's `X-Request-Id`, under which the log tells more.
    request_id: &'a str,
}

/// Writes the body of a failure; leaves other responses as they are.
pub(super) fn render(mut response: Response<Body>, request_id: &RequestId) -> Response<Body> {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(cause) = problem.as_ref().and_then(|problem| problem.cause.as_deref()) {
        tracing::warn!(target: "shop::http", cause, %request_id, "a call failed");
    }
    let (slug, title, detail) = match &problem {
        Some(problem) => {
            let (_, slug, title) = problem.kind.facts();
            (slug, title, problem.detail.chars().take(DETAIL_CHARACTERS_MAX).collect())
        }
        None if status.is_client_error() || status.is_server_error() => {
            ("other", status.canonical_reason().unwrap_or("Error"), String::new())
        }
        None => return response,
    };
    let document = Document {
        r#type: format!("{TYPE_PREFIX}{slug}"),
        title,
        status: status.as_u16(),
        detail,
        request_id: request_id.as_str(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(serde_json::to_vec(&document).unwrap_or_default());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_type_of_its_own_and_a_status_of_failure() {
        let mut slugs = std::collections::BTreeSet::new();
        for kind in Kind::ALL {
            let (status, slug, title) = kind.facts();
            assert!(status.is_client_error() || status.is_server_error(), "{slug}");
            assert!(slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !title.is_empty(), "{slug}");
            assert!(slugs.insert(slug), "{slug} twice");
        }
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.facts().0));
    }

    #[test]
    fn every_grpc_status_has_its_http_status() {
        let expected = [
            (Code::InvalidArgument, 400),
            (Code::Unauthenticated, 401),
            (Code::PermissionDenied, 403),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::FailedPrecondition, 409),
            (Code::Aborted, 409),
            (Code::ResourceExhausted, 429),
            (Code::DeadlineExceeded, 504),
            (Code::Cancelled, 504),
            (Code::Unavailable, 503),
            (Code::Internal, 500),
            (Code::Unknown, 500),
            (Code::DataLoss, 500),
            (Code::Unimplemented, 500),
            (Code::OutOfRange, 500),
        ];
        for (code, status) in expected {
            let response = Problem::from(Status::new(code, "why")).into_response();
            assert_eq!(response.status().as_u16(), status, "{code:?}");
        }
    }

    #[test]
    fn a_business_reason_is_passed_on_and_an_inner_one_is_not() {
        let told = |code| Problem::from(Status::new(code, "row 7 of table orders")).detail;
        assert!(told(Code::FailedPrecondition).contains("row 7"));
        for code in [Code::Internal, Code::Unknown, Code::Unavailable, Code::DeadlineExceeded] {
            assert!(!told(code).contains("row 7"), "{code:?}");
        }
    }

    #[test]
    fn only_the_named_kind_is_renamed() {
        let missing = Problem::new(Kind::NotFound, "x").rename(Kind::NotFound, Kind::UnknownProduct);
        assert_eq!(missing.kind, Kind::UnknownProduct);
        let other = Problem::new(Kind::Conflict, "x").rename(Kind::NotFound, Kind::UnknownProduct);
        assert_eq!(other.kind, Kind::Conflict);
    }
}
