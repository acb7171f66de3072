//! The aggregate: an order is the fold of its events.

use std::fmt;
use std::str::FromStr;

use kernel::{Money, OrderId, ProductId, Quantity, Sku, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// The one tenant so far; part of every order id.
pub const TENANT: &str = "shop";
/// Most lines in one order.
pub const LINES_MAX: usize = 100;

/// Where an order stands. CONFIRMED and CANCELLED are terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    Pending,
    Reserved,
    Paid,
    Confirmed,
    Cancelling,
    Cancelled,
    NeedsOperator,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Reserved,
        Self::Paid,
        Self::Confirmed,
        Self::Cancelling,
        Self::Cancelled,
        Self::NeedsOperator,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Reserved => "RESERVED",
            Self::Paid => "PAID",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::NeedsOperator => "NEEDS_OPERATOR",
        }
    }

    /// The client's question is answered.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Confirmed | Self::Cancelled)
    }

    /// Whether an order may go from here to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending, Self::Reserved)
                | (Self::Reserved, Self::Paid)
                | (Self::Paid, Self::Confirmed)
                | (Self::Pending | Self::Reserved | Self::Paid, Self::Cancelling)
                | (Self::Cancelling, Self::Cancelled | Self::NeedsOperator)
                | (Self::NeedsOperator, Self::Cancelling)
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an order status"))
    }
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    SoldOut,
    Declined,
    /// A service that the order needs could not be reached in time, or its breaker was open.
    Unavailable,
    ByClient,
}

impl CancelReason {
    pub const ALL: [Self; 4] = [Self::SoldOut, Self::Declined, Self::Unavailable, Self::ByClient];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SoldOut => "sold_out",
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
            Self::ByClient => "by_client",
        }
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What undoes a step. In this order: the reverse of how the steps ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compensation {
    RefundPayment,
    ReleaseStock,
}

/// So many units of one product, at the price that the product service quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub product_id: ProductId,
    pub sku: Sku,
    pub quantity: Quantity,
    pub unit_price: Money,
}

/// What can happen to an order. Stored for ever: variants and fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum OrderEvent {
    OrderCreated {
        user: UserId,
        lines: Vec<Line>,
        total: Money,
    },
    StockReserved {},
    PaymentProcessed {
        reference: String,
    },
    OrderConfirmed {
        /// Whose order it is, for whoever tells them; absent from old logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
    },
    /// The units are sold; the state stays CONFIRMED.
    StockCommitted {},
    /// The decision to abort, with what undoes every step that may have started.
    CancellationStarted {
        reason: CancelReason,
        compensate: Vec<Compensation>,
    },
    PaymentRefunded {
        money_returned: bool,
    },
    StockReleased {
        had_reservation: bool,
    },
    OrderCancelled {
        /// Whose order it is, and why it came to nothing; absent from old logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<CancelReason>,
    },
    /// A compensation keeps failing: somebody has to look.
    OperatorRequested {
        why: String,
    },
    OperatorResumed {},
}

impl OrderEvent {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OrderCreated { .. } => "OrderCreated",
            Self::StockReserved {} => "StockReserved",
            Self::PaymentProcessed { .. } => "PaymentProcessed",
            Self::OrderConfirmed { .. } => "OrderConfirmed",
            Self::StockCommitted {} => "StockCommitted",
            Self::CancellationStarted { .. } => "CancellationStarted",
            Self::PaymentRefunded { .. } => "PaymentRefunded",
            Self::StockReleased { .. } => "StockReleased",
            Self::OrderCancelled { .. } => "OrderCancelled",
            Self::OperatorRequested { .. } => "OperatorRequested",
            Self::OperatorResumed {} => "OperatorResumed",
        }
    }
}

