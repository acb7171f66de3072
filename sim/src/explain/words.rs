//! Phrases.

use std::collections::BTreeMap;

use kernel::Money;
use order::domain::Line;
use serde_json::Value;
use tokio::time::Duration;

use super::facts::{Happened, LedgerLine, Message};

/// Most lines that are named one by one.
const LINES_NAMED: usize = 3;
/// A message is named by its subject or its beginning, up to here.
const SUBJECT_CHARACTERS_MAX: usize = 60;

/// A time that is short for its size: `850 µs`, `12.3 ms`, `4.02 s`, `3 min 20 s`.
pub fn span(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.2} s", micros as f64 / 1e6),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

fn listed(items: impl IntoIterator<Item = (u64, String)>) -> String {
    let items: Vec<String> = items.into_iter().map(|(quantity, name)| format!("{quantity} × {name}")).collect();
    match items.len() {
        0 => "nothing".into(),
        1..=LINES_NAMED => items.join(", "),
        more => format!("{} and {} more lines", items[..LINES_NAMED].join(", "), more - LINES_NAMED),
    }
}

/// `2 × LAMP, 1 × CHAIR`.
pub fn units(lines: &[Line]) -> String {
    listed(lines.iter().map(|line| (u64::from(line.quantity.get()), line.sku.to_string())))
}

/// The same of what a client asks for.
pub fn items(items: &[audit::witness::Item]) -> String {
    listed(items.iter().map(|item| (u64::from(item.quantity), item.sku.clone())))
}

/// The products of an order by the names that people know.
pub struct Skus(BTreeMap<i64, String>);

impl Skus {
    pub fn of(lines: &[Line]) -> Self {
        Self(lines.iter().map(|line| (line.product_id.0, line.sku.to_string())).collect())
    }

    pub fn name(&self, product: i64) -> String {
        self.0.get(&product).cloned().unwrap_or_else(|| format!("product {product}"))
    }

    /// The lines of an inventory event.
    fn units(&self, data: &Value) -> String {
        let lines = data["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        listed(lines.iter().map(|line| {
            (line["quantity"].as_u64().unwrap_or_default(), self.name(line["product_id"].as_i64().unwrap_or_default()))
        }))
    }
}

/// Whom a step asks, and for what.
pub fn asks(step: &str, lines: &[Line], total: Money) -> String {
    match step {
        "reserve_stock" => format!("asks the inventory to hold {}", units(lines)),
        "process_payment" => format!("asks the payment service for {total}"),
        "commit_stock" => "asks the inventory to sell what it holds".into(),
        "refund_payment" => "asks the payment service to block the charge, or to give it back".into(),
        "release_stock" => "asks the inventory to let go of what it may hold".into(),
        other => format!("tries {other}"),
    }
}

/// The state that an order's event leads to, if it changes it.
pub fn status_after(event: &str) -> Option<&'static str> {
    Some(match event {
        "OrderCreated" => "PENDING",
        "StockReserved" => "RESERVED",
        "PaymentProcessed" => "PAID",
        "OrderConfirmed" => "CONFIRMED",
        "CancellationStarted" | "OperatorResumed" => "CANCELLING",
        "OperatorRequested" => "NEEDS_OPERATOR",
        "OrderCancelled" => "CANCELLED",
        _ => return None,
    })
}

/// The step whose success an order's event says.
pub fn step_of(event: &str) -> Option<&'static str> {
    Some(match event {
        "OrderCreated" => "create",
        "StockReserved" => "reserve_stock",
        "PaymentProcessed" => "process_payment",
        "OrderConfirmed" => "confirm",
        "StockCommitted" => "commit_stock",
        "PaymentRefunded" => "refund_payment",
        "StockReleased" => "release_stock",
        "OrderCancelled" => "cancel",
        _ => return None,
    })
}

