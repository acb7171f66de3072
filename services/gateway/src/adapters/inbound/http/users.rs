//! Accounts and sessions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json as Reply, Response};
use proto::user::v1 as user;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::extract::{Json, SignedIn};
use super::problem::Problem;
use super::wire::time;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    email: String,
    password: String,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    email: String,
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Update {
    email: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct UserJson {
    id: String,
    email: String,
    name: String,
    role: String,
    created_at: String,
}

impl From<user::User> for UserJson {
    fn from(user: user::User) -> Self {
        let user::User { id, email, name, role, created_at_us } = user;
        Self { id, email, name, role, created_at: time(created_at_us) }
    }
}

#[derive(Debug, Serialize)]
struct SessionJson {
    user: UserJson,
    token: String,
    expires_at: String,
}

impl TryFrom<user::Session> for SessionJson {
    type Error = Problem;
    fn try_from(session: user::Session) -> Result<Self, Problem> {
        let user = session.user.ok_or_else(|| Problem::broken_answer("a session without a user"))?;
        Ok(Self { user: user.into(), token: session.token, expires_at: time(session.expires_at_us) })
    }
}

pub(super) async fn register(
    State(gateway): State<Shared>,
    Json(Register { email, password, name }): Json<Register>,
) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::RegisterRequest { email, password, name });
    let session = gateway.clients.users.clone().register(request).await?.into_inner();
    Ok((StatusCode::CREATED, Reply(SessionJson::try_from(session)?)).into_response())
}

pub(super) async fn login(
    State(gateway): State<Shared>,
    Json(Login { email, password }): Json<Login>,
) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::LoginRequest { email, password });
    let session = gateway.clients.users.clone().login(request).await?.into_inner();
    Ok(Reply(SessionJson::try_from(session)?).into_response())
}

pub(super) async fn me(State(gateway): State<Shared>, caller: SignedIn) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::GetUserRequest { id: caller.id.to_string() });
    let user = gateway.clients.users.clone().get_user(request).await?.into_inner();
    Ok(Reply(UserJson::from(user)).into_response())
}

pub(super) async fn update(
    State(gateway): State<Shared>,
    caller: SignedIn,
    Json(Update { email, name }): Json<Update>,
) -> Result<Response, Problem> {
    if email.is_none() && name.is_none() {
        return Err(Problem::invalid("body", "`email` or `name` is expected"));
    }
    let request = user::UpdateProfileRequest { id: caller.id.to_string(), email, name };
    let request = gateway.clients.request(request);
    let user = gateway.clients.users.clone().update_profile(request).await?.into_inner();
    Ok(Reply(UserJson::from(user)).into_response())
}
