//! Rules about money and what it bought, for one order.

use crate::books::OrderBook;

fn count(book: &OrderBook, kind: &str) -> usize {
    book.ledger.iter().filter(|line| line.kind == kind).count()
}

/// What the customer has paid in all, in minor units.
fn net_paid(book: &OrderBook) -> i128 {
    let signed = book.ledger.iter().map(|line| match line.kind.as_str() {
        "capture" => i128::from(line.amount_minor.unwrap_or_default()),
        "refund" => -i128::from(line.amount_minor.unwrap_or_default()),
        _ => 0,
    });
    signed.sum()
}

/// Captured at most once, refunded at most what was captured.
pub fn charged_more_than_once(book: &OrderBook) -> Option<String> {
    let (captures, refunds) = (count(book, "capture"), count(book, "refund"));
    (captures > 1 || refunds > captures).then(|| format!("charged {captures} times, refunded {refunds} times"))
}

/// Whether a member of staff had the money given back: the payment service writes down who, before it asks the
/// acquirer.
fn refunded_by_staff(book: &OrderBook) -> bool {
    book.payment_events.iter().any(|event| event.kind == "PaymentRefundRequested")
}

/// Confirmed if and only if captured, its price, and not given back but by staff; and, once its stock is
/// committed, exactly its units are sold to it.
pub fn confirmed_without_capture(book: &OrderBook) -> Option<String> {
    let row = &book.row;
    let (captures, refunds, paid) = (count(book, "capture"), count(book, "refund"), net_paid(book));
    let by_staff = captures == 1 && refunds == 1 && paid == 0 && refunded_by_staff(book);
    if row.status == "CONFIRMED" && by_staff {
        // The order stays what it is, and so do its units.
        return if row.stock_committed { wrong_units(book) } else { None };
    }
    let captured = captures == 1 && refunds == 0;
    match (row.status.as_str(), captured) {
        ("CONFIRMED", false) => {
            Some(format!("is confirmed, but charged {captures} times and refunded {refunds} times"))
        }
        ("CONFIRMED", true) if paid != i128::from(row.total_minor) => {
            Some(format!("costs {}, but {paid} were charged (minor units)", row.total_minor))
        }
        ("CONFIRMED", true) if row.stock_committed => wrong_units(book),
        // Before the pivot a capture is on its way to be confirmed or given back.
        ("CONFIRMED" | "PAID" | "RESERVED" | "CANCELLING" | "NEEDS_OPERATOR", _) | (_, false) => None,
        (status, true) => Some(format!("is {status}, and its customer is charged")),
    }
}

fn wrong_units(book: &OrderBook) -> Option<String> {
    let lines: Vec<order::domain::Line> = serde_json::from_str(&book.row.lines).ok()?;
    let mut wanted: Vec<(i64, i64)> =
        lines.iter().map(|line| (line.product_id.0, i64::from(line.quantity.get()))).collect();
    wanted.sort_unstable();
    let sold: Vec<(i64, i64)> =
        book.reservations.iter().filter(|(_, _, state)| state == "sold").map(|(id, units, _)| (*id, *units)).collect();
    let stray = book.reservations.len() != sold.len();
    (stray || wanted != sold)
        .then(|| format!("is confirmed, but its reservations are {:?} (product, units, state)", book.reservations))
}

/// A cancelled order cost nothing and keeps nothing.
pub fn cancelled_and_not_undone(book: &OrderBook) -> Option<String> {
    let paid = net_paid(book);
    if paid != 0 {
        return Some(format!("is cancelled, and its customer has paid {paid} (minor units)"));
    }
    let (product, units, state) = book.reservations.iter().find(|(_, _, state)| state != "released")?;
    Some(format!("is cancelled, and {units} units of product {product} are still {state}"))
}

/// The acquirer's ledger, its own summary of the key, and the payment service agree with each other
/// and with the order.
pub fn ledger_against_payment(book: &OrderBook) -> Option<String> {
    let row = &book.row;
    for line in &book.ledger {
        let same = |amount: i64, currency: &str| amount == row.total_minor && currency == row.currency;
        if let (Some(amount), Some(currency)) = (line.amount_minor, &line.currency)
            && !same(amount, currency)
        {
            let total = format!("{} {}", row.total_minor, row.currency);
            return Some(format!(
                "costs {total}, the acquirer's {} is of {amount} {currency} (minor units)",
                line.kind
            ));
        }
    }
    if let Some(wrong) = book.payment.as_ref().and_then(|payment| {
        let amount = payment.amount_minor.is_some_and(|amount| amount != row.total_minor);
        let currency = payment.currency.as_ref().is_some_and(|currency| *currency != row.currency);
        let user = payment.user_id.as_ref().is_some_and(|user| *user != row.user_id);
        [(amount, "amount"), (currency, "currency"), (user, "user")].into_iter().find(|(wrong, _)| *wrong)
    }) {
        return Some(format!("its payment has another {}", wrong.1));
    }
    let kinds: Vec<&str> = book.ledger.iter().map(|line| line.kind.as_str()).collect();
    // The ledger's last word decides what the key is, and what the payment may be. A payment that
    // failed for being too late is `declined` to us and `voided` at the acquirer.
    let (charge, payments): (Option<&str>, &[&str]) = match kinds.as_slice() {
        [] => (None, &["intent", "blocked"]),
        ["capture"] => (Some("captured"), &["captured", "intent"]),
        ["decline"] => (Some("declined"), &["declined", "intent"]),
        ["void"] => (Some("voided"), &["voided", "declined", "intent"]),
        ["capture", "refund"] => (Some("refunded"), &["refunded", "captured", "intent"]),
        other => return Some(format!("the acquirer's ledger reads {other:?}")),
    };
    if book.charge_state.as_deref() != charge {
        return Some(format!(
            "the acquirer's ledger reads {kinds:?}, but it calls the key {}",
            book.charge_state.as_deref().unwrap_or("unknown")
        ));
    }
    let payment = book.payment.as_ref().map(|payment| payment.state.as_str());
    let settled = matches!(row.status.as_str(), "CONFIRMED" | "CANCELLED");
    match payment {
        None if kinds.is_empty() => None,
        // A payment left open under an order that has ended has been forgotten.
        Some("intent") if settled => Some("has ended, but its payment is still open".into()),
        Some("captured") if kinds == ["capture", "refund"] && settled => {
            Some("was refunded, but its payment says captured".into())
        }
        Some(state) if payments.contains(&state) => None,
        state => Some(format!("the acquirer's ledger reads {kinds:?}, its payment is {}", state.unwrap_or("missing"))),
    }
}
