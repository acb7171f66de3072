//! The facts that leave this service on the stream `INVENTORY`.

use kernel::{OrderId, ProductId, Quantity};
use serde::Serialize;

use super::{Line, Restock, RestockId};

/// What became of an order's units, or of a product's. Serialised, it is the event's JSON; its name
/// travels beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StockEvent {
    /// All lines are held for the order.
    Reserved { order_id: OrderId, lines: Vec<Line> },
    /// Nothing is held, for want of `sold_out`, the first product in id order that fell short.
    Refused { order_id: OrderId, lines: Vec<Line>, sold_out: ProductId },
    /// `lines` went back; empty when there was nothing to give back.
    Released { order_id: OrderId, lines: Vec<Line> },
    /// `lines` are sold.
    Committed { order_id: OrderId, lines: Vec<Line> },
    /// The release came first: the order can no longer reserve. `lines` is empty, since the release
    /// does not know them.
    Blocked { order_id: OrderId, lines: Vec<Line> },
    /// New units became available.
    Restocked { restock_id: RestockId, product_id: ProductId, quantity: Quantity },
}

impl StockEvent {
    pub fn restocked(restock: &Restock) -> Self {
        Self::Restocked { restock_id: restock.id.clone(), product_id: restock.product_id, quantity: restock.quantity }
    }

    /// The event's name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Reserved { .. } => "StockReserved",
            Self::Refused { .. } => "StockRefused",
            Self::Released { .. } => "StockReleased",
            Self::Committed { .. } => "StockCommitted",
            Self::Blocked { .. } => "StockBlocked",
            Self::Restocked { .. } => "StockRestocked",
        }
    }

    /// Whose history it belongs to: the order, or the restock.
    pub fn aggregate(&self) -> String {
        match self {
            Self::Reserved { order_id, .. }
            | Self::Refused { order_id, .. }
            | Self::Released { order_id, .. }
            | Self::Committed { order_id, .. }
            | Self::Blocked { order_id, .. } => order_id.to_string(),
            Self::Restocked { restock_id, .. } => format!("restock:{restock_id}"),
        }
    }
}
