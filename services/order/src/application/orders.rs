//! What clients ask of orders: place one, look at it, cancel it.

use std::sync::Arc;
use std::time::Duration;

use chassis::StoreError;
use chassis::clock::SharedClock;
use kernel::{OrderId, Quantity, Timestamp, UserId};
use tokio::time::Instant;

use super::driver::{Driver, single};
use super::ports::{
    Catalogue, Commit, Created, History, HistoryEntry, NewOrder, Orders, ProductRef, QuoteError, Stored,
};
use super::steps::StepRecorder;
use super::waiters::Waiters;
use crate::domain::order::{items_fingerprint, normalised};
use crate::domain::{CancelReason, Line, Order, Outcome, Rejected, Status, Step, saga};

/// The one tenant so far; part of every order id.
const TENANT: &str = "shop";

/// Why a request about an order was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrderError {
    #[error("there is no order {0}")]
    NotFound(OrderId),
    #[error(transparent)]
    Quote(#[from] QuoteError),
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("{0}")]
    Invalid(String),
    #[error("this idempotency key was used for other items")]
    KeyReused,
    #[error("an order in state {0} cannot be cancelled")]
    NotCancellable(Status),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An order to place. `user` is the caller, as verified.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    pub user: UserId,
    pub key: String,
    pub items: Vec<(ProductRef, Quantity)>,
    /// How long to wait for the order's end.
    pub wait: Duration,
}

/// The answer: the order exists.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order: Order,
    /// `false` when the key had made it before.
    pub created: bool,
}

/// The use cases of the inbound adapters.
#[derive(Clone)]
pub struct OrderDesk {
    pub orders: Arc<dyn Orders>,
    pub catalogue: Arc<dyn Catalogue>,
    pub history: Arc<dyn History>,
    pub driver: Driver,
    pub waiters: Waiters,
    pub steps: StepRecorder,
    pub clock: SharedClock,
}

impl OrderDesk {
    /// Creates the order once for its key, starts its saga and waits for its end as long as asked.
    ///
    /// # Errors
    /// When there is no such product, the key was used for other items, or the store is away.
    pub async fn place(&self, request: PlaceOrder) -> Result<Placed, OrderError> {
        let deadline = Instant::now() + request.wait;
        let id = OrderId::derive(TENANT, request.user, &request.key);
        // Registered before the saga starts, so that its end is not missed.
        let waiter = self.waiters.wait_for(id);
        let (order, created) = match self.orders.get(id).await? {
            // A repetition needs no catalogue: the product may be gone, the order is not.
            Some(stored) if is_of(&stored.order, &request.items) => (stored.order, false),
            Some(_) => return Err(OrderError::KeyReused),
            None => self.create(id, &request).await?,
        };
        if order.status.has_ended() || request.wait.is_zero() {
            return Ok(Placed { order, created });
        }
        let order = match tokio::time::timeout_at(deadline, waiter.ended()).await {
            Ok(Some(ended)) => ended,
            // Not yet: say how far it is.
            Ok(None) | Err(_) => self.stored(id).await?.order,
        };
        Ok(Placed { order, created })
    }

    /// Creates the order and starts its saga, unless the same key has got there first.
    async fn create(&self, id: OrderId, request: &PlaceOrder) -> Result<(Order, bool), OrderError> {
        let lines = self.price(&request.items).await?;
        let fingerprint = items_fingerprint(&lines);
        let created = Order::create(request.user, lines)?;
        let started = Instant::now();
        let (at, due_at) = (self.clock.now(), self.driver.lease_until());
        let new = NewOrder { id, created, fingerprint: fingerprint.clone(), at, due_at };
        match single(self.orders.create(&[new]).await)? {
            Created::New(stored) => {
                self.steps.record(Step::Create, Outcome::Done, started.elapsed());
                let order = stored.order.clone();
                self.driver.start(stored);
                Ok((order, true))
            }
            Created::Existed { fingerprint: before, .. } if before != fingerprint => Err(OrderError::KeyReused),
            Created::Existed { order, .. } => Ok((order.order, false)),
        }
    }

