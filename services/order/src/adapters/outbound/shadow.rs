//! What a rebuild does in either SQL dialect.

use eventlog::Event;
use kernel::{OrderId, UserId};
use store::StoreError;

use super::rows;
use crate::application::ports::Folded;
use crate::domain::order::items_fingerprint;
use crate::domain::saga;

/// Orders whose newest events are not in the log up to a sequence, as far as the outbox knows.
pub const MOVED: &str = "
    SELECT DISTINCT aggregate FROM order_events WHERE published_at IS NULL OR published_seq > $1 ORDER BY aggregate";

/// Orders whose last event from before a time the shadow lacks; orders of which it has more than the store;
/// one of them.
pub const DISAGREEMENT: &str = "
    SELECT coalesce(sum(CASE WHEN folded < settled THEN 1 ELSE 0 END), 0),
           coalesce(sum(CASE WHEN folded > stored THEN 1 ELSE 0 END), 0),
           min(id)
    FROM (SELECT coalesce(e.aggregate, CAST(s.id AS text)) AS id, coalesce(s.version, 0) AS folded,
                 coalesce(e.stored, 0) AS stored, coalesce(e.settled, 0) AS settled
          FROM (SELECT aggregate, max(version) AS stored,
                       max(CASE WHEN occurred_at < $1 THEN version ELSE 0 END) AS settled
                FROM order_events GROUP BY aggregate) AS e
          FULL JOIN orders_shadow AS s ON CAST(s.id AS text) = e.aggregate) AS compared
    WHERE folded < settled OR folded > stored";

/// What no event says, taken over from the rows in use.
pub const REFRESH: &str = "
    UPDATE orders_shadow AS s
    SET epoch = o.epoch, attempt = o.attempt, unknown = o.unknown, broken = o.broken, unknown_step = o.unknown_step,
        traceparent = o.traceparent, due_at = CASE WHEN s.due_at IS NOT NULL THEN coalesce(o.due_at, $1) END
    FROM orders AS o
    WHERE o.id = s.id
      AND (s.epoch, s.attempt, s.unknown, s.broken, s.unknown_step, s.traceparent, s.due_at)
          IS DISTINCT FROM (o.epoch, o.attempt, o.unknown, o.broken, o.unknown_step, o.traceparent, o.due_at)";

/// Orders, those without a row in use, rows that differ, rows without an order.
pub const COMPARE: &str = "
    SELECT count(s.id),
           coalesce(sum(CASE WHEN o.id IS NULL THEN 1 ELSE 0 END), 0),
           coalesce(sum(CASE WHEN o.id IS NOT NULL AND s.id IS NOT NULL
                              AND (o.user_id, o.status, o.cancel_reason, o.total_minor, o.currency, o.lines, o.fingerprint,
                                   o.version, o.stock_committed, o.created_at, o.updated_at)
                                  IS DISTINCT FROM
                                  (s.user_id, s.status, s.cancel_reason, s.total_minor, s.currency, s.lines, s.fingerprint,
                                   s.version, s.stock_committed, s.created_at, s.updated_at)
                             THEN 1 ELSE 0 END), 0),
           coalesce(sum(CASE WHEN s.id IS NULL THEN 1 ELSE 0 END), 0)
    FROM orders_shadow AS s FULL JOIN orders AS o ON o.id = s.id";

/// A row of the projection, as far as events say it.
pub struct Projected {
    pub id: OrderId,
    pub user: UserId,
    pub status: &'static str,
    pub cancel_reason: Option<&'static str>,
    pub total_minor: i64,
    pub currency: String,
    pub lines: String,
    pub fingerprint: String,
    pub version: i64,
    pub stock_committed: bool,
    pub created_at: i64,
    pub updated_at: i64,
    /// Whether there is work to do.
    pub is_due: bool,
    pub traceparent: Option<String>,
}

impl Projected {
    pub fn of(folded: &Folded) -> Result<Self, StoreError> {
        let Folded { order, traceparent } = folded;
        Ok(Self {
            id: order.id,
            user: order.user,
            status: order.status.as_str(),
            cancel_reason: order.cancel_reason.map(|reason| reason.as_str()),
            total_minor: order.total.minor,
            currency: order.total.currency.to_string(),
            lines: rows::lines(order)?,
            fingerprint: items_fingerprint(&order.lines),
            version: order.version,
            stock_committed: order.stock_committed,
            created_at: order.created_at.as_micros(),
            updated_at: order.updated_at.as_micros(),
            is_due: saga::next_step(order).is_some(),
            traceparent: traceparent.clone(),
        })
    }
}

/// The answer to a rebuild while another one is under way.
pub fn under_way() -> StoreError {
    StoreError::Conflict("another rebuild is under way".into())
}

/// The orders that these events make, those of an order beside each other, oldest first.
pub fn folded(events: &[Event]) -> Result<Vec<Folded>, StoreError> {
    let orders = events.chunk_by(|one, other| one.aggregate == other.aggregate).filter_map(|events| {
        let first = events.first()?;
        let order = rows::parsed(&first.aggregate).and_then(|id| rows::fold(id, events));
        Some(order.map(|order| Folded { order, traceparent: first.traceparent.clone() }))
    });
    orders.collect()
}
