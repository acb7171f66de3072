//! The invariants, judged on the books and on the witness.

use std::collections::BTreeMap;

use chassis::StoreError;
use chassis::events::Event;
use kernel::OrderId;
use order::adapters::outbound::sqlite::decode;
use order::domain::{Order, OrderEvent, Status};

use super::Finding;
use super::books::{Books, InFlight, OrderBook, StockRow};
use super::manifest::Manifest;
use super::witness::Witness;

/// How many orders are held in memory at once.
const PAGE: usize = 500;

/// Everything an audit looks at.
pub struct Evidence<'a> {
    pub books: &'a dyn Books,
    /// Without one, the books' own restocks stand in for it.
    pub manifest: Option<&'a Manifest>,
    /// Without one, what clients were told is not judged.
    pub witness: Option<&'a Witness>,
}

/// What an audit found.
#[derive(Debug, Clone)]
pub struct Audit {
    pub findings: Vec<Finding>,
    pub orders: u64,
    /// Why the audit proves nothing, if it does not.
    pub inconclusive: Option<String>,
}

impl Audit {
    pub fn violations(&self) -> u64 {
        self.findings.iter().map(|finding| finding.violations).sum()
    }
}

/// Looks at everything once.
///
/// # Errors
/// When the books cannot be read.
pub async fn audit(evidence: Evidence<'_>) -> Result<Audit, StoreError> {
    let mut per_order = PerOrder::new(evidence.witness);
    let mut after = String::new();
    let mut orders = 0;
    loop {
        let page = evidence.books.orders(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.row.id);
        orders += page.len() as u64;
        page.iter().for_each(|book| per_order.look_at(book));
    }
    let stock = evidence.books.stock().await?;
    let mut findings = vec![stock_conserved(&stock, evidence.manifest), stock_not_negative(&stock)];
    let orphans = evidence.books.orphans().await?;
    for id in &orphans.ids {
        let what = format!("order {id} has a payment, a charge or a reservation, but does not exist");
        per_order.ledger_matches_payments.check(Some(what));
    }
    let in_flight = evidence.books.in_flight().await?;
    findings.extend(per_order.finish(in_flight));
    if let Some(witness) = evidence.witness {
        findings.push(witness.one_key_one_order());
        if let Some(manifest) = evidence.manifest {
            findings.push(witness.never_told_more_than_stock(manifest));
        }
    }
    let inconclusive = match (orders, stock.is_empty()) {
        (0, _) => Some("there are no orders: nothing was checked".to_owned()),
        (_, true) => Some("there is no stock: nothing was checked".to_owned()),
        _ => None,
    };
    Ok(Audit { findings, orders, inconclusive })
}

fn stock_conserved(stock: &[StockRow], manifest: Option<&Manifest>) -> Finding {
    let mut finding = Finding::new("stock_conserved");
    let rows: BTreeMap<i64, &StockRow> = stock.iter().map(|row| (row.product_id, row)).collect();
    for row in stock {
        let id = row.product_id;
        let there = row.available + row.reserved + row.sold;
        let came = row.restocked;
        finding.expect(there == came, || {
            format!(
                "product {id}: {came} units came in, but {} available + {} reserved + {} sold = {there}",
                row.available, row.reserved, row.sold
            )
        });
        finding.expect(row.reserved == row.held_by_orders, || {
            format!("product {id}: {} reserved, but orders hold {}", row.reserved, row.held_by_orders)
        });
        finding.expect(row.sold == row.sold_to_orders, || {
            format!("product {id}: {} sold, but orders bought {}", row.sold, row.sold_to_orders)
        });
    }
    for (id, product) in manifest.into_iter().flat_map(|manifest| &manifest.products) {
        // What came in later can only add to it.
        let came = rows.get(id).map_or(0, |row| row.restocked);
        finding.expect(came >= product.initial, || {
            format!("product {id} ({}): seeded with {} units, the books know of {came}", product.sku, product.initial)
        });
    }
    finding
}

