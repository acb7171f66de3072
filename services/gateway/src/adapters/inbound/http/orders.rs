//! Orders. `POST orders` is repeatable under its `Idempotency-Key` and waits for the order's end.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json as Reply, Response};
use kernel::{Quantity, Sku};
use proto::order::v1 as order;
use serde::{Deserialize, Serialize};

use super::extract::{
    Json, LIMIT_MAX, Params, Segment, SignedIn, checked, cursor, limit, limit_or, place_of, product_id,
};
use super::problem::{Kind, Problem};
use super::wire::{MoneyJson, PageQuery, Timeline, TimelineQuery, is_full, non_empty, time};
use super::{Gateway, Shared, extract};
use crate::domain::keys::IdempotencyKey;
use crate::domain::prefer;

/// More lines are not one order.
const ITEMS_MAX: usize = 100;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    items: Vec<ItemJson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemJson {
    product_id: Option<i64>,
    sku: Option<String>,
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

#[derive(Debug, Serialize)]
pub(super) struct OrderJson {
    id: String,
    status: String,
    cancel_reason: Option<String>,
    items: Vec<LineJson>,
    total: MoneyJson,
    version: i64,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct LineJson {
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
#[derive(Debug, Serialize)]
struct OrdersJson {
    items: Vec<OrderJson>,
    next_after: Option<i64>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct AttemptJson {
    sequence: i64,
    step: String,
    number: u32,
    outcome: String,
    epoch: i64,
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

#[derive(Debug, Serialize)]
struct HistoryJson {
    order_id: String,
    events: Vec<EventJson>,
}

#[derive(Debug, Serialize)]
struct EventJson {
    version: i64,
    r#type: String,
    occurred_at: String,
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

/// Whatever becomes of the request, the answer carries the key: a client that sent none needs it to
/// ask again after a failure.
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

pub(super) async fn list(
    State(gateway): State<Shared>,
    caller: SignedIn,
    Params(query): Params<TimelineQuery>,
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

pub(super) async fn read(State(gateway): State<Shared>, _: SignedIn, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(order::GetOrderRequest { id: id.order()? });
    let order = gateway.clients.orders.clone().get_order(request).await?.into_inner();
    Ok(Reply(OrderJson::try_from(order)?).into_response())
}

pub(super) async fn history(State(gateway): State<Shared>, _: SignedIn, id: Segment) -> Result<Response, Problem> {
    let order_id = id.order()?;
    let request = gateway.clients.request(order::GetHistoryRequest { id: order_id.clone() });
    let events = gateway.clients.orders.clone().get_history(request).await?.into_inner().events;
    let events: Result<Vec<_>, _> = events.into_iter().map(EventJson::try_from).collect();
    Ok(Reply(HistoryJson { order_id, events: events? }).into_response())
}

/// Every attempt of the order's saga steps, a page at a time.
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

pub(super) async fn cancel(State(gateway): State<Shared>, _: SignedIn, id: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(order::CancelOrderRequest { id: id.order()? });
    let order = gateway.clients.orders.clone().cancel_order(request).await?.into_inner();
    Ok(Reply(OrderJson::try_from(order)?).into_response())
}
