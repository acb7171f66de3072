//! What handlers ask of a request: who sent it, a path segment, query parameters, a JSON body.
//! What does not fit is a problem that names the field.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use chassis::auth::{Caller, Role};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kernel::UserId;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::object::Object;
use super::problem::{Kind, Problem};
use super::{Gateway, Shared};

/// The page size when the client does not say, and the largest.
const LIMIT_DEFAULT: u32 = 20;
pub(super) const LIMIT_MAX: u32 = 100;

/// A signed-in user.
pub(super) struct SignedIn {
    pub(super) id: UserId,
    role: Role,
}

impl SignedIn {
    pub(super) fn is_staff(&self) -> bool {
        matches!(self.role, Role::Staff | Role::Admin)
    }

    /// Whose things are listed, as the services understand it: the caller's own; for staff
    /// everybody's (empty), or those of the user they name.
    ///
    /// # Errors
    /// When somebody else names a user, or the name is not an id.
    pub(super) fn listing_of(&self, user_id: Option<String>) -> Result<String, Problem> {
        let named: Option<UserId> = user_id.map(|text| checked("user_id", &text)).transpose()?;
        match named {
            Some(user) if user == self.id || self.is_staff() => Ok(user.to_string()),
            Some(_) => Err(Problem::new(Kind::Forbidden, "only staff may list what others have")),
            None if self.is_staff() => Ok(String::new()),
            None => Ok(self.id.to_string()),
        }
    }
}

impl FromRequestParts<Shared> for SignedIn {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        match parts.extensions.get::<Caller>() {
            Some(Caller::User { id, role }) => Ok(Self { id: *id, role: *role }),
            _ => Err(Problem::sign_in()),
        }
    }
}

/// A signed-in member of staff, or an admin.
pub(super) struct Staff;

impl FromRequestParts<Shared> for Staff {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let user = SignedIn::from_request_parts(parts, gateway).await?;
        user.is_staff().then_some(Self).ok_or_else(|| Problem::new(Kind::Forbidden, "only staff may do this"))
    }
}

/// A signed-in admin.
pub(super) struct Admin;

impl FromRequestParts<Shared> for Admin {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let user = SignedIn::from_request_parts(parts, gateway).await?;
        let admin = user.role == Role::Admin;
        admin.then_some(Self).ok_or_else(|| Problem::new(Kind::Forbidden, "only admins may do this"))
    }
}

/// The one variable segment of the path.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<Shared> for Segment {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, gateway)
            .await
            .map_err(|error| Problem::invalid("path", error.body_text()))?;
        Ok(Self(text))
    }
}

/// The path of one product.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ProductPath {
    #[expect(dead_code, reason = "read by [`Segment`]; this documents it")]
    #[param(minimum = 1)]
    id: i64,
}

/// The path of one product's stock.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct StockPath {
    #[expect(dead_code, reason = "read by [`Segment`]; this documents it")]
    #[param(minimum = 1)]
    product: i64,
}

/// The path of one order, by its id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OrderPath {
    #[expect(dead_code, reason = "read by [`Segment`]; this documents it")]
    #[param(format = "uuid")]
    id: String,
}

/// The path of an order's payment.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct PaymentPath {
    #[expect(dead_code, reason = "read by [`Segment`]; this documents it")]
    /// The order's id.
    #[param(format = "uuid")]
    order: String,
}

/// The path of one account.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct UserPath {
    #[expect(dead_code, reason = "read by [`Segment`]; this documents it")]
    #[param(format = "uuid")]
    id: String,
}

impl Segment {
    /// # Errors
    /// When the segment is no product id.
    pub(super) fn product(&self) -> Result<i64, Problem> {
        product_id("path", self.parse("path", "a product id")?)
    }

    /// # Errors
    /// When the segment is no order id.
    pub(super) fn order(&self) -> Result<String, Problem> {
        let id: kernel::OrderId = self.parse("path", "an order id")?;
        Ok(id.to_string())
    }

    /// # Errors
    /// When the segment is no user id.
    pub(super) fn user(&self) -> Result<String, Problem> {
        let id: UserId = self.parse("path", "a user id")?;
        Ok(id.to_string())
    }

