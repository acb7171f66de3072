//! What only an admin does: making many accounts at once, for a load test, and finding the ports of
//! every role.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use chassis::Env;
use proto::user::v1 as user;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::extract::{Admin, Json};
use super::problem::Problem;

/// As many as one transaction of the user service takes.
const COUNT_MAX: u32 = 1000;
/// A thousand rows and one password hash take a slow machine a while.
const WORK: Duration = Duration::from_secs(20);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    prefix: String,
    first: u32,
    count: u32,
}

#[derive(Debug, Serialize)]
struct SeededJson {
    user_id: String,
    email: String,
    token: String,
}

#[derive(Debug, Serialize)]
struct SessionsJson {
    sessions: Vec<SeededJson>,
}

pub(super) async fn register_bulk(
    State(gateway): State<Shared>,
    _: Admin,
    Json(Bulk { prefix, first, count }): Json<Bulk>,
) -> Result<Response, Problem> {
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(Problem::invalid("count", format!("`{count}` is not a number from 1 to {COUNT_MAX}")));
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
#[derive(Debug, Clone, Serialize)]
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

pub(super) async fn roles(State(gateway): State<Shared>, _: Admin) -> Reply<Vec<RoleJson>> {
    Reply(gateway.roles.clone())
}
