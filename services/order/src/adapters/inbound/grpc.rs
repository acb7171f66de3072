//! The gRPC face of the order service, and the one place that maps its errors to status codes.

use std::time::Duration;

use chassis::auth::Caller;
use kernel::{Money, OrderId, ProductId, Quantity, Timestamp, UserId};
use proto::common::v1 as common;
use proto::order::v1::item::Product;
use proto::order::v1::order_service_server::OrderService;
use proto::order::v1::{
    self as wire, CancelOrderRequest, CreateOrderRequest, CreateOrderResponse, GetAttemptsRequest, GetAttemptsResponse,
    GetHistoryRequest, GetHistoryResponse, GetOrderRequest, HistoryEvent, ListOrdersRequest, ListOrdersResponse,
    ListStuckRequest, ListStuckResponse, RebuildProjectionRequest, RebuildProjectionResponse, RetryOrderRequest,
};
use store::StoreError;
use tonic::{Request, Response, Status};

use crate::application::orders::{OrderDesk, OrderError, PlaceOrder};
use crate::application::ports::{After, ProductRef, QuoteError, Rebuilt, Recorded, Stuck};
use crate::application::rebuild::{RebuildError, Rebuilder};
use crate::domain::Order;
use crate::domain::order::LINES_MAX;

/// The longest that a client may wait for its order's end.
const WAIT_MAX: Duration = Duration::from_secs(30);
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;

pub struct OrderGrpc {
    pub desk: OrderDesk,
    pub rebuilder: Rebuilder,
}

impl From<OrderError> for Status {
    fn from(error: OrderError) -> Self {
        let text = error.to_string();
        match error {
            OrderError::NotFound(_) | OrderError::Quote(QuoteError::NoSuchProduct(_)) => Self::not_found(text),
            OrderError::Quote(QuoteError::Unavailable(_)) => Self::unavailable(text),
            OrderError::Rejected(_) | OrderError::Invalid(_) => Self::invalid_argument(text),
            OrderError::KeyReused => Self::already_exists(text),
            OrderError::NotCancellable(_) | OrderError::NothingToDo(_) => Self::failed_precondition(text),
            OrderError::Store(error) => error.into(),
        }
    }
}

impl From<RebuildError> for Status {
    fn from(error: RebuildError) -> Self {
        let text = error.to_string();
        match error {
            RebuildError::LogBehind { .. } | RebuildError::LogAhead { .. } | RebuildError::Hole { .. } => {
                Self::failed_precondition(text)
            }
            // Of the log or of the store, and for an operator, who may know which.
            RebuildError::Store(StoreError::Corrupt(_) | StoreError::Conflict(_)) => Self::failed_precondition(text),
            RebuildError::Interrupted | RebuildError::Store(StoreError::Unavailable(_)) => Self::unavailable(text),
        }
    }
}

fn money(money: Money) -> common::Money {
    common::Money { minor: money.minor, currency: money.currency.to_string() }
}

impl From<Order> for wire::Order {
    fn from(order: Order) -> Self {
        let lines = order.lines.iter().map(|line| wire::OrderLine {
            product_id: line.product_id.0,
            sku: line.sku.to_string(),
            quantity: line.quantity.get(),
            unit_price: Some(money(line.unit_price)),
        });
        Self {
            id: order.id.to_string(),
            user_id: order.user.to_string(),
            status: order.status.to_string(),
            cancel_reason: order.cancel_reason.map(|reason| reason.to_string()).unwrap_or_default(),
            lines: lines.collect(),
            total: Some(money(order.total)),
            version: order.version,
            created_at_us: order.created_at.as_micros(),
            updated_at_us: order.updated_at.as_micros(),
        }
    }
}

impl From<Recorded> for wire::Attempt {
    fn from(recorded: Recorded) -> Self {
        let Recorded { sequence, epoch, attempt } = recorded;
        Self {
            sequence,
            step: attempt.step.to_string(),
            number: attempt.number,
            outcome: attempt.outcome.as_str().to_owned(),
            epoch,
            started_at_us: attempt.started_at.as_micros(),
            took_us: attempt.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            detail: attempt.detail.unwrap_or_default(),
        }
    }
}

impl From<Stuck> for wire::StuckOrder {
    fn from(stuck: Stuck) -> Self {
        Self {
            id: stuck.id.to_string(),
            user_id: stuck.user.to_string(),
            status: stuck.status.to_string(),
            step: stuck.step.to_string(),
            attempts: stuck.attempts,
            detail: stuck.detail.unwrap_or_default(),
            since_us: stuck.since.as_micros(),
            due_at_us: stuck.due_at.map(Timestamp::as_micros),
        }
    }
}

fn page(limit: u32, default: u32) -> usize {
    (if limit == 0 { default } else { limit.min(PAGE_MAX) }) as usize
}

fn after(at_us: i64, id: &str) -> Result<After, Status> {
    let id = if id.is_empty() { None } else { Some(id.parse()) };
    let id = id.transpose().map_err(|error| Status::invalid_argument(format!("after_id: {error}")))?;
    Ok(After { at: Timestamp::from_micros(at_us), id })
}

fn order_id(text: &str) -> Result<OrderId, Status> {
    // An id that cannot exist is answered like one that does not.
    text.parse().map_err(|_| Status::not_found("there is no such order"))
}

fn user_id(text: &str) -> Result<UserId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("user_id: {error}")))
}

