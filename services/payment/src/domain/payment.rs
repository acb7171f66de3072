//! The aggregate: one payment for each order.
//!
//! ```text
//! (none) ─ intended → intent ─┬ processed → captured ─ refunded → refunded
//!    │                        │                └ refund requested → captured, and staff are waiting
//!    │                        ├ failed    → declined
//!    │                        └ voided    → voided
//!    └──── blocked → blocked
//! ```
//! [`decide`] turns a command into events, [`Payment::apply`] folds them; what is stored is exactly
//! that fold.

use std::fmt;
use std::str::FromStr;

use kernel::{Money, OrderId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Committed before the provider is called; its fate is open.
    Intent,
    Captured,
    /// No money moved and none will: the bank said no, or the charge came too late.
    Declined,
    /// No money moved and none will: a compensation blocked the charge at the provider.
    Voided,
    /// Captured and given back.
    Refunded,
    /// A compensation came before any intent; a late action is refused.
    Blocked,
}

impl State {
    pub const ALL: [Self; 6] =
        [Self::Intent, Self::Captured, Self::Declined, Self::Voided, Self::Refunded, Self::Blocked];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a payment state"))
    }
}

/// What was agreed when the intent was made; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub user: UserId,
    pub amount: Money,
    /// The provider will not capture after this; from then on an open fate can be resolved.
    pub not_after: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub order: OrderId,
    /// `None` for a blocked payment: nobody ever asked for one.
    pub terms: Option<Terms>,
    pub state: State,
    /// What the provider calls the charge; empty as long as it has not answered.
    pub reference: String,
    /// Why it is declined; empty otherwise.
    pub reason: String,
    /// The member of staff who wanted the money given back; no compensation did it on its own.
    pub refunded_by: Option<UserId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Where the provider says that the key of an order stands. All but `Captured` are final there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settled {
    Captured,
    Declined,
    Voided,
    Refunded,
}

/// The provider's word about an order's charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub settled: Settled,
    pub reference: String,
    /// Why it is declined or voided, where the provider says so.
    pub reason: String,
}

/// How the provider came to be asked; it decides what a void means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The charge itself, or a look at its status.
    Charge,
    /// The time for an answer was over, so the charge was voided.
    Expiry,
    /// The order is being cancelled.
    Compensation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Somebody wants this paid. An order that already has a payment keeps it as it is.
    Intend(Terms),
    /// The provider has spoken.
    Settle(Standing, Cause),
    /// A compensation: blocks the payment unless there is one.
    Block,
    /// Staff want the money of a captured payment given back. Written down before the provider is asked, so that
    /// the books say who wanted it, whatever becomes of the call.
    Return { staff: UserId },
}

impl Action {
    /// The purpose, for metrics and traces.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Intend(_) => "intend",
            Self::Settle(..) => "settle",
            Self::Block => "block",
            Self::Return { .. } => "return",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub order: OrderId,
    pub action: Action,
    pub at: Timestamp,
}

/// What happened. The names are those in the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    PaymentIntended,
    PaymentProcessed,
    PaymentFailed,
    PaymentVoided,
    PaymentRefundRequested,
    PaymentRefunded,
    PaymentBlocked,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::PaymentIntended,
        Self::PaymentProcessed,
        Self::PaymentFailed,
        Self::PaymentVoided,
        Self::PaymentRefundRequested,
        Self::PaymentRefunded,
        Self::PaymentBlocked,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentIntended => "PaymentIntended",
            Self::PaymentProcessed => "PaymentProcessed",
            Self::PaymentFailed => "PaymentFailed",
            Self::PaymentVoided => "PaymentVoided",
            Self::PaymentRefundRequested => "PaymentRefundRequested",
            Self::PaymentRefunded => "PaymentRefunded",
            Self::PaymentBlocked => "PaymentBlocked",
        }
    }

    const fn leads_to(self) -> State {
        match self {
            Self::PaymentIntended => State::Intent,
            Self::PaymentProcessed | Self::PaymentRefundRequested => State::Captured,
            Self::PaymentFailed => State::Declined,
            Self::PaymentVoided => State::Voided,
            Self::PaymentRefunded => State::Refunded,
            Self::PaymentBlocked => State::Blocked,
        }
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a payment event"))
    }
}

