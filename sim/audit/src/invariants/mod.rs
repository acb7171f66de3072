//! The invariants, judged on the books and on the witness.
//!
//! Each rule is a pure function that answers what is wrong, if anything; here they are asked order
//! by order, product by product, and their answers counted.

mod cache;
mod history;
mod money;
mod notices;
mod stock;

use std::collections::BTreeMap;

use store::StoreError;

use super::Finding;
use super::books::{Books, InFlight, OrderBook, StockRow};
use super::manifest::Manifest;
use super::witness::Witness;

/// How many orders are held in memory at once.
const PAGE: usize = 500;
/// How many ways through the saga are told apart in one audit.
pub const PATHS_MAX: usize = 1_000;
/// A longer history is told by so many of its first events.
const PATH_EVENTS_MAX: usize = 24;

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
    /// Orders whose abort was decided, by the state they were in and the reason.
    pub cancellations: BTreeMap<(String, String), u64>,
    /// Orders by the kinds of their events, in the order of these, with blanks between; the first
    /// [`PATHS_MAX`] ways that were seen.
    pub paths: BTreeMap<String, u64>,
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
    let seeder = evidence.manifest.map_or("", |manifest| manifest.scenario.as_str());
    let products = evidence.books.stock(seeder).await?;
    let mut findings = stock_findings(&products, evidence.manifest, evidence.witness);
    let orphans = evidence.books.orphans().await?;
    for id in &orphans.ids {
        let what = format!("order {id} does not exist, but something is stored under it");
        per_order.ledger_matches_payments.check(Some(what));
    }
    for id in &orphans.told {
        let what = format!("order {id} does not exist, but somebody was told of it");
        per_order.notified_once.check(Some(what));
    }
    let in_flight = evidence.books.in_flight().await?;
    let (cancellations, paths) = (std::mem::take(&mut per_order.cancellations), std::mem::take(&mut per_order.paths));
    findings.extend(per_order.finish(in_flight));
    findings.push(match evidence.books.cached().await {
        Ok(entries) => cache::converges(entries.as_deref()),
        // What may be lost is no reason to judge nothing else.
        Err(error) => Finding::unseen("cache_converges", format!("the cache cannot be read: {error}")),
    });
    if let Some(witness) = evidence.witness {
        findings.push(witness.one_key_one_order(orders));
        if let Some(manifest) = evidence.manifest {
            findings.push(witness.never_told_more_than_stock(manifest));
        }
    }
    let inconclusive = match (orders, products.is_empty()) {
        (0, _) => Some("there are no orders: nothing was checked".to_owned()),
        (_, true) => Some("there is no stock: nothing was checked".to_owned()),
        _ => None,
    };
    Ok(Audit { findings, orders, cancellations, paths, inconclusive })
}

/// The invariants of stock. A witness must have been asked before the stock was read.
pub fn stock_findings(stock: &[StockRow], manifest: Option<&Manifest>, witness: Option<&Witness>) -> Vec<Finding> {
    vec![stock::conserved(stock, manifest, witness), stock::not_negative(stock)]
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
    notified_once: Finding,
    acknowledged_orders_exist: Finding,
    answers_hold: Finding,
    has_witness: bool,
    cancellations: BTreeMap<(String, String), u64>,
    paths: BTreeMap<String, u64>,
    /// Whether the shop of these books told its customers anything.
    notifies: bool,
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
            notified_once: Finding::new("notified_once"),
            acknowledged_orders_exist: Finding::new("acknowledged_orders_exist"),
            answers_hold: Finding::new("answers_hold"),
            has_witness: witness.is_some(),
            cancellations: BTreeMap::new(),
            paths: BTreeMap::new(),
            notifies: false,
        }
    }

    fn look_at(&mut self, book: &OrderBook) {
        self.money(book);
        self.history(book);
        self.rest(book);
        self.notified(book);
        self.told(book);
        self.path(book);
        if let Some(cancellation) = history::cancellation(&book.events) {
            *self.cancellations.entry(cancellation).or_default() += 1;
        }
    }

    fn path(&mut self, book: &OrderBook) {
        let mut path: Vec<&str> = book.events.iter().take(PATH_EVENTS_MAX).map(|event| event.kind.as_str()).collect();
        path.extend((book.events.len() > PATH_EVENTS_MAX).then_some("…"));
        let path = path.join(" ");
        if self.paths.len() < PATHS_MAX || self.paths.contains_key(&path) {
            *self.paths.entry(path).or_default() += 1;
        }
    }

    fn money(&mut self, book: &OrderBook) {
        let of = |what: Option<String>| what.map(|what| format!("order {}: {what}", book.row.id));
        self.charged_at_most_once.check(of(money::charged_more_than_once(book)));
        self.confirmed_iff_captured.check(of(money::confirmed_without_capture(book)));
        if book.row.status == "CANCELLED" {
            self.cancelled_net_zero.check(of(money::cancelled_and_not_undone(book)));
        }
        self.ledger_matches_payments.check(of(money::ledger_against_payment(book)));
    }

    fn history(&mut self, book: &OrderBook) {
        let of = |what: Option<String>| what.map(|what| format!("order {}: {what}", book.row.id));
        for (what, events) in
            [("order", &book.events), ("payment", &book.payment_events), ("inventory", &book.inventory_events)]
        {
            self.events_gapless.check(of(history::gap(what, events)));
        }
        self.legal_transitions.check(of(history::illegal_transition(&book.events)));
        self.fold_matches_row.check(of(history::row_against_events(book)));
        self.fold_matches_row.check(of(history::payment_against_events(book)));
        self.fold_matches_row.check(of(history::reservations_against_events(book)));
        for (what, store, stream) in [
            ("ORDERS", &book.events, &book.stream),
            ("PAYMENTS", &book.payment_events, &book.payment_stream),
            ("INVENTORY", &book.inventory_events, &book.inventory_stream),
        ] {
            self.stream_matches_events.check(of(history::stream_against_store(what, store, stream)));
        }
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

    fn notified(&mut self, book: &OrderBook) {
        let Some(notices) = &book.notices else { return };
        self.notifies = true;
        for verdict in notices::told_once(book, notices) {
            self.notified_once.check(verdict.map(|what| format!("order {}: {what}", book.row.id)));
        }
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
        self.nothing_in_flight
            .expect(in_flight.orders == 0, || format!("{} orders have work that is due", in_flight.orders));
        self.nothing_in_flight.expect(in_flight.unpublished == 0, || {
            format!("{} events are not in the event log", in_flight.unpublished)
        });
        self.nothing_in_flight.expect(in_flight.held_reservations == 0, || {
            format!("{} reservations are still held", in_flight.held_reservations)
        });
        self.nothing_in_flight.expect(in_flight.unacknowledged == 0, || {
            format!("{} messages of the event log wait for their consumers", in_flight.unacknowledged)
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
        if self.notifies || self.notified_once.violations > 0 {
            findings.push(self.notified_once);
        }
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
