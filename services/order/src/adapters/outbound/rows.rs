//! How orders and their events stand in tables: what the SQL stores have in common.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use chassis::context::Context;
use eventlog::Event;
use kernel::{OrderId, Timestamp};
use store::StoreError;

use crate::application::ports::{After, Attempt, Commit, NewOrder, News};
use crate::domain::{Order, OrderEvent, Outcome, Status, Step};

pub const DATABASE: &str = "order_db";
pub const EVENTS: &str = "order_events";

/// Reads an event as it is stored.
///
/// # Errors
/// `Corrupt` when this program does not know it.
pub fn decode(event: &Event) -> Result<OrderEvent, StoreError> {
    let text = format!(r#"{{"kind":{},"data":{}}}"#, serde_json::Value::from(event.kind.as_str()), event.data);
    Ok(serde_json::from_str(&text)?)
}

/// Events as they are stored, numbered from the version after `last`.
pub fn encode(id: OrderId, last: i64, events: &[OrderEvent], at: Timestamp) -> Result<Vec<Event>, StoreError> {
    let encoded = events.iter().zip(last + 1..).map(|(event, version)| {
        let mut tagged = serde_json::to_value(event)?;
        let data = tagged.get_mut("data").map(serde_json::Value::take).unwrap_or_default();
        Ok(Event {
            aggregate: id.to_string(),
            version,
            kind: event.kind().to_owned(),
            data: data.to_string(),
            occurred_at: at,
            traceparent: None,
        })
    });
    encoded.collect()
}

/// The order that its stored events describe.
pub fn fold(id: OrderId, events: &[Event]) -> Result<Order, StoreError> {
    let events = events.iter().map(|event| Ok((decode(event)?, event.occurred_at)));
    let events: Vec<(OrderEvent, Timestamp)> = events.collect::<Result<_, StoreError>>()?;
    Order::fold(id, events).map_err(|error| StoreError::Corrupt(format!("order {id}: {error}")))
}

/// The order that a new one begins as.
pub fn begun(new: &NewOrder) -> Result<Order, StoreError> {
    Order::fold(new.id, [(new.created.clone(), new.at)]).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The creation as an attempt: the commit that stores it is the step.
pub const fn creation(at: Timestamp) -> Attempt {
    Attempt { step: Step::Create, number: 1, outcome: Outcome::Done, started_at: at, took: None, detail: None }
}

pub fn lines(order: &Order) -> Result<String, StoreError> {
    Ok(serde_json::to_string(&order.lines)?)
}

/// The trace of the current request.
pub fn traceparent() -> Option<String> {
    Context::current().trace.map(|trace| trace.to_string())
}

/// What the rows behind a place in a listing are greater than; without an id, than every id of that time.
pub fn behind(after: After) -> (i64, Option<OrderId>) {
    match after.id {
        Some(id) => (after.at.as_micros(), Some(id)),
        None => (after.at.as_micros().saturating_add(1), None),
    }
}

pub fn micros(took: Duration) -> i64 {
    i64::try_from(took.as_micros()).unwrap_or(i64::MAX)
}

/// A stored text as the value that it stands for.
pub fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Corrupt(error.to_string()))
}

/// What news is to an order that does not wait for it, by its row.
pub fn unawaited(status: &str, is_due: bool) -> Result<News, StoreError> {
    let status: Status = parsed(status)?;
    Ok(if status.has_ended() && !is_due { News::AfterEnd } else { News::NotAwaited })
}

/// The answer to a commit that came under another version or epoch than the order's.
pub fn overtaken(commit: &Commit) -> StoreError {
    StoreError::Conflict(format!("order {} is not at version {}", commit.id, commit.expected_version))
}

/// The answer to a postponement under another epoch than the order's.
pub fn not_its_owner(id: OrderId) -> StoreError {
    StoreError::Conflict(format!("order {id} has another owner"))
}

/// The answer to a retry of an order that is another's or at its end.
pub fn not_to_retry(id: OrderId) -> StoreError {
    StoreError::Conflict(format!("order {id} has another owner or nothing left to do"))
}

/// A due order that cannot be read is left alone until somebody has looked at it; the others go on.
pub fn not_to_be_driven(id: OrderId, error: &StoreError) {
    tracing::error!(order = %id, %error, "a due order cannot be driven");
}
