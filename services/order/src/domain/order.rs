//! The aggregate: an order is the fold of its events.

use std::fmt;
use std::str::FromStr;

use kernel::{Money, OrderId, ProductId, Quantity, Sku, Timestamp, UserId};
use serde::{Deserialize, Serialize};

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
pub(crate) mod tests {
    use super::*;
    use kernel::Currency;
    use proptest::prelude::*;
    use uuid::Uuid;

    pub(crate) fn line(product: i64, quantity: u32) -> Line {
        Line {
            product_id: ProductId(product),
            sku: format!("P-{product}").parse().unwrap(),
            quantity: quantity.try_into().unwrap(),
            unit_price: Money::new(100, Currency::EUR),
        }
    }

    pub(crate) fn pending() -> Order {
        let user = UserId::from_uuid(Uuid::from_u128(1));
        let created = Order::create(user, vec![line(1, 2)]).unwrap();
        Order::fold(OrderId::derive("shop", user, "k"), [(created, Timestamp::default())]).unwrap()
    }

    pub(crate) fn after(events: &[OrderEvent]) -> Result<Order, Rejected> {
        let mut order = pending();
        for event in events {
            order.apply(event, Timestamp::default())?;
        }
        Ok(order)
    }

    fn every_event() -> Vec<OrderEvent> {
        use OrderEvent as E;
        vec![
            E::StockReserved {},
            E::PaymentProcessed { reference: "r".into() },
            E::OrderConfirmed { user: None },
            E::StockCommitted {},
            E::CancellationStarted { reason: CancelReason::ByClient, compensate: vec![] },
            E::CancellationStarted {
                reason: CancelReason::Declined,
                compensate: vec![Compensation::RefundPayment, Compensation::ReleaseStock],
            },
            E::PaymentRefunded { money_returned: true },
            E::StockReleased { had_reservation: true },
            E::OrderCancelled { user: None, reason: None },
            E::OperatorRequested { why: "?".into() },
            E::OperatorResumed {},
        ]
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let created = Order::create(UserId::from_uuid(Uuid::nil()), vec![line(1, 2), line(2, 3)]).unwrap();
        assert!(matches!(created, OrderEvent::OrderCreated { total, .. } if total.minor == 500));
    }

    #[test]
    fn refuses_an_order_of_nothing_of_too_much_and_of_two_currencies() {
        let user = UserId::from_uuid(Uuid::nil());
        assert_eq!(Order::create(user, vec![]), Err(Rejected::Lines(0)));
        assert_eq!(Order::create(user, vec![line(1, 1); LINES_MAX + 1]), Err(Rejected::Lines(LINES_MAX + 1)));
        let mut dollars = line(2, 1);
        dollars.unit_price.currency = "USD".parse().unwrap();
        assert_eq!(Order::create(user, vec![line(1, 1), dollars]), Err(Rejected::Total));
    }

    #[test]
    fn a_confirmed_order_cannot_be_cancelled() {
        use OrderEvent as E;
        let happy =
            [E::StockReserved {}, E::PaymentProcessed { reference: "r".into() }, E::OrderConfirmed { user: None }];
        let mut order = after(&happy).unwrap();
        let cancel = E::CancellationStarted { reason: CancelReason::ByClient, compensate: vec![] };
        assert!(order.apply(&cancel, Timestamp::default()).is_err());
        assert_eq!(order.status, Status::Confirmed);
    }

    #[test]
    fn is_not_cancelled_before_its_compensations_are_done() {
        use OrderEvent as E;
        let compensate = vec![Compensation::RefundPayment, Compensation::ReleaseStock];
        let start = E::CancellationStarted { reason: CancelReason::ByClient, compensate };
        assert!(after(&[E::StockReserved {}, start.clone(), E::OrderCancelled { user: None, reason: None }]).is_err());
        let release = E::StockReleased { had_reservation: true };
        assert!(after(&[E::StockReserved {}, start.clone(), release.clone()]).is_err(), "out of order");
        let refund = E::PaymentRefunded { money_returned: false };
        let order =
            after(&[E::StockReserved {}, start, refund, release, E::OrderCancelled { user: None, reason: None }])
                .unwrap();
        assert_eq!(order.status, Status::Cancelled);
    }