/// The body of every payment event, so that one reader understands all kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub order_id: OrderId,
    /// `None` for a blocked payment, as are `amount` and `not_after`.
    pub user_id: Option<UserId>,
    pub amount: Option<Money>,
    pub not_after: Option<Timestamp>,
    /// What the provider calls the charge; empty as long as it has not answered.
    pub reference: String,
    /// Why the payment failed; empty otherwise.
    pub reason: String,
    /// The member of staff who wanted the money given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded_by: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub at: Timestamp,
    pub facts: Facts,
}

/// Why a command was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this order's payment was first asked for by another user or for another amount")]
    OtherTerms,
    /// The provider moved money that the payment says cannot move: a fault of one of the two.
    #[error("the payment is {state}, but the provider says {settled:?}")]
    Contradiction { state: State, settled: Settled },
    #[error("there is no payment to settle")]
    Unknown,
    #[error("the payment is {0}: there is no money to give back")]
    NotCaptured(State),
}

/// An event does not follow from the state before it: a bug, or damaged data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot follow {}", .kind.as_str(), .state.map_or("nothing", State::as_str))]
pub struct IllegalTransition {
    pub state: Option<State>,
    pub kind: Kind,
}

impl Payment {
    /// The payment after `event`.
    ///
    /// # Errors
    /// When that transition is not one of those in the picture above.
    pub fn apply(current: Option<&Self>, event: &Event) -> Result<Self, IllegalTransition> {
        let state = current.map(|payment| payment.state);
        let illegal = || IllegalTransition { state, kind: event.kind };
        let facts = &event.facts;
        match (current, event.kind) {
            (None, Kind::PaymentIntended) => {
                let terms = (facts.user_id.zip(facts.amount)).zip(facts.not_after);
                let ((user, amount), not_after) = terms.ok_or_else(illegal)?;
                Ok(Self::first(event, Some(Terms { user, amount, not_after })))
            }
            (None, Kind::PaymentBlocked) => Ok(Self::first(event, None)),
            (Some(payment), kind) => {
                let legal = matches!(
                    (payment.state, kind),
                    (State::Intent, Kind::PaymentProcessed | Kind::PaymentFailed | Kind::PaymentVoided)
                        | (State::Captured, Kind::PaymentRefundRequested | Kind::PaymentRefunded)
                );
                let twice = kind == Kind::PaymentRefundRequested && payment.refunded_by.is_some();
                let legal = legal && !twice;
                if !legal {
                    return Err(illegal());
                }
                Ok(Self {
                    state: kind.leads_to(),
                    reference: facts.reference.clone(),
                    reason: facts.reason.clone(),
                    refunded_by: facts.refunded_by,
                    updated_at: event.at,
                    ..payment.clone()
                })
            }
            (None, _) => Err(illegal()),
        }
    }

    fn first(event: &Event, terms: Option<Terms>) -> Self {
        Self {
            order: event.facts.order_id,
            terms,
            state: event.kind.leads_to(),
            reference: String::new(),
            reason: String::new(),
            refunded_by: None,
            created_at: event.at,
            updated_at: event.at,
        }
    }

    fn event(&self, kind: Kind, at: Timestamp, reference: &str, reason: &str) -> Event {
        let facts = Facts {
            order_id: self.order,
            user_id: self.terms.map(|terms| terms.user),
            amount: self.terms.map(|terms| terms.amount),
            not_after: self.terms.map(|terms| terms.not_after),
            reference: reference.to_owned(),
            reason: reason.to_owned(),
            refunded_by: self.refunded_by,
        };
        Event { kind, at, facts }
    }
}

