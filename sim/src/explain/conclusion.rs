//! One paragraph: why the order ended as it did.

use kernel::Timestamp;

use super::facts::{Attempt, Behind, Facts, Happened};
use super::takeover::take_overs;
use super::words::{self, Skus, span};
use audit::witness::Record;

/// Pure, like everything that is told.
pub fn conclude(facts: &Facts) -> String {
    let mut said = vec![match facts.order.status.as_str() {
        "CONFIRMED" => confirmed(facts),
        "CANCELLED" => cancelled(facts, "Cancelled"),
        "CANCELLING" => cancelled(facts, "Being cancelled"),
        "NEEDS_OPERATOR" => for_operator(facts),
        status => under_way(facts, status),
    }];
    said.extend(undone(facts));
    said.extend(troubles(facts));
    said.extend(told(facts));
    if let Some(behind) = &facts.behind {
        let held = contradictions(facts, behind);
        if !held.is_empty() {
            said.push(format!("But the books contradict each other: {}; see `shopctl audit`.", held.join(", ")));
        }
    }
    said.join(" ")
}

fn event<'a>(facts: &'a Facts, kind: &str) -> Option<&'a Happened> {
    facts.events.iter().find(|event| event.kind == kind)
}

fn attempts(facts: &Facts) -> &[Attempt] {
    facts.attempts.as_deref().unwrap_or_default()
}

/// How long after its creation.
fn after(facts: &Facts, at: Timestamp) -> String {
    format!("{} after its creation", span(at.since(facts.order.created_at)))
}

fn confirmed(facts: &Facts) -> String {
    let at = event(facts, "OrderConfirmed").map(|event| after(facts, event.at)).unwrap_or_default();
    let total = facts.order.total;
    if event(facts, "StockCommitted").is_some() {
        return format!("Confirmed {at}: the stock was held, {total} were captured, and the units are sold.");
    }
    let tried = attempts(facts).iter().filter(|attempt| attempt.step == "commit_stock").count();
    format!(
        "Confirmed {at}: the stock was held and {total} were captured. The units are not yet noted as sold: \
         commit_stock was tried {tried} times and is repeated until it succeeds."
    )
}

fn cancelled(facts: &Facts, verb: &str) -> String {
    let started = event(facts, "CancellationStarted");
    let ended = event(facts, "OrderCancelled").or(started);
    let at = ended.map(|event| after(facts, event.at)).unwrap_or_default();
    let reason = match facts.order.cancel_reason.as_deref() {
        Some("sold_out") => format!("because {} sold out", sold_out(facts)),
        Some("declined") => format!("because the bank declined the charge of {}{}", facts.order.total, bank(facts)),
        Some("unavailable") => format!("because {}", unavailable(facts, started)),
        Some("by_client") => {
            let before = started.and_then(|start| {
                let earlier = facts.events.iter().rev().filter(|event| event.version < start.version);
                earlier.filter_map(|event| words::status_after(&event.kind)).next()
            });
            format!(
                "because its client asked for it{}",
                before.map(|s| format!(" while it was {s}")).unwrap_or_default()
            )
        }
        Some(other) => format!("because of {other}"),
        None => "for a reason that is not recorded".into(),
    };
    format!("{verb} {at} {reason}.")
}

fn sold_out(facts: &Facts) -> String {
    let skus = Skus::of(&facts.order.lines);
    let refused = facts.behind.iter().flat_map(|behind| &behind.inventory).find(|event| event.kind == "StockRefused");
    match refused.and_then(|event| event.data["sold_out"].as_i64()) {
        Some(product) => format!("{} was", skus.name(product)),
        None => "what it asked for was".into(),
    }
}

