//! Orders. `POST orders` is repeatable under its `Idempotency-Key` and waits for the order's end.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json as Reply, Response};
use kernel::{Quantity, Sku};
use proto::order::v1 as order;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{
    Json, LIMIT_MAX, OrderPath, Params, Segment, SignedIn, checked, cursor, limit, limit_or, place_of, product_id,
};
use super::object::objects;
use super::problem::{Kind, Problem};
use super::wire::{MoneyJson, PageQuery, Timeline, is_full, non_empty, time, whole, whole_or_none};
use super::{Gateway, Shared, extract};
use crate::domain::keys::IdempotencyKey;
use crate::domain::prefer;

/// More lines are not one order.
const ITEMS_MAX: usize = 100;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What is ordered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = NewOrder)]
pub(super) struct Create {
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<ItemJson>,
}

/// Units of one product, by its id or by its SKU: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = NewOrderItem)]
pub(super) struct ItemJson {
    #[serde(default, deserialize_with = "whole_or_none")]
    #[schema(minimum = 1)]
    product_id: Option<i64>,
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    sku: Option<String>,
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: u32,
}

impl ItemJson {
    fn into_item(self, index: usize) -> Result<order::Item, Problem> {
        let field = |name: &str| format!("items[{index}].{name}");
        let quantity =
            Quantity::try_from(self.quantity).map_err(|error| Problem::invalid(&field("quantity"), error))?;
        let product = match (self.product_id, self.sku) {
            (Some(id), None) => order::item::Product::ProductId(product_id(&field("product_id"), id)?),
            (None, Some(sku)) => order::item::Product::Sku(checked::<Sku>(&field("sku"), &sku)?.to_string()),
            _ => return Err(Problem::invalid(&format!("items[{index}]"), "either `product_id` or `sku` is expected")),
        };
        Ok(order::Item { product: Some(product), quantity: quantity.get() })
    }
}

impl Create {
    fn into_items(self) -> Result<Vec<order::Item>, Problem> {
        if !(1..=ITEMS_MAX).contains(&self.items.len()) {
            return Err(Problem::invalid("items", format!("1 to {ITEMS_MAX} items are expected")));
        }
        self.items.into_iter().enumerate().map(|(index, item)| item.into_item(index)).collect()
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrdersQuery {
    /// What the page before said is next.
    #[param(pattern = "^([0-9]{1,18}([.][0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?)?$")]
    after: Option<String>,
    /// How many orders a page has; 20 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Staff only: whose; everybody's without it.
    #[param(format = "uuid")]
    user_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(super) struct OrderJson {
    #[schema(format = "uuid")]
    id: String,
    /// `PENDING`, `RESERVED`, `PAID`, `CONFIRMED`, `CANCELLING`, `CANCELLED` or `NEEDS_OPERATOR`.
    status: String,
    /// `sold_out`, `declined`, `unavailable` or `by_client`; `null` unless it is cancelled.
    cancel_reason: Option<String>,
    items: Vec<LineJson>,
    total: MoneyJson,
    version: i64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderLine)]
pub(super) struct LineJson {
    product_id: i64,
    sku: String,
    quantity: u32,
    unit_price: MoneyJson,
}

impl TryFrom<order::OrderLine> for LineJson {
    type Error = Problem;
    fn try_from(line: order::OrderLine) -> Result<Self, Problem> {
        let order::OrderLine { product_id, sku, quantity, unit_price } = line;
        Ok(Self { product_id, sku, quantity, unit_price: unit_price.try_into()? })
    }
}

impl TryFrom<order::Order> for OrderJson {
    type Error = Problem;
    fn try_from(order: order::Order) -> Result<Self, Problem> {
        let items: Result<Vec<_>, _> = order.lines.into_iter().map(LineJson::try_from).collect();
        Ok(Self {
            id: order.id,
            status: order.status,
            cancel_reason: non_empty(order.cancel_reason),
            items: items?,
            total: order.total.try_into()?,
            version: order.version,
            created_at: time(order.created_at_us),
            updated_at: time(order.updated_at_us),
        })
    }
}

/// One page. `next` is what the next request asks for as `after`; `next_after` is accepted there too, and
/// leaves out what was created at the same time as the last item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Orders)]
pub(super) struct OrdersJson {
    items: Vec<OrderJson>,
    next_after: Option<i64>,
    next: Option<String>,
}

/// One attempt of one step of the saga. `took_us`: microseconds; `null` while it is under way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(super) struct AttemptJson {
    sequence: i64,
    step: String,
    number: u32,
    outcome: String,
    epoch: i64,
    #[schema(format = DateTime)]
    started_at: String,
    took_us: Option<u64>,
    detail: Option<String>,
}

impl From<order::Attempt> for AttemptJson {
    fn from(attempt: order::Attempt) -> Self {
        let order::Attempt { sequence, step, number, outcome, epoch, started_at_us, took_us, detail } = attempt;
        let (started_at, detail) = (time(started_at_us), non_empty(detail));
        Self { sequence, step, number, outcome, epoch, started_at, took_us, detail }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderHistory)]
pub(super) struct HistoryJson {
    #[schema(format = "uuid")]
    order_id: String,
    events: Vec<EventJson>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderEvent)]
