//! Rules about what customers were told, for one order.

use std::collections::{BTreeMap, BTreeSet};

use crate::books::{Notices, OrderBook};

/// What customers have to be told, and where: kept here and not asked of the service that is judged.
const NEWS: &[(&str, &str, &[&str])] = &[
    ("ORDERS", "OrderConfirmed", &["email", "sms"]),
    ("ORDERS", "OrderCancelled", &["email"]),
    ("PAYMENTS", "PaymentFailed", &["email"]),
];

/// (event id, kind, channel) of every message that the order's events call for.
fn due(book: &OrderBook) -> BTreeMap<(String, &'static str), &'static str> {
    let mut due = BTreeMap::new();
    for (stream, events) in [("ORDERS", &book.stream), ("PAYMENTS", &book.payment_stream)] {
        for event in events {
            if let Some((_, kind, channels)) = NEWS.iter().find(|(of, kind, _)| *of == stream && *kind == event.kind) {
                due.extend(channels.iter().map(|channel| ((format!("{stream}/{}", event.id()), *channel), *kind)));
            }
        }
    }
    due
}

/// Looks at every message that was due, every one that was accepted and every event that was given up;
/// answers what is wrong with each.
pub fn told_once(book: &OrderBook, notices: &Notices) -> Vec<Option<String>> {
    let due = due(book);
    let mut accepted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for message in &notices.accepted {
        *accepted.entry((&message.event_id, &message.channel)).or_default() += 1;
    }
    let given_up: BTreeSet<&str> = notices.given_up.iter().map(String::as_str).collect();
    let mut verdicts = Vec::new();
    for ((event, channel), kind) in &due {
        verdicts.push(match accepted.remove(&(event.as_str(), *channel)) {
            Some(1) => None,
            Some(times) => Some(format!("{times} messages were accepted by {channel} for its {kind} ({event})")),
            // Said below, once for the event.
            None if given_up.contains(event.as_str()) => continue,
            None => Some(format!("its customer was not told by {channel} of its {kind} ({event})")),
        });
    }
    for (event, channel) in accepted.keys() {
        verdicts.push(Some(format!(
            "its customer was told by {channel} of {event}, an event that calls for no such message"
        )));
    }
    for event in given_up {
        verdicts.push(Some(format!("the notification service gave up on {event}: it is in DEAD_LETTERS")));
    }
    verdicts
}
