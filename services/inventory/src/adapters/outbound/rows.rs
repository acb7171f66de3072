//! What stands in the rows of the books, whichever database keeps them.

use eventlog::Event;
use kernel::{OrderId, ProductId, Quantity, Timestamp};
use store::StoreError;

use crate::domain::{Line, OrderStock, ReleaseOutcome, ReserveOutcome, StockEvent};

/// The database's name.
pub const DATABASE: &str = "inventory_db";
/// Its outbox table.
pub const OUTBOX: &str = "inventory_events";

pub fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

pub fn no_row(product_id: ProductId) -> StoreError {
    corrupt(format!("product {product_id} is reserved and has no stock row"))
}

pub fn nothing_reserved(order_id: OrderId) -> StoreError {
    corrupt(format!("order {order_id} has reserved and has no lines"))
}

/// # Errors
/// When the units are no [`Quantity`].
pub fn line(product_id: i64, units: i64) -> Result<Line, StoreError> {
    let quantity = u32::try_from(units).map_err(corrupt)?;
    Ok(Line { product_id: ProductId(product_id), quantity: Quantity::try_from(quantity).map_err(corrupt)? })
}

/// The rows of the barrier that an event of an order writes: operation and outcome.
pub fn barrier(event: &StockEvent) -> Vec<(&'static str, String)> {
    let word = str::to_owned;
    match event {
        StockEvent::Reserved { .. } => vec![("reserve", word("reserved"))],
        StockEvent::Refused { sold_out, .. } => vec![("reserve", format!("sold_out:{sold_out}"))],
        StockEvent::Released { lines, .. } if lines.is_empty() => vec![("release", word("nothing"))],
        StockEvent::Released { .. } => vec![("release", word("released"))],
        StockEvent::Blocked { .. } => vec![("release", word("nothing")), ("reserve", word("blocked"))],
        StockEvent::Committed { .. } => vec![("commit", word("committed"))],
        StockEvent::Restocked { .. } => Vec::new(),
    }
}

/// Reads one of those rows into the order.
///
/// # Errors
/// When the row says nothing that was ever written.
pub fn read_barrier(order: &mut OrderStock, operation: &str, outcome: &str) -> Result<(), StoreError> {
    match (operation, outcome) {
        ("reserve", "reserved") => order.reserve = Some(ReserveOutcome::Reserved),
        ("reserve", "blocked") => order.reserve = Some(ReserveOutcome::Blocked),
        ("release", "released") => order.release = Some(ReleaseOutcome::Released),
        ("release", "nothing") => order.release = Some(ReleaseOutcome::Nothing),
        ("commit", "committed") => order.committed = true,
        _ => {
            let product = outcome.strip_prefix("sold_out:").filter(|_| operation == "reserve");
            let product = product.and_then(|id| id.parse().ok());
            let product = product.ok_or_else(|| corrupt(format!("order {}: {operation} is {outcome}", order.order_id)));
            order.reserve = Some(ReserveOutcome::SoldOut(ProductId(product?)));
        }
    }
    Ok(())
}

/// An event's row in the outbox.
///
/// # Errors
/// Never, as far as is known: the JSON is of our own making.
pub fn outbox_row(event: &StockEvent, version: i64, at: Timestamp) -> Result<Event, StoreError> {
    let (aggregate, kind, data) = (event.aggregate(), event.kind().to_owned(), serde_json::to_string(event)?);
    Ok(Event { aggregate, version, kind, data, occurred_at: at, traceparent: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_barrier_reads_as_it_was_written() {
        let order_id = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let (none, some) = (Vec::new(), vec![line(7, 2).unwrap()]);
        let reserved = StockEvent::Reserved { order_id, lines: some.clone() };
        for past in [
            vec![StockEvent::Refused { order_id, lines: some.clone(), sold_out: ProductId(7) }],
            vec![StockEvent::Blocked { order_id, lines: none.clone() }],
            vec![reserved.clone(), StockEvent::Released { order_id, lines: some.clone() }],
            vec![reserved, StockEvent::Committed { order_id, lines: some }],
        ] {
            let (mut applied, mut read) = (OrderStock::new(order_id), OrderStock::new(order_id));
            for event in past {
                applied.apply(&event);
                for (operation, outcome) in barrier(&event) {
                    read_barrier(&mut read, operation, &outcome).unwrap();
                }
            }
            assert_eq!(OrderStock { lines: applied.lines.clone(), ..read }, applied);
        }
    }

    #[test]
    fn rubbish_is_no_barrier() {
        let mut order = OrderStock::new("00000000-0000-0000-0000-000000000001".parse().unwrap());
        for (operation, outcome) in [("reserve", "rubbish"), ("reserve", "sold_out:x"), ("release", "sold_out:1")] {
            assert!(matches!(read_barrier(&mut order, operation, outcome), Err(StoreError::Corrupt(_))));
        }
        assert!(matches!(line(1, 0), Err(StoreError::Corrupt(_))));
    }
}