    /// The lines of an order at today's prices, one for each product.
    async fn price(&self, items: &[(ProductRef, Quantity)]) -> Result<Vec<Line>, OrderError> {
        let references: Vec<ProductRef> = items.iter().map(|(reference, _)| reference.clone()).collect();
        let quotes = self.catalogue.quote(&references).await?;
        let lines = quotes.into_iter().zip(items).map(|(quote, (_, quantity))| Line {
            product_id: quote.product_id,
            sku: quote.sku,
            quantity: *quantity,
            unit_price: quote.price,
        });
        normalised(lines.collect(), |line| line.product_id, |line| &mut line.quantity)
            .map_err(|error| OrderError::Invalid(error.to_string()))
    }

    /// Aborts an order that is not confirmed yet. Of one that is being or has been cancelled this
    /// is a success that changes nothing.
    ///
    /// # Errors
    /// `NotCancellable` once it is confirmed.
    pub async fn cancel(&self, id: OrderId) -> Result<Order, OrderError> {
        loop {
            let stored = self.stored(id).await?;
            match stored.order.status {
                Status::Cancelling | Status::Cancelled | Status::NeedsOperator => return Ok(stored.order),
                Status::Confirmed => return Err(OrderError::NotCancellable(Status::Confirmed)),
                Status::Pending | Status::Reserved | Status::Paid => {}
            }
            match self.take_over(stored).await {
                Ok(order) => return Ok(order),
                // The saga has moved on meanwhile; each retry sees a later state, of which there are few.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn take_over(&self, mut stored: Stored) -> Result<Order, StoreError> {
        let at = self.clock.now();
        let event = saga::abort(&stored.order, CancelReason::ByClient);
        let expected_version = stored.order.version;
        stored.order.apply(&event, at).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let commit = Commit {
            id: stored.order.id,
            order: stored.order.clone(),
            expected_version,
            epoch: stored.epoch,
            events: vec![event],
            at,
            attempts: Vec::new(),
            due_at: Some(self.driver.lease_until()),
        };
        let epoch = self.orders.take_over(&commit).await?;
        let order = stored.order.clone();
        self.driver.start(Stored { epoch, attempt: 0, ..stored });
        Ok(order)
    }

    /// # Errors
    /// `NotFound`, or the store is away.
    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        Ok(self.stored(id).await?.order)
    }

    /// # Errors
    /// When the store is away.
    pub async fn list(&self, user: Option<UserId>, after: Timestamp, most: usize) -> Result<Vec<Order>, OrderError> {
        Ok(self.orders.list(user, after, most).await?)
    }

    /// The order's events as the event log has them; the last ones may still be on their way there.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn history(&self, id: OrderId) -> Result<Vec<HistoryEntry>, OrderError> {
        Ok(self.history.of(id).await?)
    }

    async fn stored(&self, id: OrderId) -> Result<Stored, OrderError> {
        self.orders.get(id).await?.ok_or(OrderError::NotFound(id))
    }
}

/// Whether the order is of these items, by whichever of its names each product is called.
fn is_of(order: &Order, items: &[(ProductRef, Quantity)]) -> bool {
    let line = |(product, quantity): &(ProductRef, Quantity)| {
        let found = order.lines.iter().find(|line| match product {
            ProductRef::Id(id) => line.product_id == *id,
            ProductRef::Sku(sku) => line.sku == *sku,
        })?;
        Some(Line { quantity: *quantity, ..found.clone() })
    };
    let lines: Option<Vec<Line>> = items.iter().map(line).collect();
    let lines = lines.and_then(|lines| normalised(lines, |line| line.product_id, |line| &mut line.quantity).ok());
    lines.is_some_and(|lines| items_fingerprint(&lines) == items_fingerprint(&order.lines))
}