fn item(index: usize, item: wire::Item) -> Result<(ProductRef, Quantity), Status> {
    let refused = |reason: &str| Status::invalid_argument(format!("items[{index}]: {reason}"));
    let reference = match item.product {
        Some(Product::ProductId(id)) => ProductRef::Id(ProductId(id)),
        Some(Product::Sku(sku)) => {
            ProductRef::Sku(sku.parse().map_err(|error: kernel::ids::IdError| refused(&error.to_string()))?)
        }
        None => return Err(refused("a product_id or a sku is needed")),
    };
    let quantity = Quantity::try_from(item.quantity).map_err(|error| refused(&format!("quantity: {error}")))?;
    Ok((reference, quantity))
}

fn key(text: String) -> Result<String, Status> {
    if text.is_empty() || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Status::invalid_argument("idempotency_key: 1 to 128 visible ASCII characters are needed"));
    }
    Ok(text)
}

fn place(request: CreateOrderRequest) -> Result<PlaceOrder, Status> {
    if request.items.is_empty() || request.items.len() > LINES_MAX {
        return Err(Status::invalid_argument(format!(
            "items: 1 to {LINES_MAX} are possible, not {}",
            request.items.len()
        )));
    }
    let user = user_id(&request.user_id)?;
    let items = request.items.into_iter().enumerate().map(|(index, one)| item(index, one));
    Ok(PlaceOrder {
        user,
        key: key(request.idempotency_key)?,
        items: items.collect::<Result<_, Status>>()?,
        wait: Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX),
    })
}

#[tonic::async_trait]
impl OrderService for OrderGrpc {
    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let caller = Caller::of(&request);
        let request = place(request.into_inner())?;
        caller.require_owner_or_staff(request.user)?;
        let placed = self.desk.place(request).await?;
        let ended = placed.order.status.has_ended();
        Ok(Response::new(CreateOrderResponse { order: Some(placed.order.into()), created: placed.created, ended }))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<wire::Order>, Status> {
        let caller = Caller::of(&request);
        let order = self.desk.get(order_id(&request.get_ref().id)?).await?;
        caller.require_owner_or_staff(order.user)?;
        Ok(Response::new(order.into()))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let user = match request.user_id.as_str() {
            "" => {
                caller.require_staff()?;
                None
            }
            id => {
                let user = user_id(id)?;
                caller.require_owner_or_staff(user)?;
                Some(user)
            }
        };
        let after = after(request.after_created_us, &request.after_id)?;
        let orders = self.desk.list(user, after, page(request.limit, PAGE_DEFAULT)).await?;
        Ok(Response::new(ListOrdersResponse { orders: orders.into_iter().map(Into::into).collect() }))
    }

    async fn get_history(&self, request: Request<GetHistoryRequest>) -> Result<Response<GetHistoryResponse>, Status> {
        let caller = Caller::of(&request);
        let id = order_id(&request.get_ref().id)?;
        caller.require_owner_or_staff(self.desk.get(id).await?.user)?;
        let entries = self.desk.history(id).await?.into_iter().map(|entry| HistoryEvent {
            version: entry.version,
            r#type: entry.kind,
            occurred_at_us: entry.at.as_micros(),
            data_json: entry.data,
        });
        Ok(Response::new(GetHistoryResponse { events: entries.collect() }))
    }

    async fn cancel_order(&self, request: Request<CancelOrderRequest>) -> Result<Response<wire::Order>, Status> {
        let caller = Caller::of(&request);
        let id = order_id(&request.get_ref().id)?;
        caller.require_owner_or_staff(self.desk.get(id).await?.user)?;
        Ok(Response::new(self.desk.cancel(id).await?.into()))
    }

    async fn get_attempts(
        &self,
        request: Request<GetAttemptsRequest>,
    ) -> Result<Response<GetAttemptsResponse>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let id = order_id(&request.id)?;
        caller.require_owner_or_staff(self.desk.get(id).await?.user)?;
        let recorded = self.desk.attempts(id, request.after_sequence, page(request.limit, PAGE_MAX)).await?;
        let mut attempts: Vec<wire::Attempt> = recorded.into_iter().map(Into::into).collect();
        if caller.require_staff().is_err() {
            // The participants' own words are not for customers: they name what is behind the shop.
            attempts.iter_mut().for_each(|attempt| attempt.detail.clear());
        }
        Ok(Response::new(GetAttemptsResponse { attempts }))
    }

    async fn list_stuck(&self, request: Request<ListStuckRequest>) -> Result<Response<ListStuckResponse>, Status> {
        Caller::of(&request).require_staff()?;
        let request = request.into_inner();
        let after = after(request.after_since_us, &request.after_id)?;
        let orders = self.desk.stuck(after, page(request.limit, PAGE_DEFAULT)).await?;
        Ok(Response::new(ListStuckResponse { orders: orders.into_iter().map(Into::into).collect() }))
    }

    async fn retry_order(&self, request: Request<RetryOrderRequest>) -> Result<Response<wire::Order>, Status> {
        Caller::of(&request).require_staff()?;
        Ok(Response::new(self.desk.retry(order_id(&request.get_ref().id)?).await?.into()))
    }

    async fn rebuild_projection(
        &self,
        request: Request<RebuildProjectionRequest>,
    ) -> Result<Response<RebuildProjectionResponse>, Status> {
        let caller = Caller::of(&request);
        caller.require_service().or_else(|_| caller.require_admin())?;
        let Rebuilt { orders, missing, differing, stray } = self.rebuilder.run().await?;
        Ok(Response::new(RebuildProjectionResponse { orders, missing, differing, stray }))
    }
}