pub(super) struct EventJson {
    version: i64,
    r#type: String,
    #[schema(format = DateTime)]
    occurred_at: String,
    /// The event's facts.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl TryFrom<order::HistoryEvent> for EventJson {
    type Error = Problem;
    fn try_from(event: order::HistoryEvent) -> Result<Self, Problem> {
        let data = serde_json::from_str(&event.data_json)
            .map_err(|_| Problem::broken_answer("an event whose data is not JSON"))?;
        Ok(Self { version: event.version, r#type: event.r#type, occurred_at: time(event.occurred_at_us), data })
    }
}

/// Places an order and waits for its end, for 2 seconds or as long as `Prefer` says.
///
/// Repeatable under its `Idempotency-Key`. Whatever becomes of the request, the answer carries the key: a client that
/// sent none needs it to ask again after a failure. 201 and 202 both say that the order exists.
#[utoipa::path(post, operation_id = "placeOrder", path = "/orders", tag = "orders", request_body = Create,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request repeatable; one is made and \
            answered if there is none", pattern = "^[!-~]{1,128}$"),
        ("Prefer" = Option<String>, Header, description = "`wait=SECONDS` (at most 30) or `respond-async` (RFC 7240)",
            example = "wait=0"),
    ),
    responses(
        (status = 201, description = "The order has come to its end: `CONFIRMED` or `CANCELLED`", body = OrderJson,
         headers(("Location" = String, description = "The order's path"),
                 ("Idempotency-Key" = String, description = "The key under which the order was placed"))),
        (status = 202, description = "The order exists and is under way", body = OrderJson,
         headers(("Location" = String, description = "The order's path"),
                 ("Idempotency-Key" = String, description = "The key under which the order was placed"))),
        (status = 404, description = "An ordered product does not exist (`unknown-product`)"),
        (status = 409, description = "The key was used for another request (`idempotency-key-reused`), or the order \
                                      was changed meanwhile (`conflict`)"),
    ))]
pub(super) async fn create(
    State(gateway): State<Shared>,
    caller: SignedIn,
    headers: HeaderMap,
    body: Result<Json<Create>, Problem>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&gateway, &headers)?;
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferred = prefer::wait(preferences);
    let wait = preferred.unwrap_or(gateway.order_wait);
    let placed = match body {
        Ok(Json(body)) => place(&gateway, &caller, &key, wait, body).await,
        Err(problem) => Err(problem),
    };
    let mut response = placed.into_response();
    if let Ok(value) = HeaderValue::from_str(key.as_str()) {
        response.headers_mut().insert(IDEMPOTENCY_KEY, value);
    }
    if let Some(wait) = preferred
        && response.status().is_success()
        && let Ok(value) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, value);
    }
    Ok(response)
}

/// The client's key, or a fresh one.
fn idempotency_key(gateway: &Gateway, headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let text = match (values.next(), values.next()) {
        (None, _) => gateway.idempotency_keys.next().to_string(),
        (Some(value), None) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        (Some(_), Some(_)) => return Err(Problem::invalid("Idempotency-Key", "one key is expected")),
    };
    checked("Idempotency-Key", &text)
}

