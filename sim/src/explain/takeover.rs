//! Changes of the owner who drives an order, as its attempts show them.

use std::time::Duration;

use super::facts::{Attempt, Facts};

/// A change of owner that no command explains.
pub(super) struct TakeOver<'a> {
    /// The first attempt of the new owner.
    pub by: &'a Attempt,
    /// The last one before it.
    pub after: &'a Attempt,
    /// The epoch before.
    pub from: i64,
    /// How long nothing was written.
    pub silence: Duration,
    /// An owner was driving the order; it was not waiting for its due time.
    pub lost_owner: bool,
}

/// An attempt that was postponed is claimed when it is due, which raises the epoch by one, and a
/// client's cancellation or an operator's resumption raises it by one. What is beyond that is told.
pub(super) fn take_overs(facts: &Facts) -> Vec<TakeOver<'_>> {
    let attempts = facts.attempts.as_deref().unwrap_or_default();
    let pairs = attempts.iter().zip(attempts.iter().skip(1));
    let unexplained = pairs.filter_map(|(after, by)| {
        let between = facts.events.iter().filter(|event| event.at >= after.ended_at() && event.at <= by.started_at);
        let (commands, aborts): (Vec<_>, Vec<_>) = between
            .filter(|event| matches!(event.kind.as_str(), "CancellationStarted" | "OperatorResumed"))
            .partition(|event| event.kind == "OperatorResumed" || event.data["reason"] == "by_client");
        let postponed = !after.is_decided() && aborts.is_empty();
        let from = after.epoch + i64::try_from(commands.len()).unwrap_or_default();
        let silence = by.started_at.since(after.ended_at());
        (by.epoch > from + i64::from(postponed)).then_some(TakeOver {
            by,
            after,
            from,
            silence,
            lost_owner: !postponed,
        })
    });
    unexplained.collect()
}
