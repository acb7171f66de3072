//! Accounts and sessions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json as Reply, Response};
use chassis::auth::Role;
use proto::user::v1 as user;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Admin, Json, Segment, SignedIn, Staff, UserPath};
use super::problem::Problem;
use super::wire::time;

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Register {
    /// Kept in lower case.
    #[schema(
        max_length = 254,
        pattern = r"^[!#-'*+./0-9=?A-Z^-~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
    )]
    email: String,
    /// At least `user.password_min` characters, at most 128 of them.
    #[schema(min_length = 6, max_length = 128)]
    password: String,
    #[serde(default)]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Login {
    #[schema(
        max_length = 254,
        pattern = r"^[!#-'*+./0-9=?A-Z^-~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
    )]
    email: String,
    #[schema(min_length = 1, max_length = 128)]
    password: String,
}

/// What is to be different about a profile: at least one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = ProfileUpdate, min_properties = 1)]
pub(super) struct Update {
    #[schema(
        max_length = 254,
        pattern = r"^[!#-'*+./0-9=?A-Z^-~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
    )]
    email: Option<String>,
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
}

/// Another role for an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = RoleUpdate)]
pub(super) struct Assign {
    role: RoleName,
}

/// What an account may be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
enum RoleName {
    Customer,
    Staff,
    Admin,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserJson {
    #[schema(format = "uuid")]
    id: String,
    email: String,
    name: String,
    #[schema(value_type = RoleName)]
    role: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<user::User> for UserJson {
    fn from(user: user::User) -> Self {
        let user::User { id, email, name, role, created_at_us } = user;
        Self { id, email, name, role, created_at: time(created_at_us) }
    }
}

/// A signed-in user. `token` goes into `Authorization: Bearer …`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionJson {
    user: UserJson,
    token: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

impl TryFrom<user::Session> for SessionJson {
    type Error = Problem;
    fn try_from(session: user::Session) -> Result<Self, Problem> {
        let user = session.user.ok_or_else(|| Problem::broken_answer("a session without a user"))?;
        Ok(Self { user: user.into(), token: session.token, expires_at: time(session.expires_at_us) })
    }
}

/// Makes a customer and signs them in.
#[utoipa::path(post, operation_id = "register", path = "/users/register", tag = "accounts", request_body = Register, responses(
    (status = 201, description = "The new account, signed in", body = SessionJson),
    (status = 409, description = "The address is taken (`already-exists`)"),
))]
pub(super) async fn register(
    State(gateway): State<Shared>,
    Json(Register { email, password, name }): Json<Register>,
) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::RegisterRequest { email, password, name });
    let session = gateway.clients.users.clone().register(request).await?.into_inner();
    Ok((StatusCode::CREATED, Reply(SessionJson::try_from(session)?)).into_response())
}

/// Signs a user in. An unknown address and a wrong password are answered alike.
#[utoipa::path(post, operation_id = "login", path = "/users/login", tag = "accounts", request_body = Login, responses(
    (status = 200, description = "Signed in", body = SessionJson),
    (status = 401, description = "The address or the password is wrong (`unauthenticated`)"),
))]
pub(super) async fn login(
    State(gateway): State<Shared>,
    Json(Login { email, password }): Json<Login>,
) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::LoginRequest { email, password });
    let session = gateway.clients.users.clone().login(request).await?.into_inner();
    Ok(Reply(SessionJson::try_from(session)?).into_response())
}

/// The caller's own profile.
#[utoipa::path(get, operation_id = "getProfile", path = "/users/me", tag = "accounts", responses(
    (status = 200, description = "The profile", body = UserJson),
    (status = 404, description = "The account is gone (`not-found`)"),
))]
pub(super) async fn me(State(gateway): State<Shared>, caller: SignedIn) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::GetUserRequest { id: caller.id.to_string() });
    let user = gateway.clients.users.clone().get_user(request).await?.into_inner();
    Ok(Reply(UserJson::from(user)).into_response())
}

/// Changes the caller's own profile. A role is not part of it.
#[utoipa::path(put, operation_id = "updateProfile", path = "/users/me", tag = "accounts", request_body = Update, responses(
    (status = 200, description = "The changed profile", body = UserJson),
    (status = 404, description = "The account is gone (`not-found`)"),
    (status = 409, description = "The address is taken (`already-exists`), or it was changed meanwhile (`conflict`)"),
))]
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

/// One account.
///
/// Staff only.
#[utoipa::path(get, operation_id = "getUser", path = "/admin/users/{id}", tag = "administration", params(UserPath), responses(
    (status = 200, description = "The account", body = UserJson),
))]
pub(super) async fn read(State(gateway): State<Shared>, _: Staff, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(user::GetUserRequest { id: id.user()? });
    let user = gateway.clients.users.clone().get_user(request).await?.into_inner();
    Ok(Reply(UserJson::from(user)).into_response())
}

/// Gives an account another role.
///
/// Admins only, and nobody may change their own. Tokens issued before keep the old role until they expire; whoever
/// signs in again has the new one. Roles are given by those alone who are admins at the time, whatever their token says.
#[utoipa::path(put, operation_id = "assignRole", path = "/admin/users/{id}/role", tag = "administration", params(UserPath), request_body = Assign,
    responses(
        (status = 200, description = "The account with its role", body = UserJson),
        (status = 409, description = "It is the caller's own account (`not-possible-now`), or it was changed meanwhile \
                                      (`conflict`)"),
    ))]
pub(super) async fn assign_role(
    State(gateway): State<Shared>,
    _: Admin,
    id: Segment,
    Json(Assign { role }): Json<Assign>,
) -> Result<Response, Problem> {
    let role = match role {
        RoleName::Customer => Role::Customer,
        RoleName::Staff => Role::Staff,
        RoleName::Admin => Role::Admin,
    };
    let request = user::ChangeRoleRequest { id: id.user()?, role: role.to_string() };
    let request = gateway.clients.request(request);
    let user = gateway.clients.users.clone().change_role(request).await?.into_inner();
    Ok(Reply(UserJson::from(user)).into_response())
}
