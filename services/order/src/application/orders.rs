//! What clients ask of orders: place one, look at it, cancel it.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::SharedClock;
use kernel::{OrderId, Quantity, UserId};
use store::StoreError;
use tokio::time::Instant;

use super::driver::{Driver, single};
use super::ports::{
    After, Catalogue, Commit, Created, History, HistoryEntry, IdempotencyKeys, NewOrder, Orders, ProductRef,
    QuoteError, Recorded, Stored, Stuck,
};
use super::steps::StepRecorder;
use super::waiters::Waiters;
use crate::domain::order::{TENANT, items_fingerprint, normalised};
use crate::domain::{CancelReason, Line, Order, OrderEvent, Outcome, Rejected, Status, Step, Tries, saga};

/// So often an operator's retry looks again at an order that moves under its hands.
const OVERTAKEN_MAX: u32 = 8;

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
    #[error("the order is {0} and nothing is left to do about it")]
    NothingToDo(Status),
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
    pub keys: Arc<dyn IdempotencyKeys>,
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
        #[cfg(feature = "planted-bugs")]
        let id = self.driver.planted().id_of_request(id, |drawn| OrderId::derive(TENANT, request.user, drawn));
        // Registered before the saga starts, so that its end is not missed.
        let waiter = self.waiters.wait_for(id);
        let (order, created) = self.find_or_create(id, &request).await?;
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

    /// The order under that key, and whether this request has made it. The store is looked into first where
    /// the key may have been used; if it was and that is forgotten, the store says so when the order is to
    /// be created.
    async fn find_or_create(&self, id: OrderId, request: &PlaceOrder) -> Result<(Order, bool), OrderError> {
        let looked = self.keys.used(id).await;
        if looked && let Some(order) = self.repeated(id, request).await? {
            return Ok((order, false));
        }
        match self.create(id, request).await {
            Ok(created) => Ok(created),
            Err(error @ (OrderError::KeyReused | OrderError::Store(_))) => Err(error),
            // A repetition needs no catalogue: the product may be gone, the order is not.
            Err(error) if !looked => self.repeated(id, request).await?.map(|order| (order, false)).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The order that a former request with this key has made of the same items.
    async fn repeated(&self, id: OrderId, request: &PlaceOrder) -> Result<Option<Order>, OrderError> {
        match self.orders.get(id).await? {
            Some(stored) if is_of(&stored.order, &request.items) => Ok(Some(stored.order)),
            Some(_) => Err(OrderError::KeyReused),
            None => Ok(None),
        }
    }

    /// Creates the order and starts its saga, unless the same key has got there first.
    async fn create(&self, id: OrderId, request: &PlaceOrder) -> Result<(Order, bool), OrderError> {
        let lines = self.price(&request.items).await?;
        let fingerprint = items_fingerprint(&lines);
        let created = Order::create(request.user, lines)?;
        let in_flight = self.steps.begin(Step::Create);
        let (at, due_at) = (self.clock.now(), self.driver.lease_until());
        let new = NewOrder { id, created, fingerprint: fingerprint.clone(), at, due_at };
        match single(self.orders.create(&[new]).await)? {
            Created::New(stored) => {
                in_flight.ended(Outcome::Done);
                self.driver.trade().placed();
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
            .map_err(|error| OrderError::Invalid(format!("items: the units of one product together: {error}")))
    }

    /// Aborts an order that is not confirmed yet. Of one that is being or has been cancelled this
    /// is a success that changes nothing.
    ///
    /// # Errors
    /// `NotCancellable` once it is confirmed.
    pub async fn cancel(&self, id: OrderId) -> Result<Order, OrderError> {
        loop {
            let stored = self.stored(id).await?;
            #[cfg(feature = "planted-bugs")]
            let stored = self.driver.planted().to_cancel(stored);
            match stored.order.status {
                Status::Cancelling | Status::Cancelled | Status::NeedsOperator => return Ok(stored.order),
                Status::Confirmed => return Err(OrderError::NotCancellable(Status::Confirmed)),
                Status::Pending | Status::Reserved | Status::Paid => {}
            }
            let event = saga::abort(&stored.order, CancelReason::ByClient);
            match self.take_over(stored, event).await {
                Ok(order) => return Ok(order),
                // The saga has moved on meanwhile; each retry sees a later state, of which there are few.
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets an order that is stuck go on now: one that waits for an operator is resumed, one with work
    /// to do is due at once and has all its tries again. An order in a forward step is not stuck, and
    /// its deadline stands; to hurry it does no harm.
    ///
    /// # Errors
    /// `NothingToDo` about an order that has come to its end.
    pub async fn retry(&self, id: OrderId) -> Result<Order, OrderError> {
        let mut overtaken = StoreError::Conflict(format!("order {id}"));
        for _ in 0..OVERTAKEN_MAX {
            let stored = self.stored(id).await?;
            let retried = match stored.order.status {
                Status::NeedsOperator => self.take_over(stored, OrderEvent::OperatorResumed {}).await,
                status if saga::next_step(&stored.order).is_none() => return Err(OrderError::NothingToDo(status)),
                _ => self.hurry(stored).await,
            };
            match retried {
                Ok(order) => return Ok(order),
                // Somebody else has moved it on meanwhile: look again.
                Err(error @ StoreError::Conflict(_)) => overtaken = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(overtaken.into())
    }

    async fn hurry(&self, stored: Stored) -> Result<Order, StoreError> {
        self.orders.retry(stored.order.id, stored.epoch, self.clock.now()).await?;
        self.driver.look();
        Ok(stored.order)
    }

    /// Commits the event under the next epoch and drives the order on from there.
    async fn take_over(&self, mut stored: Stored, event: OrderEvent) -> Result<Order, StoreError> {
        let at = self.clock.now();
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
        self.driver.start(Stored { epoch, tries: Tries::default(), due_at: commit.due_at, ..stored });
        Ok(order)
    }

    /// # Errors
    /// `NotFound`, or the store is away.
    pub async fn get(&self, id: OrderId) -> Result<Order, OrderError> {
        Ok(self.stored(id).await?.order)
    }

    /// # Errors
    /// When the store is away.
    pub async fn list(&self, user: Option<UserId>, after: After, most: usize) -> Result<Vec<Order>, OrderError> {
        Ok(self.orders.list(user, after, most).await?)
    }

    /// Orders that do not get on by themselves, those first that have not for longest.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn stuck(&self, after: After, most: usize) -> Result<Vec<Stuck>, OrderError> {
        Ok(self.orders.stuck(self.driver.alert_after(), after, most).await?)
    }

    /// Every attempt of the order's steps behind the one numbered `after`, oldest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn attempts(&self, id: OrderId, after: i64, most: usize) -> Result<Vec<Recorded>, OrderError> {
        Ok(self.orders.attempts(id, after, most).await?)
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
