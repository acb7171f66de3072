//! What only an admin does: making many accounts at once, for a load test, and finding the ports of
//! every role.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use chassis::Env;
use proto::user::v1 as user;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Admin, Json};
use super::problem::Problem;
use super::wire::whole;

/// As many as one transaction of the user service takes.
const COUNT_MAX: u32 = 1000;
/// Numbers behind this one do not have room for so many.
const FIRST_MAX: u32 = u32::MAX - COUNT_MAX;
/// A thousand rows and one password hash take a slow machine a while.
const WORK: Duration = Duration::from_secs(20);

/// Customers to be made: `<prefix>-<first>@example.test` and those that follow.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Bulk {
    #[schema(pattern = "^[a-z0-9._-]{1,32}$")]
    prefix: String,
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 4_294_966_295u64)]
    first: u32,
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000)]
    count: u32,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeededUser)]
pub(super) struct SeededJson {
    #[schema(format = "uuid")]
    user_id: String,
    email: String,
    token: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sessions)]
pub(super) struct SessionsJson {
    sessions: Vec<SeededJson>,
}

/// Makes many customers at once, for a load test.
///
/// Admins only; repeatable. They share one password hash.
#[utoipa::path(post, operation_id = "registerMany", path = "/admin/users", tag = "administration", request_body = Bulk, responses(
    (status = 200, description = "Their sessions, in the order of their numbers", body = SessionsJson),
))]
pub(super) async fn register_bulk(
    State(gateway): State<Shared>,
    _: Admin,
    Json(Bulk { prefix, first, count }): Json<Bulk>,
) -> Result<Response, Problem> {
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(Problem::invalid("count", format!("`{count}` is not a number from 1 to {COUNT_MAX}")));
    }
    if first > FIRST_MAX {
        return Err(Problem::invalid("first", format!("`{first}` is not a number from 0 to {FIRST_MAX}")));
    }
    let request = gateway.clients.request_after(WORK, user::RegisterBulkRequest { prefix, first, count });
    let answer = gateway.clients.users.clone().register_bulk(request).await?.into_inner();
    let sessions: Option<Vec<_>> = answer
        .sessions
        .into_iter()
        .map(|user::Session { user, token, .. }| {
            user.map(|user| SeededJson { user_id: user.id, email: user.email, token })
        })
        .collect();
    let sessions = sessions.ok_or_else(|| Problem::broken_answer("a session without a user"))?;
    Ok(Reply(SessionsJson { sessions }).into_response())
}

/// Where a role listens.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = RoleAddress)]
pub(super) struct RoleJson {
    role: &'static str,
    /// `host:port` of its main port.
    address: String,
    /// `host:port` of its ops port; `null` when nobody said.
    ops: Option<String>,
}

/// Every role that this gateway was told of, by name.
pub(super) fn roles_of(env: &Env) -> Vec<RoleJson> {
    let role = |(role, address): (&&'static str, &String)| {
        let ops = env.ops.get(role).cloned();
        RoleJson { role, address: address.clone(), ops }
    };
    env.peers.iter().map(role).collect()
}

/// Where the shop's services listen.
///
/// Admins only.
#[utoipa::path(get, operation_id = "listServices", path = "/admin/roles", tag = "administration", responses(
    (status = 200, description = "Every service that the gateway knows", body = [RoleJson]),
))]
pub(super) async fn roles(State(gateway): State<Shared>, _: Admin) -> Reply<Vec<RoleJson>> {
    Reply(gateway.roles.clone())
}