fn stock_not_negative(stock: &[StockRow]) -> Finding {
    let mut finding = Finding::new("stock_not_negative");
    for row in stock {
        finding.expect(row.available >= 0 && row.reserved >= 0 && row.sold >= 0, || {
            format!(
                "product {}: {} available, {} reserved, {} sold",
                row.product_id, row.available, row.reserved, row.sold
            )
        });
    }
    finding
}

/// Invariants that are judged order by order.
struct PerOrder<'a> {
    witness: BTreeMap<&'a str, (&'a (String, String), &'a super::witness::Known)>,
    acknowledged: u64,
    confirmed_iff_captured: Finding,
    cancelled_net_zero: Finding,
    charged_at_most_once: Finding,
    ledger_matches_payments: Finding,
    legal_transitions: Finding,
    events_gapless: Finding,
    fold_matches_row: Finding,
    stream_matches_events: Finding,
    nothing_in_flight: Finding,
    acknowledged_orders_exist: Finding,
    answers_hold: Finding,
    has_witness: bool,
}

impl<'a> PerOrder<'a> {
    fn new(witness: Option<&'a Witness>) -> Self {
        let mut by_id = BTreeMap::new();
        for (owner, known) in witness.into_iter().flat_map(|witness| &witness.orders) {
            for id in &known.ids {
                by_id.insert(id.as_str(), (owner, known));
            }
        }
        Self {
            acknowledged: by_id.len() as u64,
            witness: by_id,
            confirmed_iff_captured: Finding::new("confirmed_iff_captured"),
            cancelled_net_zero: Finding::new("cancelled_net_zero"),
            charged_at_most_once: Finding::new("charged_at_most_once"),
            ledger_matches_payments: Finding::new("ledger_matches_payments"),
            legal_transitions: Finding::new("legal_transitions"),
            events_gapless: Finding::new("events_gapless"),
            fold_matches_row: Finding::new("fold_matches_row"),
            stream_matches_events: Finding::new("stream_matches_events"),
            nothing_in_flight: Finding::new("nothing_in_flight"),
            acknowledged_orders_exist: Finding::new("acknowledged_orders_exist"),
            answers_hold: Finding::new("answers_hold"),
            has_witness: witness.is_some(),
        }
    }

    fn look_at(&mut self, book: &OrderBook) {
        self.money(book);
        self.history(book);
        self.rest(book);
        self.told(book);
    }

    fn money(&mut self, book: &OrderBook) {
        let id = &book.row.id;
        let of = |kind: &str| book.ledger.iter().filter(|line| line.kind == kind).count();
        let (captures, refunds) = (of("capture"), of("refund"));
        self.charged_at_most_once.expect(captures <= 1 && refunds <= captures, || {
            format!("order {id}: charged {captures} times, refunded {refunds} times")
        });
        let paid: i64 = book
            .ledger
            .iter()
            .map(|line| match line.kind.as_str() {
                "capture" => line.amount_minor,
                "refund" => -line.amount_minor,
                _ => 0,
            })
            .sum();
        let sold = book.reservations.iter().filter(|(_, _, state)| state == "sold").count();
        let confirmed = book.row.status == "CONFIRMED";
        let captured = captures == 1 && refunds == 0;
        self.confirmed_iff_captured.check(match (confirmed, captured) {
            (true, false) => {
                Some(format!("order {id} is confirmed, but charged {captures} times and refunded {refunds} times"))
            }
            (true, true) if paid != book.row.total_minor => {
                Some(format!("order {id} costs {} but {paid} were charged (minor units)", book.row.total_minor))
            }
            (true, true) if book.row.stock_committed && sold == 0 => {
                Some(format!("order {id} is confirmed and its stock committed, but no unit is sold to it"))
            }
            (false, true) if book.row.status != "PAID" && book.row.status != "RESERVED" => {
                Some(format!("order {id} is {} and its customer is charged", book.row.status))
            }
            _ => None,
        });
        if book.row.status == "CANCELLED" {
            let kept = book.reservations.iter().find(|(_, _, state)| state != "released");
            self.cancelled_net_zero.check(match kept {
                _ if paid != 0 => {
                    Some(format!("order {id} is cancelled, and its customer has paid {paid} (minor units)"))
                }
                Some((product, quantity, state)) => Some(format!(
                    "order {id} is cancelled, and {quantity} units of product {product} are still {state}"
                )),
                None => None,
            });
        }
        let payment = book.payment.as_ref().map(|payment| payment.state.as_str());
        let by_ledger = match (captures, refunds, of("void"), of("decline")) {
            (1.., 0, ..) => &["captured", "intent"][..],
            (1.., ..) => &["refunded"],
            // A late charge leaves a void behind that the payment service sees as a refusal.
            (0, _, 1.., _) => &["voided", "declined", "intent", "blocked"],
            (0, _, 0, 1..) => &["declined", "intent", "voided"],
            _ => &["intent", "blocked", "voided"],
        };
        self.ledger_matches_payments.check(match payment {
            Some(state) if by_ledger.contains(&state) => None,
            None if book.ledger.is_empty() => None,
            state => Some(format!(
                "order {id}: the acquirer's ledger has {captures} captures and {refunds} refunds, the payment is {}",
                state.unwrap_or("missing")
            )),
        });
    }

