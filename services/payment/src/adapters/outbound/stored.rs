//! What both stores have in common: how a row is believed, and what a command makes of a payment.

use kernel::{Money, OrderId, Timestamp};
use store::StoreError;

use crate::domain::payment::{Command, Event, Payment, Refusal, Terms, decide};

/// The name of this service's database.
pub const DATABASE: &str = "payment_db";
/// The outbox table in it.
pub const OUTBOX: &str = "payment_events";

/// A row as a database gives it, before it is believed.
pub struct Stored {
    pub order: String,
    pub user: Option<String>,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub state: String,
    pub reference: String,
    pub reason: String,
    pub not_after: Option<i64>,
    pub refunded_by: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
}

impl Stored {
    /// # Errors
    /// When the row is no payment.
    pub fn into_payment(self) -> Result<Payment, StoreError> {
        let corrupt = |what: String| StoreError::Corrupt(format!("payment {}: {what}", self.order));
        let terms = match (&self.user, self.amount_minor, &self.currency, self.not_after) {
            (Some(user), Some(minor), Some(currency), Some(not_after)) => Some(Terms {
                user: user.parse().map_err(|error| corrupt(format!("{error}")))?,
                amount: Money::new(minor, currency.parse().map_err(|error| corrupt(format!("{error}")))?),
                not_after: Timestamp::from_micros(not_after),
            }),
            _ => None,
        };
        Ok(Payment {
            order: self.order.parse().map_err(|error| corrupt(format!("{error}")))?,
            terms,
            state: self.state.parse().map_err(&corrupt)?,
            reference: self.reference,
            reason: self.reason,
            refunded_by: self
                .refunded_by
                .map(|staff| staff.parse().map_err(|error| corrupt(format!("{error}"))))
                .transpose()?,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}

/// A payment after a command, and the outbox rows to be written with it; none when it is as before.
pub struct Step {
    pub payment: Payment,
    pub rows: Vec<eventlog::Event>,
}

/// What `command` makes of the payment as it stands; `next_version` is asked only if there are events.
///
/// # Errors
/// When `next_version` fails, or the events cannot be applied.
pub fn step(
    mut payment: Option<Payment>,
    command: &Command,
    next_version: impl FnOnce() -> Result<i64, StoreError>,
) -> Result<Result<Step, Refusal>, StoreError> {
    let order = command.order;
    let events = match decide(payment.as_ref(), command) {
        Ok(events) => events,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut rows = Vec::with_capacity(events.len());
    if !events.is_empty() {
        for (version, event) in (next_version()?..).zip(&events) {
            let next = Payment::apply(payment.as_ref(), event);
            payment = Some(next.map_err(|error| StoreError::Corrupt(format!("payment {order}: {error}")))?);
            rows.push(outbox_row(order, version, event)?);
        }
    }
    Ok(payment.map(|payment| Step { payment, rows }).ok_or(Refusal::Unknown))
}

fn outbox_row(order: OrderId, version: i64, event: &Event) -> Result<eventlog::Event, StoreError> {
    Ok(eventlog::Event {
        aggregate: order.to_string(),
        version,
        kind: event.kind.as_str().to_owned(),
        data: serde_json::to_string(&event.facts)?,
        occurred_at: event.at,
        traceparent: None,
    })
}