/// The events that `command` causes; none when it changes nothing.
///
/// # Errors
/// See [`Refusal`].
pub fn decide(current: Option<&Payment>, command: &Command) -> Result<Vec<Event>, Refusal> {
    match (&command.action, current) {
        (Action::Intend(terms), None) => Ok(vec![first_event(command, Kind::PaymentIntended, Some(terms))]),
        (Action::Intend(terms), Some(payment)) => match payment.terms {
            Some(first) if (first.user, first.amount) != (terms.user, terms.amount) => Err(Refusal::OtherTerms),
            _ => Ok(Vec::new()),
        },
        (Action::Block, None) => Ok(vec![first_event(command, Kind::PaymentBlocked, None)]),
        (Action::Block, Some(_)) => Ok(Vec::new()),
        (Action::Settle(..) | Action::Return { .. }, None) => Err(Refusal::Unknown),
        (Action::Return { staff }, Some(payment)) => give_back(payment, *staff, command.at),
        (Action::Settle(standing, cause), Some(payment)) => settle(payment, standing, *cause, command.at),
    }
}

fn first_event(command: &Command, kind: Kind, terms: Option<&Terms>) -> Event {
    let facts = Facts {
        order_id: command.order,
        user_id: terms.map(|terms| terms.user),
        amount: terms.map(|terms| terms.amount),
        not_after: terms.map(|terms| terms.not_after),
        reference: String::new(),
        reason: String::new(),
        refunded_by: None,
    };
    Event { kind, at: command.at, facts }
}

fn give_back(payment: &Payment, staff: UserId, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    match (payment.state, payment.refunded_by) {
        (State::Captured, None) => {
            let mut event = payment.event(Kind::PaymentRefundRequested, at, &payment.reference, "");
            event.facts.refunded_by = Some(staff);
            Ok(vec![event])
        }
        // Somebody has asked before: it is to be finished, or it is done.
        (State::Captured, Some(_)) | (State::Refunded, _) => Ok(Vec::new()),
        (state, _) => Err(Refusal::NotCaptured(state)),
    }
}

/// The reason of a charge that reached the provider after its time.
pub const TOO_LATE: &str = "too_late";
/// The reason of a payment whose fate was still open when its time was over.
pub const EXPIRED: &str = "expired";

/// Whether a payment failed for this reason without a bank's decision.
pub fn never_asked(reason: &str) -> bool {
    [TOO_LATE, EXPIRED].contains(&reason)
}

fn settle(payment: &Payment, standing: &Standing, cause: Cause, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    let event = |kind, reason: &str| payment.event(kind, at, &standing.reference, reason);
    let (state, settled) = (payment.state, standing.settled);
    match (state, settled) {
        (State::Intent, Settled::Captured) => Ok(vec![event(Kind::PaymentProcessed, "")]),
        // Given back before the capture could be committed: both facts are told, in order.
        (State::Intent, Settled::Refunded) => {
            Ok(vec![event(Kind::PaymentProcessed, ""), event(Kind::PaymentRefunded, "")])
        }
        (State::Captured, Settled::Refunded) => Ok(vec![event(Kind::PaymentRefunded, "")]),
        (State::Intent, Settled::Declined) => {
            let reason = if standing.reason.is_empty() { "declined" } else { &standing.reason };
            Ok(vec![event(Kind::PaymentFailed, reason)])
        }
        (State::Intent, Settled::Voided) => Ok(vec![match cause {
            Cause::Compensation => event(Kind::PaymentVoided, ""),
            Cause::Expiry => event(Kind::PaymentFailed, EXPIRED),
            Cause::Charge if standing.reason == TOO_LATE => event(Kind::PaymentFailed, TOO_LATE),
            Cause::Charge if payment.terms.is_some_and(|terms| at > terms.not_after) => {
                event(Kind::PaymentFailed, EXPIRED)
            }
            // In time and voided all the same: a compensation is under way.
            Cause::Charge => event(Kind::PaymentVoided, ""),
        }]),
        (State::Declined | State::Voided | State::Blocked, Settled::Captured | Settled::Refunded)
        | (State::Captured | State::Refunded, Settled::Declined | Settled::Voided) => {
            Err(Refusal::Contradiction { state, settled })
        }
        // Known already; also a charge's late answer after the refund.
        (State::Captured | State::Refunded, _) | (State::Declined | State::Voided | State::Blocked, _) => {
            Ok(Vec::new())
        }
    }
}

#[cfg(test)]
mod tests;
