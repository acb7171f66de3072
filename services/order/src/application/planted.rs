//! PLANTED BUGS of the order service, for tests that they are found: what each of them does.
//!
//! The places that it happens in ask [`Planted`]. Two bugs are of the store and stand beside its SQL, two of
//! the relay's outbox and stand beside that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use kernel::{OrderId, Timestamp};
use tokio::time::sleep;

use super::ports::Stored;
use crate::domain::order::TENANT;
use crate::domain::saga::Done;
use crate::domain::{CancelReason, Order, OrderEvent, Outcome, Reply, Status, Step, Tries};

/// What `planted_bug` can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlantedBug {
    /// An abort lists nothing to undo.
    CompensateNothing,
    /// An order whose card is declined ends at once: "nothing was paid, so there is nothing to undo".
    DeclineKeepsStock,
    /// A payment that is not answered has failed, and what has failed need not be given back.
    TimeoutMeansFailed,
    /// A compensation that was tried twice counts as done.
    CompensateOnce,
    /// No due time for an order that is confirmed: only its own driver ever sells its units.
    ForgetConfirmed,
    /// An order that is picked up again asks under a key of its own, not under the order's id.
    NewKeyOnResume,
    /// A cancel does not look whether the order is confirmed.
    CancelConfirmed,
    /// An order's id is drawn for each request, not derived from the idempotency key.
    IdPerRequest,
    /// A commit reads version and epoch just before it writes them, so that whoever writes last wins.
    LastWriterWins,
    /// A commit and a postponement ask for the version alone, not for the epoch.
    IgnoreEpoch,
    /// The relay marks its rows first and publishes them afterwards.
    RelayMarksFirst,
    /// The relay takes what is younger than what it last published, whether or not anything is left behind.
    RelayTimeCursor,
    /// Every step waits for what a hash map's order says: a run differs from its repetition.
    HashOrder,
    /// Every step waits for what the machine's clock says: a run differs from its repetition.
    SystemClock,
}

/// The bug that is planted, if one is.
#[derive(Debug, Default)]
pub struct Planted {
    bug: Option<PlantedBug>,
    requests: AtomicU64,
}

impl Planted {
    pub fn new(bug: Option<PlantedBug>) -> Self {
        Self { bug, requests: AtomicU64::new(0) }
    }

    fn is(&self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    /// The id of an order that is to be placed.
    pub fn id_of_request(&self, proper: OrderId, order: impl FnOnce(&str) -> OrderId) -> OrderId {
        if !self.is(PlantedBug::IdPerRequest) {
            return proper;
        }
        order(&format!("request {}", self.requests.fetch_add(1, Ordering::Relaxed)))
    }

    /// What a cancel makes of the order that it has read.
    pub fn to_cancel(&self, mut stored: Stored) -> Stored {
        if self.is(PlantedBug::CancelConfirmed) && stored.order.status == Status::Confirmed {
            stored.order.status = Status::Paid;
        }
        stored
    }

    /// The order as participants are asked about it.
    pub fn asked(&self, stored: &Stored) -> Order {
        let mut order = stored.order.clone();
        if self.is(PlantedBug::NewKeyOnResume) && stored.epoch > 1 {
            order.id = OrderId::derive(TENANT, order.user, &format!("{} again {}", order.id, stored.epoch));
        }
        order
    }

    /// What is understood of a reply.
    pub fn reply(&self, step: Step, tries: Tries, reply: Reply) -> Reply {
        let lost = reply.outcome() == Outcome::Unknown;
        if self.is(PlantedBug::TimeoutMeansFailed) && step == Step::ProcessPayment && lost {
            return Reply::Refused(CancelReason::Declined);
        }
        if self.is(PlantedBug::CompensateOnce) && step.is_compensation() && lost && tries.attempts > 0 {
            return Reply::Done(Done::Plain);
        }
        reply
    }

    /// What is committed of these events.
    pub fn events(&self, mut events: Vec<OrderEvent>) -> Vec<OrderEvent> {
        for event in &mut events {
            if let OrderEvent::CancellationStarted { compensate, reason } = event
                && (self.is(PlantedBug::CompensateNothing)
                    || self.is(PlantedBug::DeclineKeepsStock) && *reason == CancelReason::Declined)
            {
                compensate.clear();
            }
        }
        events
    }

    /// When an order that has become so is due.
    pub fn due_at(&self, order: &Order, proper: Option<Timestamp>) -> Option<Timestamp> {
        proper.filter(|_| !(self.is(PlantedBug::ForgetConfirmed) && order.status == Status::Confirmed))
    }

    /// What a step waits for that nothing in the world decides: up to 7 ms.
    pub async fn wait(&self) {
        let millis = match self.bug {
            Some(PlantedBug::HashOrder) => first_of_a_hash_map(),
            Some(PlantedBug::SystemClock) => system_clock_us() % 8,
            _ => return,
        };
        sleep(Duration::from_millis(millis)).await;
    }
}

#[expect(clippy::disallowed_types, reason = "this is the bug")]
fn first_of_a_hash_map() -> u64 {
    let keys: std::collections::HashMap<u64, ()> = (0..8).map(|key| (key, ())).collect();
    keys.into_keys().next().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "this is the bug")]
fn system_clock_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_micros())
}