async fn place(
    gateway: &Gateway,
    caller: &SignedIn,
    key: &IdempotencyKey,
    wait: Duration,
    body: Create,
) -> Result<Response, Problem> {
    let request = order::CreateOrderRequest {
        user_id: caller.id.to_string(),
        idempotency_key: key.to_string(),
        items: body.into_items()?,
        wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
    };
    let request = gateway.clients.request_after(wait, request);
    let answer = gateway.clients.orders.clone().create_order(request).await.map_err(|status| {
        let problem = Problem::from(status);
        problem.rename(Kind::NotFound, Kind::UnknownProduct).rename(Kind::AlreadyExists, Kind::KeyReused)
    })?;
    let order::CreateOrderResponse { order, created, ended } = answer.into_inner();
    let order = order.ok_or_else(|| Problem::broken_answer("an order was created and not answered"))?;
    let status = if ended { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    let location = [(header::LOCATION, format!("/api/v1/orders/{}", order.id))];
    let replayed = (!created).then_some([(IDEMPOTENCY_REPLAYED, "true")]);
    Ok((status, location, replayed, Reply(OrderJson::try_from(order)?)).into_response())
}

/// The caller's orders, oldest first; for staff everybody's, or one user's.
#[utoipa::path(get, operation_id = "listOrders", path = "/orders", tag = "orders", params(OrdersQuery), responses(
    (status = 200, description = "A page of orders", body = OrdersJson),
))]
pub(super) async fn list(
    State(gateway): State<Shared>,
    caller: SignedIn,
    Params(query): Params<OrdersQuery>,
) -> Result<Response, Problem> {
    let (user_id, limit) = (caller.listing_of(query.user_id)?, limit(query.limit.as_deref())?);
    let (after_created_us, after_id) = place_of("after", query.after.as_deref())?;
    let request = gateway.clients.request(order::ListOrdersRequest { user_id, after_created_us, limit, after_id });
    let orders = gateway.clients.orders.clone().list_orders(request).await?.into_inner().orders;
    let last = orders.last().filter(|_| is_full(orders.len(), limit));
    let (next_after, next) =
        last.map(|order| (order.created_at_us, extract::place(order.created_at_us, &order.id))).unzip();
    let items: Result<Vec<_>, _> = orders.into_iter().map(OrderJson::try_from).collect();
    Ok(Reply(OrdersJson { items: items?, next_after, next }).into_response())
}

/// One order, for its owner and for staff.
#[utoipa::path(get, operation_id = "getOrder", path = "/orders/{id}", tag = "orders", params(OrderPath), responses(
    (status = 200, description = "The order", body = OrderJson),
))]
pub(super) async fn read(State(gateway): State<Shared>, _: SignedIn, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(order::GetOrderRequest { id: id.order()? });
    let order = gateway.clients.orders.clone().get_order(request).await?.into_inner();
    Ok(Reply(OrderJson::try_from(order)?).into_response())
}

/// What has happened to an order, for its owner and for staff.
#[utoipa::path(get, operation_id = "getOrderHistory", path = "/orders/{id}/history", tag = "orders", params(OrderPath), responses(
    (status = 200, description = "Its events, oldest first", body = HistoryJson),
))]
pub(super) async fn history(State(gateway): State<Shared>, _: SignedIn, id: Segment) -> Result<Response, Problem> {
    let order_id = id.order()?;
    let request = gateway.clients.request(order::GetHistoryRequest { id: order_id.clone() });
    let events = gateway.clients.orders.clone().get_history(request).await?.into_inner().events;
    let events: Result<Vec<_>, _> = events.into_iter().map(EventJson::try_from).collect();
    Ok(Reply(HistoryJson { order_id, events: events? }).into_response())
}

/// Every attempt of the order's saga steps, a page at a time.
#[utoipa::path(get, operation_id = "listAttempts", path = "/orders/{id}/attempts", tag = "orders", params(OrderPath, PageQuery), responses(
    (status = 200, description = "A page of attempts", body = Timeline<AttemptJson>),
))]
pub(super) async fn attempts(
    State(gateway): State<Shared>,
    _: SignedIn,
    id: Segment,
    Params(query): Params<PageQuery>,
) -> Result<Response, Problem> {
    let limit = limit_or(LIMIT_MAX, query.limit.as_deref())?;
    let after_sequence = cursor("after", query.after.as_deref())?;
    let request = gateway.clients.request(order::GetAttemptsRequest { id: id.order()?, after_sequence, limit });
    let attempts = gateway.clients.orders.clone().get_attempts(request).await?.into_inner().attempts;
    let last = attempts.last().map(|attempt| attempt.sequence);
    let items: Vec<_> = attempts.into_iter().map(AttemptJson::from).collect();
    Ok(Reply(Timeline::new(items, limit, last)).into_response())
}

/// Cancels an order that is not confirmed yet.
#[utoipa::path(post, operation_id = "cancelOrder", path = "/orders/{id}/cancel", tag = "orders", params(OrderPath), responses(
    (status = 200, description = "The order, cancelled or on its way there", body = OrderJson),
    (status = 409, description = "It is confirmed (`not-possible-now`), or it was changed meanwhile (`conflict`)"),
))]
pub(super) async fn cancel(State(gateway): State<Shared>, _: SignedIn, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(order::CancelOrderRequest { id: id.order()? });
    let order = gateway.clients.orders.clone().cancel_order(request).await?.into_inner();
    Ok(Reply(OrderJson::try_from(order)?).into_response())
}
