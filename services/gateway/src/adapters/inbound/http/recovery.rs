//! What staff do about orders that do not get on by themselves, and admins about their projection.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use proto::order::v1 as order;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Admin, OrderPath, Params, Segment, Staff, limit, place, place_of};
use super::orders::OrderJson;
use super::problem::Problem;
use super::wire::{Pages, PlaceQuery, is_full, non_empty, time};

/// A rebuild reads every order; one that takes longer goes on, and who asks again waits for its end.
const REBUILD: Duration = Duration::from_secs(30);

/// What a rebuild found in the rows that it replaced.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rebuilt)]
pub(super) struct RebuiltJson {
    orders: u64,
    missing: u64,
    differing: u64,
    stray: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StuckOrder)]
pub(super) struct StuckJson {
    #[schema(format = "uuid")]
    order_id: String,
    #[schema(format = "uuid")]
    user_id: String,
    status: String,
    step: String,
    attempts: u32,
    detail: Option<String>,
    #[schema(format = DateTime)]
    since: String,
    #[schema(format = DateTime)]
    /// `null` for an order that waits for an operator.
    due_at: Option<String>,
}

impl From<order::StuckOrder> for StuckJson {
    fn from(stuck: order::StuckOrder) -> Self {
        let order::StuckOrder { id, user_id, status, step, attempts, detail, since_us, due_at_us } = stuck;
        let (detail, since, due_at) = (non_empty(detail), time(since_us), due_at_us.map(time));
        Self { order_id: id, user_id, status, step, attempts, detail, since, due_at }
    }
}

/// Orders that do not get on: those first that have not for longest.
///
/// Staff only.
#[utoipa::path(get, operation_id = "listStuckOrders", path = "/admin/orders/stuck", tag = "administration", params(PlaceQuery), responses(
    (status = 200, description = "A page of orders", body = Pages<StuckJson>),
))]
pub(super) async fn stuck(
    State(gateway): State<Shared>,
    _: Staff,
    Params(query): Params<PlaceQuery>,
) -> Result<Response, Problem> {
    let limit = limit(query.limit.as_deref())?;
    let (after_since_us, after_id) = place_of("after", query.after.as_deref())?;
    let request = gateway.clients.request(order::ListStuckRequest { after_since_us, after_id, limit });
    let orders = gateway.clients.orders.clone().list_stuck(request).await?.into_inner().orders;
    let last = orders.last().filter(|_| is_full(orders.len(), limit));
    let next = last.map(|stuck| place(stuck.since_us, &stuck.id));
    Ok(Reply(Pages { items: orders.into_iter().map(StuckJson::from).collect(), next }).into_response())
}

/// Has an order that waits for an operator tried again.
///
/// Staff only.
#[utoipa::path(post, operation_id = "retryOrder", path = "/admin/orders/{id}/retry", tag = "administration", params(OrderPath), responses(
    (status = 200, description = "The order", body = OrderJson),
    (status = 409, description = "It does not wait for an operator (`not-possible-now`), or it was changed meanwhile \
                                  (`conflict`)"),
))]
pub(super) async fn retry(State(gateway): State<Shared>, _: Staff, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(order::RetryOrderRequest { id: id.order()? });
    let order = gateway.clients.orders.clone().retry_order(request).await?.into_inner();
    Ok(Reply(OrderJson::try_from(order)?).into_response())
}

/// Makes all orders anew out of their events, and swaps them in.
///
/// Admins only. A rebuild that takes longer than the call goes on; who asks again waits for its end.
#[utoipa::path(post, operation_id = "rebuildOrders", path = "/admin/orders/rebuild", tag = "administration", responses(
    (status = 200, description = "What was found", body = RebuiltJson),
    (status = 409, description = "An event does not follow from those before it (`not-possible-now`, `conflict`)"),
))]
pub(super) async fn rebuild(State(gateway): State<Shared>, _: Admin) -> Result<Response, Problem> {
    let request = gateway.clients.request_after(REBUILD, order::RebuildProjectionRequest {});
    let rebuilt = gateway.clients.orders.clone().rebuild_projection(request).await?.into_inner();
    let order::RebuildProjectionResponse { orders, missing, differing, stray } = rebuilt;
    Ok(Reply(RebuiltJson { orders, missing, differing, stray }).into_response())
}