    fn history(&mut self, book: &OrderBook) {
        let id = &book.row.id;
        for (what, events) in
            [("order", &book.events), ("payment", &book.payment_events), ("inventory", &book.inventory_events)]
        {
            let gap = events.iter().zip(1..).find(|(event, expected)| event.version != *expected);
            self.events_gapless.check(gap.map(|(event, expected)| {
                format!("order {id}: {what} event {expected} is missing, {} follows", event.version)
            }));
        }
        self.legal_transitions.check(illegal(&book.events).map(|what| format!("order {id}: {what}")));
        self.fold_matches_row.check(difference(book).map(|what| format!("order {id}: {what}")));
        self.stream_matches_events.expect(same_facts(&book.events, &book.stream), || {
            format!(
                "order {id}: {} events in the store, {} in the event log, not the same",
                book.events.len(),
                book.stream.len()
            )
        });
    }

    fn rest(&mut self, book: &OrderBook) {
        let row = &book.row;
        let at_rest = match row.status.as_str() {
            "CONFIRMED" => row.stock_committed,
            // It is listed for an operator, so it is not forgotten.
            "CANCELLED" | "NEEDS_OPERATOR" => true,
            _ => false,
        };
        self.nothing_in_flight.expect(at_rest, || match row.status.as_str() {
            "CONFIRMED" => format!("order {} is confirmed, but its stock was never committed", row.id),
            status => format!("order {} is still {status}", row.id),
        });
    }

    fn told(&mut self, book: &OrderBook) {
        let id = book.row.id.as_str();
        let Some(((user, key), known)) = self.witness.remove(id) else { return };
        self.acknowledged_orders_exist.expect(&book.row.user_id == user, || {
            format!("order {id} was answered to user {user}, but belongs to user {}", book.row.user_id)
        });
        let broken = known.ends.iter().find(|end| end.status != book.row.status);
        self.answers_hold.check(match broken {
            Some(end) => {
                Some(format!("order {id} (key {key}) was answered as {}, but is {}", end.status, book.row.status))
            }
            None if known.items_changed => Some(format!("order {id} (key {key}) is of other items than asked for")),
            None => None,
        });
    }