/// An event or a command that the order's state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("{event} is not possible in state {status}")]
    NotNow { event: &'static str, status: Status },
    #[error("the first event of an order is OrderCreated, not {0}")]
    NotCreated(&'static str),
    #[error("an order has 1 to {LINES_MAX} lines, not {0}")]
    Lines(usize),
    #[error("an order's prices are in one currency and within bounds")]
    Total,
}

/// An order, as its events made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub user: UserId,
    pub lines: Vec<Line>,
    pub total: Money,
    pub status: Status,
    pub cancel_reason: Option<CancelReason>,
    /// Compensations that are due and not yet known to be done, first one first.
    pub compensations: Vec<Compensation>,
    pub stock_committed: bool,
    /// The number of events so far.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Order {
    /// The event that makes an order of these lines.
    ///
    /// # Errors
    /// When there are no lines, too many, or their sum is not one amount.
    pub fn create(user: UserId, lines: Vec<Line>) -> Result<OrderEvent, Rejected> {
        if lines.is_empty() || lines.len() > LINES_MAX {
            return Err(Rejected::Lines(lines.len()));
        }
        let mut total: Option<Money> = None;
        for line in &lines {
            let amount = line.unit_price.checked_mul(line.quantity.get()).map_err(|_| Rejected::Total)?;
            total = Some(match total {
                Some(sum) => sum.checked_add(amount).map_err(|_| Rejected::Total)?,
                None => amount,
            });
        }
        let total = total.ok_or(Rejected::Total)?;
        Ok(OrderEvent::OrderCreated { user, lines, total })
    }

    /// The order that a log of events, oldest first, describes.
    ///
    /// # Errors
    /// When the log is empty, does not begin with its creation, or breaks the rules.
    pub fn fold(id: OrderId, events: impl IntoIterator<Item = (OrderEvent, Timestamp)>) -> Result<Self, Rejected> {
        let mut events = events.into_iter();
        let first = events.next();
        let Some((OrderEvent::OrderCreated { user, lines, total }, at)) = first else {
            return Err(Rejected::NotCreated(first.map_or("nothing", |(event, _)| event.kind())));
        };
        let mut order = Self {
            id,
            user,
            lines,
            total,
            status: Status::Pending,
            cancel_reason: None,
            compensations: Vec::new(),
            stock_committed: false,
            version: 1,
            created_at: at,
            updated_at: at,
        };
        for (event, at) in events {
            order.apply(&event, at)?;
        }
        Ok(order)
    }

    /// Takes the event in, if the order's state allows it.
    ///
    /// # Errors
    /// `NotNow`; the order is then unchanged.
    pub fn apply(&mut self, event: &OrderEvent, at: Timestamp) -> Result<(), Rejected> {
        let refused = Rejected::NotNow { event: event.kind(), status: self.status };
        match event {
            OrderEvent::OrderCreated { .. } => return Err(refused),
            OrderEvent::StockReserved {} => self.become_status(Status::Reserved, refused)?,
            OrderEvent::PaymentProcessed { .. } => self.become_status(Status::Paid, refused)?,
            OrderEvent::OrderConfirmed { .. } => self.become_status(Status::Confirmed, refused)?,
            OrderEvent::StockCommitted {} => {
                if self.status != Status::Confirmed || self.stock_committed {
                    return Err(refused);
                }
                self.stock_committed = true;
            }
            OrderEvent::CancellationStarted { reason, compensate } => {
                // NEEDS_OPERATOR is left by OperatorResumed alone.
                if self.status == Status::NeedsOperator {
                    return Err(refused);
                }
                self.become_status(Status::Cancelling, refused)?;
                self.cancel_reason = Some(*reason);
                self.compensations.clone_from(compensate);
            }
            OrderEvent::PaymentRefunded { .. } => self.compensated(Compensation::RefundPayment, refused)?,
            OrderEvent::StockReleased { .. } => self.compensated(Compensation::ReleaseStock, refused)?,
            OrderEvent::OrderCancelled { .. } => {
                if !self.compensations.is_empty() {
                    return Err(refused);
                }
                self.become_status(Status::Cancelled, refused)?;
            }
            OrderEvent::OperatorRequested { .. } => self.become_status(Status::NeedsOperator, refused)?,
            OrderEvent::OperatorResumed {} => {
                if self.status != Status::NeedsOperator {
                    return Err(refused);
                }
                self.become_status(Status::Cancelling, refused)?;
            }
        }
        self.version += 1;
        self.updated_at = at;
        Ok(())
    }

    fn become_status(&mut self, next: Status, refused: Rejected) -> Result<(), Rejected> {
        if !self.status.may_become(next) {
            return Err(refused);
        }
        self.status = next;
        Ok(())
    }

    fn compensated(&mut self, done: Compensation, refused: Rejected) -> Result<(), Rejected> {
        if self.status != Status::Cancelling || self.compensations.first() != Some(&done) {
            return Err(refused);
        }
        self.compensations.remove(0);
        Ok(())
    }
}

/// What is compared when a key comes again: products and quantities, without prices, which may have
/// changed meanwhile. Lines of one product are summed.
///
/// # Errors
/// When a sum is beyond what one line may hold.
pub fn normalised<L>(
    lines: Vec<L>,
    key: impl Fn(&L) -> ProductId,
    quantity: impl Fn(&mut L) -> &mut Quantity,
) -> Result<Vec<L>, kernel::ids::IdError> {
    let mut merged: Vec<L> = Vec::with_capacity(lines.len());
    for mut line in lines {
        match merged.iter_mut().find(|other| key(other) == key(&line)) {
            Some(other) => {
                let sum = quantity(other).get().saturating_add(quantity(&mut line).get());
                *quantity(other) = Quantity::try_from(sum)?;
            }
            None => merged.push(line),
        }
    }
    merged.sort_by_key(key);
    Ok(merged)
}

/// A text that is equal for equal normalised lines.
pub fn items_fingerprint(lines: &[Line]) -> String {
    let items: Vec<String> = lines.iter().map(|line| format!("{}x{}", line.product_id, line.quantity.get())).collect();
    items.join(",")
}

#[cfg(test)]
pub(crate) mod tests;