    fn parse<T: FromStr>(&self, field: &str, what: &str) -> Result<T, Problem> {
        self.0.parse().map_err(|_| Problem::invalid(field, format!("`{}` is not {what}", self.0)))
    }
}

/// Product ids count from 1.
///
/// # Errors
/// A problem that names `field`.
pub(super) fn product_id(field: &str, id: i64) -> Result<i64, Problem> {
    if id < 1 {
        return Err(Problem::invalid(field, format!("`{id}` is not a product id")));
    }
    Ok(id)
}

/// A value by its own rules.
///
/// # Errors
/// A problem that names `field` and says what the rules are.
pub(super) fn checked<T: FromStr>(field: &str, text: &str) -> Result<T, Problem>
where
    T::Err: Display,
{
    text.parse().map_err(|error| Problem::invalid(field, error))
}

/// Query parameters; unknown ones are refused, since a misspelt filter would filter nothing.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Params<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Problem> {
        let Query(params) = Query::from_request_parts(parts, gateway)
            .await
            .map_err(|error| Problem::invalid("query", error.body_text()))?;
        Ok(Self(params))
    }
}

/// Where a page starts: a number that an earlier page ended with, 0 without one.
///
/// # Errors
/// A problem that names `field`.
pub(super) fn cursor(field: &str, text: Option<&str>) -> Result<i64, Problem> {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Ok(0);
    }
    let cursor = text.parse().ok().filter(|cursor| *cursor >= 0);
    cursor.ok_or_else(|| Problem::invalid(field, format!("`{text}` is not the cursor of a page")))
}

/// The cursor of a listing whose page may end between things of one time: that time, and the order id
/// that came last; a time alone (no id) is behind all of that time. [`place`] writes it.
///
/// # Errors
/// A problem that names `field`.
pub(super) fn place_of(field: &str, text: Option<&str>) -> Result<(i64, String), Problem> {
    let Some((time, id)) = text.unwrap_or_default().split_once('.') else {
        return Ok((cursor(field, text)?, String::new()));
    };
    match id.parse::<kernel::OrderId>() {
        Ok(id) if !time.is_empty() => Ok((cursor(field, Some(time))?, id.to_string())),
        _ => Err(Problem::invalid(field, format!("`{time}.{id}` is not the cursor of a page"))),
    }
}

/// The cursor behind what came at `us` with this id.
pub(super) fn place(us: i64, id: &str) -> String {
    format!("{us}.{id}")
}

/// How many items a page has.
///
/// # Errors
/// A problem that names the parameter.
pub(super) fn limit(text: Option<&str>) -> Result<u32, Problem> {
    limit_or(LIMIT_DEFAULT, text)
}

/// How many items a page has; `default` if the client does not say.
///
/// # Errors
/// A problem that names the parameter.
pub(super) fn limit_or(default: u32, text: Option<&str>) -> Result<u32, Problem> {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Ok(default);
    }
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Problem::invalid("limit", format!("`{text}` is not a number from 1 to {LIMIT_MAX}")))
}

/// A body that is read as JSON whatever its type says: `curl -d` calls it a form.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, gateway: &Shared) -> Result<Self, Problem> {
        let bytes = read(request, gateway).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// A body as [`Json`] reads it, which may be left out.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

impl<T: DeserializeOwned> FromRequest<Shared> for OptionalJson<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, gateway: &Shared) -> Result<Self, Problem> {
        let bytes = read(request, gateway).await?;
        let value = (!bytes.is_empty()).then(|| parse(&bytes)).transpose()?;
        Ok(Self(value))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        Problem::invalid(if field == "." { "body" } else { &field }, error.inner())
    })?;
    json.end().map_err(|error| Problem::invalid("body", error))?;
    Ok(value)
}

async fn read(request: Request, gateway: &Gateway) -> Result<Bytes, Problem> {
    let (limit_bytes, deadline) = (gateway.body_limit_bytes, gateway.body_timeout);
    let body = Limited::new(request.into_body(), limit_bytes);
    let collected = tokio::time::timeout(deadline, body.collect()).await.map_err(|_| {
        Problem::new(Kind::BodyTooSlow, format!("the whole body is expected within {} ms", deadline.as_millis()))
    })?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Kind::BodyTooLarge, format!("at most {limit_bytes} bytes are read")))
        }
        Err(_) => Err(Problem::invalid("body", "it broke off")),
    }
}