    fn finish(mut self, in_flight: InFlight) -> Vec<Finding> {
        self.nothing_in_flight.expect(in_flight.unpublished == 0, || {
            format!("{} events are not in the event log", in_flight.unpublished)
        });
        self.nothing_in_flight.expect(in_flight.held_reservations == 0, || {
            format!("{} reservations are still held", in_flight.held_reservations)
        });
        let mut findings = vec![
            self.confirmed_iff_captured,
            self.cancelled_net_zero,
            self.charged_at_most_once,
            self.ledger_matches_payments,
            self.legal_transitions,
            self.events_gapless,
            self.fold_matches_row,
            self.stream_matches_events,
            self.nothing_in_flight,
        ];
        if self.has_witness {
            for (id, ((user, key), _)) in &self.witness {
                let what = format!("order {id} was answered to user {user} (key {key}), but does not exist");
                self.acknowledged_orders_exist.check(Some(what));
            }
            self.acknowledged_orders_exist.checked = self.acknowledged;
            findings.extend([self.acknowledged_orders_exist, self.answers_hold]);
        }
        findings
    }
}

fn parsed(events: &[Event]) -> Result<Vec<OrderEvent>, String> {
    events.iter().map(|event| decode(event).map_err(|error| format!("event {}: {error}", event.version))).collect()
}

/// Replays the states alone, without the aggregate's own checks: the first illegal transition.
fn illegal(events: &[Event]) -> Option<String> {
    let events = match parsed(events) {
        Ok(events) => events,
        Err(why) => return Some(why),
    };
    let mut status: Option<Status> = None;
    for event in events {
        let next = match event {
            OrderEvent::OrderCreated { .. } => Status::Pending,
            OrderEvent::StockReserved {} => Status::Reserved,
            OrderEvent::PaymentProcessed { .. } => Status::Paid,
            OrderEvent::OrderConfirmed {} => Status::Confirmed,
            OrderEvent::CancellationStarted { .. } | OrderEvent::OperatorResumed {} => Status::Cancelling,
            OrderEvent::OrderCancelled {} => Status::Cancelled,
            OrderEvent::OperatorRequested { .. } => Status::NeedsOperator,
            OrderEvent::StockCommitted {} | OrderEvent::PaymentRefunded { .. } | OrderEvent::StockReleased { .. } => {
                continue;
            }
        };
        let legal = match status {
            None => next == Status::Pending,
            Some(before) => before.may_become(next),
        };
        if !legal {
            return Some(format!("from {} to {next}", status.map_or("nothing", Status::as_str)));
        }
        status = Some(next);
    }
    None
}

fn difference(book: &OrderBook) -> Option<String> {
    let row = &book.row;
    let Ok(id) = row.id.parse::<OrderId>() else { return Some("its id is not one".into()) };
    let events = match parsed(&book.events) {
        Ok(events) => events,
        Err(why) => return Some(why),
    };
    let timed = events.into_iter().zip(book.events.iter().map(|event| event.occurred_at));
    let order = match Order::fold(id, timed) {
        Ok(order) => order,
        Err(why) => return Some(format!("its events do not fold: {why}")),
    };
    let reason = order.cancel_reason.map(|reason| reason.as_str());
    let lines = serde_json::to_string(&order.lines).unwrap_or_default();
    let pairs = [
        ("status", order.status.as_str().to_owned(), row.status.clone()),
        ("reason", reason.unwrap_or_default().to_owned(), row.cancel_reason.clone().unwrap_or_default()),
        ("version", order.version.to_string(), row.version.to_string()),
        ("total", order.total.minor.to_string(), row.total_minor.to_string()),
        ("currency", order.total.currency.to_string(), row.currency.clone()),
        ("lines", lines, row.lines.clone()),
        ("stock_committed", order.stock_committed.to_string(), row.stock_committed.to_string()),
        ("user", order.user.to_string(), row.user_id.clone()),
    ];
    let (what, folded, stored) = pairs.into_iter().find(|(_, folded, stored)| folded != stored)?;
    Some(format!("its events say {what} {folded}, its row says {stored}"))
}

fn same_facts(store: &[Event], stream: &[Event]) -> bool {
    store.len() == stream.len()
        && store.iter().zip(stream).all(|(a, b)| (a.version, &a.kind, &a.data) == (b.version, &b.kind, &b.data))
}