/// What an order's event means, after its step's name.
pub fn means(event: &Happened) -> String {
    let says = |field: &str| event.data[field].as_bool().unwrap_or_default();
    match event.kind.as_str() {
        "StockCommitted" => "the units are sold".into(),
        "PaymentRefunded" if says("money_returned") => "the money went back".into(),
        "PaymentRefunded" => "no money had moved".into(),
        "StockReleased" if says("had_reservation") => "the units went back".into(),
        "StockReleased" => "nothing was held".into(),
        kind => status_after(kind).unwrap_or(kind).to_owned(),
    }
}

/// The steps that undo a cancelled order, as its decision lists them.
pub fn to_undo(event: &Happened) -> String {
    let due = event.data["compensate"].as_array().map(Vec::as_slice).unwrap_or_default();
    let due: Vec<&str> = due.iter().filter_map(Value::as_str).collect();
    if due.is_empty() { "nothing to undo".into() } else { format!("to undo: {}", due.join(", ")) }
}

/// Why an order is cancelled, as a reason follows "cancelled".
pub fn because(reason: &str) -> &str {
    match reason {
        "sold_out" => "sold out",
        "declined" => "declined",
        "unavailable" => "a service was unavailable",
        "by_client" => "by its client",
        other => other,
    }
}

/// An event of the payment service.
pub fn payment(event: &Happened) -> String {
    let text = |field: &str| event.data[field].as_str().unwrap_or_default().to_owned();
    let reason = match text("reason").as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    match event.kind.as_str() {
        "PaymentIntended" => "writes down that it is going to charge".into(),
        "PaymentProcessed" => format!("notes the capture ({})", text("reference")),
        "PaymentFailed" => format!("notes that the charge has failed for good{reason}"),
        "PaymentVoided" => "notes that the charge is voided: no money has moved or will".into(),
        "PaymentRefundRequested" => format!("notes that staff ({}) want the money given back", text("refunded_by")),
        "PaymentRefunded" => "notes that the money went back".into(),
        "PaymentBlocked" => "blocks the order's payment: a charge that comes late is refused".into(),
        other => other.to_owned(),
    }
}

/// An event of the inventory.
pub fn inventory(event: &Happened, skus: &Skus) -> String {
    let units = skus.units(&event.data);
    let nothing = event.data["lines"].as_array().is_none_or(Vec::is_empty);
    match event.kind.as_str() {
        "StockReserved" => format!("holds {units}"),
        "StockRefused" => {
            let product = event.data["sold_out"].as_i64().unwrap_or_default();
            format!("refuses {units}: {} is sold out", skus.name(product))
        }
        "StockReleased" if nothing => "held nothing that could go back".into(),
        "StockReleased" => format!("takes {units} back"),
        "StockCommitted" => format!("sells {units}"),
        "StockBlocked" => "held nothing; a reservation that comes late is refused".into(),
        other => other.to_owned(),
    }
}

/// A message that the courier accepted.
pub fn message(message: &Message) -> String {
    let kind = match message.channel.as_str() {
        "email" => "an e-mail",
        "sms" => "an SMS",
        other => other,
    };
    let subject = if message.subject.is_empty() { &message.body } else { &message.subject };
    let mut subject: String = subject.chars().take(SUBJECT_CHARACTERS_MAX).collect();
    if subject.chars().count() == SUBJECT_CHARACTERS_MAX {
        subject.push('…');
    }
    format!("accepts {kind} to {}: {subject}", message.recipient)
}

/// A line of the acquirer's ledger.
pub fn ledger(line: &LedgerLine) -> String {
    let amount = line.amount.map_or_else(|| "the charge".into(), |amount| amount.to_string());
    match line.kind.as_str() {
        "capture" => format!("captures {amount}"),
        "decline" => format!("declines {amount}"),
        "void" => "voids the key: no charge under it will ever succeed".into(),
        "refund" => format!("gives {amount} back"),
        other => format!("{other} {amount}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_for_their_size() {
        for (micros, said) in [(850, "850 µs"), (12_340, "12.3 ms"), (4_020_000, "4.02 s"), (200_000_000, "3 min 20 s")]
        {
            assert_eq!(span(Duration::from_micros(micros)), said);
        }
    }
}
