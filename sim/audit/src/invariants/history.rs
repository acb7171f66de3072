//! Rules about events: that they are all there, that they were possible, and that everything else
//! that is stored follows from them.

use eventlog::Event;
use kernel::OrderId;
use order::adapters::outbound::sqlite::decode;
use order::domain::{Order, OrderEvent, Status};

use crate::books::OrderBook;

/// Versions run from 1 without a gap.
pub fn gap(what: &str, events: &[Event]) -> Option<String> {
    let (event, expected) = events.iter().zip(1..).find(|(event, expected)| event.version != *expected)?;
    Some(format!("{what} event {expected} is missing, {} follows", event.version))
}

fn parsed(events: &[Event]) -> Result<Vec<OrderEvent>, String> {
    events.iter().map(|event| decode(event).map_err(|error| format!("event {}: {error}", event.version))).collect()
}

/// Replays the states alone, without the aggregate's own checks: the first illegal transition.
pub fn illegal_transition(events: &[Event]) -> Option<String> {
    let events = match parsed(events) {
        Ok(events) => events,
        Err(why) => return Some(why),
    };
    let mut status: Option<Status> = None;
    for event in events {
        let next = match event {
            OrderEvent::OrderCreated { .. } => Status::Pending,
            OrderEvent::StockReserved {} => Status::Reserved,
            OrderEvent::PaymentProcessed { .. } => Status::Paid,
            OrderEvent::OrderConfirmed { .. } => Status::Confirmed,
            OrderEvent::CancellationStarted { .. } | OrderEvent::OperatorResumed {} => Status::Cancelling,
            OrderEvent::OrderCancelled { .. } => Status::Cancelled,
            OrderEvent::OperatorRequested { .. } => Status::NeedsOperator,
            OrderEvent::StockCommitted {} | OrderEvent::PaymentRefunded { .. } | OrderEvent::StockReleased { .. } => {
                continue;
            }
        };
        let legal = match status {
            None => next == Status::Pending,
            Some(before) => before.may_become(next),
        };
        if !legal {
            return Some(format!("went from {} to {next}", status.map_or("nothing", Status::as_str)));
        }
        status = Some(next);
    }
    None
}

/// In which state the abort was decided, and for what reason; `None` for an order that was not aborted.
pub fn cancellation(events: &[Event]) -> Option<(String, String)> {
    let mut status = Status::Pending;
    for event in parsed(events).ok()? {
        match event {
            OrderEvent::StockReserved {} => status = Status::Reserved,
            OrderEvent::PaymentProcessed { .. } => status = Status::Paid,
            OrderEvent::CancellationStarted { reason, .. } => {
                return Some((status.as_str().to_lowercase(), reason.to_string()));
            }
            _ => {}
        }
    }
    None
}

/// The order's row is the fold of its events.
pub fn row_against_events(book: &OrderBook) -> Option<String> {
    let row = &book.row;
    let Ok(id) = row.id.parse::<OrderId>() else { return Some("its id is not one".into()) };
    let events = match parsed(&book.events) {
        Ok(events) => events,
        Err(why) => return Some(why),
    };
    let timed = events.into_iter().zip(book.events.iter().map(|event| event.occurred_at));
    let order = match Order::fold(id, timed) {
        Ok(order) => order,
        Err(why) => return Some(format!("its events do not fold: {why}")),
    };
    let reason = order.cancel_reason.map(|reason| reason.as_str());
    let lines = serde_json::to_string(&order.lines).unwrap_or_default();
    let pairs = [
        ("status", order.status.as_str().to_owned(), row.status.clone()),
        ("reason", reason.unwrap_or_default().to_owned(), row.cancel_reason.clone().unwrap_or_default()),
        ("version", order.version.to_string(), row.version.to_string()),
        ("total", order.total.minor.to_string(), row.total_minor.to_string()),
        ("currency", order.total.currency.to_string(), row.currency.clone()),
        ("lines", lines, row.lines.clone()),
        ("stock_committed", order.stock_committed.to_string(), row.stock_committed.to_string()),
        ("user", order.user.to_string(), row.user_id.clone()),
    ];
    let (what, folded, stored) = pairs.into_iter().find(|(_, folded, stored)| folded != stored)?;
    Some(format!("its events say {what} {folded}, its row says {stored}"))
}

/// The payment's state is what its last event made it.
pub fn payment_against_events(book: &OrderBook) -> Option<String> {
    let state = book.payment.as_ref().map_or("nothing", |payment| payment.state.as_str());
    let by_events = match book.payment_events.last().map(|event| event.kind.as_str()) {
        None => "nothing",
        Some("PaymentIntended") => "intent",
        // Staff want the money back: it has not gone back yet.
        Some("PaymentProcessed" | "PaymentRefundRequested") => "captured",
        Some("PaymentFailed") => "declined",
        Some("PaymentVoided") => "voided",
        Some("PaymentRefunded") => "refunded",
        Some("PaymentBlocked") => "blocked",
        Some(other) => return Some(format!("unknown payment event {other}")),
    };
    (state != by_events).then(|| format!("its payment events make {by_events}, its payment is {state}"))
}

/// The reservations are in the state that the last inventory event left them in.
pub fn reservations_against_events(book: &OrderBook) -> Option<String> {
    let by_events = match book.inventory_events.last().map(|event| event.kind.as_str()) {
        None | Some("StockRefused" | "StockBlocked") => None,
        Some("StockReserved") => Some("held"),
        Some("StockReleased") => Some("released"),
        Some("StockCommitted") => Some("sold"),
        Some(other) => return Some(format!("unknown inventory event {other}")),
    };
    let stray = book.reservations.iter().find(|(_, _, state)| Some(state.as_str()) != by_events);
    let (product, units, state) = stray?;
    let expected = by_events.unwrap_or("nothing");
    Some(format!("its inventory events make {expected}, but {units} units of product {product} are {state}"))
}

/// The event log holds the same facts as the store that it was fed from.
pub fn stream_against_store(what: &str, store: &[Event], stream: &[Event]) -> Option<String> {
    let same = |(a, b): (&Event, &Event)| {
        (a.version, &a.kind, &a.data, a.occurred_at) == (b.version, &b.kind, &b.data, b.occurred_at)
    };
    let alike = store.len() == stream.len() && store.iter().zip(stream).all(same);
    (!alike).then(|| format!("{} events in the store, {} in {what}, not the same", store.len(), stream.len()))
}