/// What the bank said, in parentheses.
fn bank(facts: &Facts) -> String {
    let failed = facts.behind.iter().flat_map(|behind| &behind.payment).find(|event| event.kind == "PaymentFailed");
    let reason =
        failed.and_then(|event| event.data["reason"].as_str()).filter(|reason| !["", "declined"].contains(reason));
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

/// Which step could not be done, and what stood in its way.
fn unavailable(facts: &Facts, started: Option<&Happened>) -> String {
    let Some(last) = attempts(facts).iter().rfind(|attempt| {
        matches!(attempt.step.as_str(), "reserve_stock" | "process_payment") && attempt.outcome != "done"
    }) else {
        return "a service that it needs was unavailable".into();
    };
    let (from, until) = (last.started_at, started.map_or(last.ended_at(), |event| event.at));
    let tried = attempts(facts).iter().filter(|attempt| attempt.step == last.step).count();
    let failed = facts.behind.iter().flat_map(|behind| &behind.payment).find(|event| event.kind == "PaymentFailed");
    let why = match (last.outcome.as_str(), failed) {
        ("refused", Some(failed)) => match failed.data["reason"].as_str() {
            Some("expired") => "its fate was still open when its time was over, and it was voided".into(),
            Some("too_late") => "the charge reached the acquirer too late".into(),
            reason => format!("the charge failed: {}", reason.unwrap_or("no reason is recorded")),
        },
        ("refused", None) => match breaker_at(facts, until) {
            Some(state) if state != "closed" => format!("the circuit breaker was {state} and refused the charge"),
            _ => "the payment service refused to try".into(),
        },
        _ => {
            let said =
                last.detail.as_ref().map(|detail| format!(", the last one with \"{detail}\"")).unwrap_or_default();
            let attempts = if tried == 1 { "1 attempt".into() } else { format!("{tried} attempts") };
            format!("{attempts} brought no answer{said}")
        }
    };
    format!("{} could not be done: {why}{}", last.step, during(facts, from, until))
}

/// Which faults were active at some moment from `from` to `until`.
fn during(facts: &Facts, from: Timestamp, until: Timestamp) -> String {
    let active = facts.faults.iter().filter(|fault| fault.touches(from, until));
    let active: Vec<String> =
        active.map(|fault| format!("{} ({} of {})", fault.name, fault.kind, fault.target)).collect();
    if active.is_empty() { String::new() } else { format!(" while {} was active", active.join(" and ")) }
}

fn breaker_at(facts: &Facts, at: Timestamp) -> Option<&str> {
    let last = facts.breaker.iter().rfind(|one| one.at_us <= at.as_micros())?;
    Some(last.to.as_str())
}

fn for_operator(facts: &Facts) -> String {
    let asked = facts.events.iter().rfind(|event| event.kind == "OperatorRequested");
    let why = asked.and_then(|event| event.data["why"].as_str()).unwrap_or("the reason is not recorded");
    let id = &facts.order.id;
    format!("Waits for an operator: {why}. Mend the cause, then let it go on with `shopctl orders retry {id}`.")
}

fn under_way(facts: &Facts, status: &str) -> String {
    let last = attempts(facts).last().filter(|attempt| !attempt.is_decided());
    let last = last.map(|attempt| format!("; {} #{} ended {}", attempt.step, attempt.number, attempt.outcome));
    let due = facts.order.due_at.map(|due| format!("; it is looked at again at {due}")).unwrap_or_default();
    format!("Not at its end yet: {status}{}{due}.", last.unwrap_or_default())
}

/// What the compensations came to.
fn undone(facts: &Facts) -> Option<String> {
    let start = event(facts, "CancellationStarted")?;
    let due = start.data["compensate"].as_array().map_or(0, Vec::len);
    if due == 0 {
        return Some("Nothing had been held or charged, so nothing had to be undone.".into());
    }
    let flag = |event: &Happened, field: &str| event.data[field].as_bool().unwrap_or_default();
    let money = event(facts, "PaymentRefunded").map(|done| {
        if flag(done, "money_returned") {
            format!("{} went back to the customer", facts.order.total)
        } else {
            "no money had moved".into()
        }
    });
    let stock = event(facts, "StockReleased").map(|done| {
        if flag(done, "had_reservation") { "the units went back to the stock" } else { "no units had been held" }
            .to_owned()
    });
    let done: Vec<String> = [money, stock].into_iter().flatten().collect();
    let open = if done.len() < due { " and something is still to be undone" } else { "" };
    if done.is_empty() {
        return Some("Nothing of it is undone yet.".into());
    }
    Some(format!("Undone: {}{open}.", done.join(", ")))
}

/// Retries and silences on the way.
fn troubles(facts: &Facts) -> Vec<String> {
    let mut said = Vec::new();
    let made = attempts(facts);
    for step in ["reserve_stock", "process_payment", "commit_stock", "refund_payment", "release_stock"] {
        let of: Vec<&Attempt> = made.iter().filter(|attempt| attempt.step == step).collect();
        let open = of.iter().filter(|attempt| !attempt.is_decided()).count();
        if let (Some(first), Some(last)) = (of.first(), of.last())
            && of.len() > 1
        {
            let time = span(last.ended_at().since(first.started_at));
            let during = during(facts, first.started_at, last.ended_at());
            said.push(format!(
                "{step} took {} attempts in {time}, {open} of them without a final answer{during}.",
                of.len()
            ));
        }
    }
    for taken in take_overs(facts).iter().filter(|taken| taken.lost_owner) {
        said.push(format!(
            "Its owner fell silent after {}{}; {} later recovery took it over under epoch {}.",
            taken.after.step,
            during(facts, taken.after.ended_at(), taken.by.started_at),
            span(taken.silence),
            taken.by.epoch
        ));
    }
    said
}

/// What its client knows of the end.
fn told(facts: &Facts) -> Option<String> {
    let client = facts.client.as_ref()?;
    let seen = client.seen.iter().rev().find_map(|(_, record)| match record {
        Record::Reply { order: Some(order), .. } | Record::Saw { order, .. } => Some(order),
        _ => None,
    });
    Some(match seen {
        Some(seen) if seen.status == facts.order.status => "Its client has been told.".into(),
        Some(seen) => format!("What its client saw last is {}.", seen.status),
        None => "Its client was never told of it.".into(),
    })
}

fn contradictions(facts: &Facts, behind: &Behind) -> Vec<&'static str> {
    let lines = |kind: &str| behind.ledger.iter().filter(|line| line.kind == kind).count();
    let charged = lines("capture") > lines("refund");
    let by_staff = behind.payment.iter().any(|event| event.kind == "PaymentRefundRequested");
    let state = |state: &str| behind.reservations.iter().any(|reservation| reservation.state == state);
    let mut held = Vec::new();
    match facts.order.status.as_str() {
        "CONFIRMED" if !charged && !by_staff => held.push("it is confirmed, but the acquirer holds no capture"),
        "CANCELLED" if charged => held.push("it is cancelled, but the acquirer has kept the money"),
        _ => {}
    }
    match facts.order.status.as_str() {
        "CANCELLED" if state("held") || state("sold") => held.push("it is cancelled, but units are still held or sold"),
        "CONFIRMED" if state("released") => held.push("it is confirmed, but its units went back"),
        _ => {}
    }
    held
}