    #[test]
    fn an_old_log_replays_from_its_json() {
        let stored = r#"{"kind":"CancellationStarted","data":{"reason":"sold_out","compensate":["release_stock"]}}"#;
        let event: OrderEvent = serde_json::from_str(stored).unwrap();
        let compensate = vec![Compensation::ReleaseStock];
        assert_eq!(event, OrderEvent::CancellationStarted { reason: CancelReason::SoldOut, compensate });
    }

    #[test]
    fn who_and_why_are_told_and_old_logs_that_do_not_say_replay() {
        let (confirmed, cancelled) =
            (OrderEvent::OrderConfirmed { user: None }, OrderEvent::OrderCancelled { user: None, reason: None });
        for (kind, silent) in [("OrderConfirmed", confirmed), ("OrderCancelled", cancelled)] {
            for data in ["{}", r#"{"user":null}"#] {
                let stored = format!(r#"{{"kind":"{kind}","data":{data}}}"#);
                assert_eq!(serde_json::from_str::<OrderEvent>(&stored).unwrap(), silent, "{stored}");
            }
            assert_eq!(serde_json::to_string(&silent).unwrap(), format!(r#"{{"kind":"{kind}","data":{{}}}}"#));
        }
        let (user, reason) = (Some(UserId::from_uuid(Uuid::nil())), Some(CancelReason::SoldOut));
        let told = OrderEvent::OrderCancelled { user, reason };
        let stored = serde_json::to_string(&told).unwrap();
        assert!(stored.contains(r#""user":"00000000-"#) && stored.contains(r#""reason":"sold_out""#), "{stored}");
        assert_eq!(serde_json::from_str::<OrderEvent>(&stored).unwrap(), told);
    }

    #[test]
    fn lines_of_one_product_become_one_line_in_product_order() {
        let lines = vec![line(2, 1), line(1, 1), line(2, 4)];
        let merged = normalised(lines, |line| line.product_id, |line| &mut line.quantity).unwrap();
        assert_eq!(items_fingerprint(&merged), "1x1,2x5");
    }

    proptest! {
        #[test]
        fn an_orders_total_is_what_its_lines_add_up_to_or_there_is_no_order(
            lines in proptest::collection::vec((1i64..6, 1u32..=Quantity::MAX, 1i64..=i64::MAX), 1..8),
            dollars in any::<bool>(),
        ) {
            let mut lines: Vec<Line> = lines
                .into_iter()
                .map(|(product, quantity, minor)| {
                    let mut line = line(product, 1);
                    line.quantity = quantity.try_into().unwrap();
                    line.unit_price.minor = minor;
                    line
                })
                .collect();
            if dollars && let Some(last) = lines.last_mut() {
                last.unit_price.currency = "USD".parse().unwrap();
            }
            let exact: i128 = lines.iter().map(|line| i128::from(line.unit_price.minor) * i128::from(line.quantity.get())).sum();
            let one_currency = !dollars || lines.len() == 1;
            match Order::create(UserId::from_uuid(Uuid::nil()), lines.clone()) {
                Ok(created) => {
                    // What is stored is what is read back.
                    let json = serde_json::to_string(&created).unwrap();
                    let events = [(serde_json::from_str(&json).unwrap(), Timestamp::default())];
                    let order = Order::fold(pending().id, events).unwrap();
                    prop_assert!(one_currency);
                    prop_assert_eq!(i128::from(order.total.minor), exact);
                    prop_assert_eq!((order.lines, order.status, order.version), (lines, Status::Pending, 1));
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal, Rejected::Total);
                    prop_assert!(!one_currency || exact > i128::from(i64::MAX));
                }
            }
        }

        #[test]
        fn no_sequence_of_events_leaves_a_terminal_state_or_takes_an_illegal_step(picks in proptest::collection::vec(0usize..11, 0..40)) {
            let mut order = pending();
            for pick in picks {
                let before = order.clone();
                match order.apply(&every_event()[pick], Timestamp::default()) {
                    Ok(()) => {
                        prop_assert!(before.status == order.status || before.status.may_become(order.status));
                        prop_assert!(!before.status.has_ended() || before.status == order.status);
                        prop_assert_eq!(order.version, before.version + 1);
                    }
                    Err(_) => prop_assert_eq!(before, order.clone()),
                }
            }
        }
    }
}
