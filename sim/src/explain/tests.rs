//! Stories of orders that never were.

use kernel::{Currency, Money, ProductId, Timestamp};
use order::domain::Line;
use serde_json::{Value, json};
use tokio::time::Duration;

use super::facts::{Attempt, Behind, Client, Facts, Fault, Happened, LedgerLine, Message, OrderFacts, Reservation};
use super::render::render;
use super::{Actor, Story};
use audit::witness::Item;
use audit::witness::{Record, Seen};
use world::probe::observe::Transition;

/// Ten in the morning of some day.
const CREATED_US: i64 = 1_767_866_400_000_000;
const ID: &str = "6a3d9c51-51ab-5f7e-9a60-2a4a36c1f0aa";

fn at(ms: f64) -> Timestamp {
    Timestamp::from_micros(CREATED_US + (ms * 1e3) as i64)
}

fn euros(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

/// An order of two lamps, and what is added to it.
struct Tale(Facts);

impl Tale {
    fn of_two_lamps() -> Self {
        let line = Line {
            product_id: ProductId(7),
            sku: "LAMP".parse().unwrap(),
            quantity: 2.try_into().unwrap(),
            unit_price: euros(1990),
        };
        let order = OrderFacts {
            id: ID.into(),
            user: "004b2e19-b8cf-5c86-bb8e-c20d3852eb07".into(),
            status: "PENDING".into(),
            cancel_reason: None,
            lines: vec![line],
            total: euros(3980),
            epoch: Some(1),
            created_at: at(0.0),
            due_at: None,
        };
        let behind = Some(Behind { messages: Some(Vec::new()), ..Behind::default() });
        let tale = Self(Facts {
            order,
            events: Vec::new(),
            attempts: Some(Vec::new()),
            behind,
            client: None,
            faults: Vec::new(),
            breaker: Vec::new(),
            notes: Vec::new(),
        });
        tale.local("create", 1, 0.0).event("OrderCreated", 0.0, json!({}))
    }

    fn behind(&mut self) -> &mut Behind {
        self.0.behind.get_or_insert_default()
    }

    fn event(mut self, kind: &str, ms: f64, data: Value) -> Self {
        if let Some(status) = super::words::status_after(kind) {
            self.0.order.status = status.into();
        }
        if kind == "CancellationStarted" {
            self.0.order.cancel_reason = data["reason"].as_str().map(str::to_owned);
        }
        let version = self.0.events.len() as i64 + 1;
        self.0.events.push(Happened { version, kind: kind.into(), data, at: at(ms), published: Some(30 + version) });
        self
    }

    /// A step that asks somebody: from when to when.
    fn attempt(mut self, step: &str, epoch: i64, (from, to): (f64, f64), outcome: &str, detail: &str) -> Self {
        let attempts = self.0.attempts.get_or_insert_default();
        let open = attempts.iter().rev().take_while(|one| one.step == step && !one.is_decided()).count();
        attempts.push(Attempt {
            step: step.into(),
            number: open as u32 + 1,
            outcome: outcome.into(),
            epoch,
            started_at: at(from),
            took: Some(Duration::from_secs_f64((to - from) / 1e3)),
            detail: Some(detail.to_owned()).filter(|detail| !detail.is_empty()),
        });
        self.0.order.epoch = Some(epoch);
        self
    }

    fn local(mut self, step: &str, epoch: i64, ms: f64) -> Self {
        self = self.attempt(step, epoch, (ms, ms), "done", "");
        if let Some(last) = self.0.attempts.as_mut().and_then(|attempts| attempts.last_mut()) {
            last.took = None;
        }
        self
    }

    fn inventory(mut self, kind: &str, ms: f64, mut data: Value) -> Self {
        if data["lines"].is_null() {
            data["lines"] = json!([{ "product_id": 7, "quantity": 2 }]);
        }
        let version = self.behind().inventory.len() as i64 + 1;
        let event = Happened { version, kind: kind.into(), data, at: at(ms), published: Some(40 + version) };
        self.behind().inventory.push(event);
        let state = match kind {
            "StockReserved" => "held",
            "StockReleased" => "released",
            "StockCommitted" => "sold",
            _ => return self,
        };
        self.behind().reservations = vec![Reservation { product_id: 7, quantity: 2, state: state.into() }];
        self
    }

    fn payment(mut self, kind: &str, ms: f64, reason: &str) -> Self {
        let version = self.behind().payment.len() as i64 + 1;
        let data = json!({ "reason": reason, "reference": "acq_1" });
        let event = Happened { version, kind: kind.into(), data, at: at(ms), published: Some(50 + version) };
        self.behind().payment.push(event);
        self
    }

    fn ledger(mut self, kind: &str, ms: f64) -> Self {
        let sequence = self.behind().ledger.len() as i64 + 9;
        self.behind().ledger.push(LedgerLine { sequence, kind: kind.into(), amount: Some(euros(3980)), at: at(ms) });
        self
    }

    fn reserved(self) -> Self {
        self.attempt("reserve_stock", 1, (0.3, 1.5), "done", "").inventory("StockReserved", 0.9, json!({})).event(
            "StockReserved",
            1.6,
            json!({}),
        )
    }

    /// From the stock's commit on, under this epoch.
    fn confirmed(self, epoch: i64, ms: f64) -> Self {
        self.local("confirm", epoch, ms)
            .event("OrderConfirmed", ms, json!({}))
            .attempt("commit_stock", epoch, (ms + 0.1, ms + 1.3), "done", "")
            .inventory("StockCommitted", ms + 0.7, json!({}))
            .event("StockCommitted", ms + 1.4, json!({}))
    }

    fn client(mut self, records: Vec<(f64, Record)>) -> Self {
        let seen = records.into_iter().map(|(ms, record)| (at(ms), record)).collect();
        self.0.client = Some(Client { key: "5-buyers-13-1".into(), seen, within: Duration::from_micros(120) });
        self
    }

    fn fault(mut self, name: &str, (target, kind): (&str, &str), from: f64, until: Option<f64>) -> Self {
        let (target, kind) = (target.to_owned(), kind.to_owned());
        self.0.faults.push(Fault { name: name.into(), target, kind, from: at(from), until: until.map(at) });
        self
    }

    fn breaker(mut self, ms: f64, from: &str, to: &str, why: &str) -> Self {
        let at_us = at(ms).as_micros();
        self.0.breaker.push(Transition { at_us, from: from.into(), to: to.into(), why: why.into() });
        self
    }

    fn told(&self) -> String {
        render(&Story::of(&self.0))
    }
}

fn sent() -> Record {
    let items = vec![Item { sku: "LAMP".into(), quantity: 2 }];
    Record::Sent { at_us: 0, user: "u".into(), key: "5-buyers-13-1".into(), items }
}

fn seen(status: &str, reason: Option<&str>) -> Seen {
    Seen { id: ID.into(), status: status.into(), reason: reason.map(str::to_owned), items: Vec::new() }
}

fn reply(http: u16, order: Seen) -> Record {
    Record::Reply { at_us: 0, user: "u".into(), key: "5-buyers-13-1".into(), http, order: Some(order), took_us: 16_000 }
}

fn saw(order: Seen) -> Record {
    Record::Saw { at_us: 0, user: "u".into(), key: "5-buyers-13-1".into(), order }
}

fn lost() -> Record {
    let why = "no answer within 55s".into();
    Record::NoReply { at_us: 0, user: "u".into(), key: "5-buyers-13-1".into(), sent: true, why }
}

fn calm() -> Tale {
    let paid = Tale::of_two_lamps()
        .reserved()
        .attempt("process_payment", 1, (1.7, 10.1), "done", "")
        .payment("PaymentIntended", 2.2, "")
        .ledger("capture", 8.7)
        .payment("PaymentProcessed", 9.3, "")
        .event("PaymentProcessed", 10.2, json!({ "reference": "acq_1" }));
    let mut tale = paid.confirmed(1, 10.4).client(vec![(-0.8, sent()), (11.2, reply(201, seen("CONFIRMED", None)))]);
    tale.behind().messages = Some(vec![Message {
        event_id: format!("ORDERS/{ID}/4"),
        channel: "email".into(),
        recipient: "shopper3@example.test".into(),
        subject: "Your order is confirmed".into(),
        body: "Thank you.".into(),
        at: at(31.0),
    }]);
    tale
}

#[test]
fn a_calm_order() {
    insta::assert_snapshot!(calm().told());
}

#[test]
fn a_product_that_is_sold_out() {
    let tale = Tale::of_two_lamps()
        .attempt("reserve_stock", 1, (0.3, 1.5), "refused", "sold_out")
        .inventory("StockRefused", 0.9, json!({ "sold_out": 7 }))
        .event("CancellationStarted", 1.5, json!({ "reason": "sold_out", "compensate": [] }))
        .local("cancel", 1, 1.8)
        .event("OrderCancelled", 1.8, json!({}))
        .client(vec![(-0.8, sent()), (2.4, reply(201, seen("CANCELLED", Some("sold_out"))))]);
    insta::assert_snapshot!(tale.told());
}

fn released(tale: Tale, epoch: i64, ms: f64) -> Tale {
    tale.attempt("release_stock", epoch, (ms, ms + 1.1), "done", "")
        .inventory("StockReleased", ms + 0.6, json!({}))
        .event("StockReleased", ms + 1.2, json!({ "had_reservation": true }))
        .local("cancel", epoch, ms + 1.4)
        .event("OrderCancelled", ms + 1.4, json!({}))
}

#[test]
fn a_declined_charge() {
    let tale = Tale::of_two_lamps()
        .reserved()
        .attempt("process_payment", 1, (1.7, 10.1), "refused", "declined")
        .payment("PaymentIntended", 2.2, "")
        .ledger("decline", 8.7)
        .payment("PaymentFailed", 9.3, "insufficient_funds")
        .event("CancellationStarted", 10.1, json!({ "reason": "declined", "compensate": ["release_stock"] }));
    insta::assert_snapshot!(released(tale, 1, 10.4).told());
}

#[test]
fn an_outage_with_the_breaker_open() {
    let both = json!({ "reason": "unavailable", "compensate": ["refund_payment", "release_stock"] });
    let tale = Tale::of_two_lamps()
        .fault("acquirer-down", ("payment-provider", "outage"), -840.0, Some(2_160.0))
        .breaker(-2_000.0, "half_open", "closed", "5 probes were answered")
        .breaker(-310.5, "closed", "open", "11 of the last 20 calls failed")
        .reserved()
        .attempt("process_payment", 1, (1.7, 2.4), "refused", "unavailable")
        .event("CancellationStarted", 2.5, both)
        .attempt("refund_payment", 1, (2.8, 3.9), "done", "")
        .payment("PaymentBlocked", 3.4, "")
        .event("PaymentRefunded", 4.0, json!({ "money_returned": false }));
    insta::assert_snapshot!(released(tale, 1, 4.2).told());
}

/// The client cancels while the charge is under way: the charge succeeds, and its owner may not say so.
#[test]
fn a_cancel_between_reserved_and_confirmed() {
    let both = json!({ "reason": "by_client", "compensate": ["refund_payment", "release_stock"] });
    let tale = Tale::of_two_lamps()
        .reserved()
        .payment("PaymentIntended", 2.2, "")
        .event("CancellationStarted", 4.0, both)
        .ledger("capture", 8.7)
        .payment("PaymentProcessed", 9.3, "")
        .attempt("refund_payment", 2, (4.2, 15.0), "done", "")
        .ledger("refund", 13.1)
        .payment("PaymentRefunded", 13.9, "")
        .event("PaymentRefunded", 15.1, json!({ "money_returned": true }));
    let tale = released(tale, 2, 15.3).client(vec![
        (-0.8, sent()),
        (0.5, reply(202, seen("PENDING", None))),
        (4.6, saw(seen("CANCELLING", Some("by_client")))),
        (21.0, saw(seen("CANCELLED", Some("by_client")))),
    ]);
    insta::assert_snapshot!(tale.told());
}

#[test]
fn a_crash_in_the_middle_of_a_charge() {
    let tale = Tale::of_two_lamps()
        .fault("order-crash", ("process:order", "crash"), 6.0, Some(1_200.0))
        .reserved()
        .payment("PaymentIntended", 2.2, "")
        .ledger("capture", 8.7)
        .payment("PaymentProcessed", 9.3, "")
        .attempt("process_payment", 2, (5_003.0, 5_003.9), "done", "")
        .event("PaymentProcessed", 5_004.0, json!({ "reference": "acq_1" }))
        .confirmed(2, 5_004.2)
        .client(vec![(-0.8, sent()), (1_998.0, lost())]);
    insta::assert_snapshot!(tale.told());
}

#[test]
fn retries_with_unknown_outcomes() {
    let timeout = "DeadlineExceeded: no answer within 2s from the payment service at 127.0.0.1:41207";
    let tale = Tale::of_two_lamps()
        .fault("slow-payment", ("link:order->payment", "timeout"), 1.0, None)
        .reserved()
        .attempt("process_payment", 1, (1.7, 2_001.7), "unknown", timeout)
        .payment("PaymentIntended", 2.2, "")
        .ledger("capture", 8.7)
        .payment("PaymentProcessed", 9.3, "")
        .attempt("process_payment", 2, (2_013.0, 4_013.0), "unknown", timeout)
        .attempt("process_payment", 3, (4_040.0, 4_040.8), "ongoing", "")
        .attempt("process_payment", 5, (4_101.0, 4_102.0), "done", "")
        .event("PaymentProcessed", 4_102.1, json!({ "reference": "acq_1" }))
        .confirmed(5, 4_102.3);
    insta::assert_snapshot!(tale.told());
}

#[test]
fn an_order_that_waits_for_an_operator() {
    let tale = Tale::of_two_lamps()
        .reserved()
        .attempt("process_payment", 1, (1.7, 10.1), "done", "")
        .ledger("capture", 8.7)
        .event("PaymentProcessed", 10.2, json!({ "reference": "acq_1" }))
        .event(
            "CancellationStarted",
            10.4,
            json!({ "reason": "by_client", "compensate": ["refund_payment", "release_stock"] }),
        )
        .attempt("refund_payment", 2, (10.6, 12.0), "unknown", "Internal: the ledger is read-only")
        .event("OperatorRequested", 12.1, json!({ "why": "refund_payment was refused 1 time" }));
    insta::assert_snapshot!(tale.told());
}

#[test]
fn a_long_series_of_attempts_is_told_by_its_ends() {
    let mut tale = Tale::of_two_lamps().reserved();
    for number in 0..1_000 {
        let from = 10.0 + 100.0 * f64::from(number);
        let epoch = i64::from(number) + 1;
        tale = tale.attempt("process_payment", epoch, (from, from + 50.0), "ongoing", "");
    }
    let told = tale.told();
    let (begin, end) = told.split_once("(1990 lines more of the same; --json has them)").unwrap();
    for (number, part) in [(1, begin), (3, begin), (999, end), (1_000, end)] {
        assert!(part.contains(&format!("process_payment #{number} ")), "{told}");
    }
    assert_eq!(Story::of(&tale.0).entries.len(), 2_004);
}

#[test]
fn an_effect_whose_attempt_is_under_way_is_no_lost_one() {
    let tale = Tale::of_two_lamps().reserved().payment("PaymentIntended", 2.2, "");
    let story = Story::of(&tale.0);
    let intent = story.entries.iter().find(|entry| entry.actor == Actor::Payment).unwrap();
    assert!(intent.what.ends_with("is not written down yet"), "{}", intent.what);
}

#[test]
fn books_that_contradict_each_other_are_not_smoothed_over() {
    let tale = calm().event("OrderCancelled", 20.0, json!({}));
    let told = Story::of(&tale.0).conclusion;
    assert!(told.contains("the acquirer has kept the money"), "{told}");
    assert!(told.contains("units are still held or sold"), "{told}");
}

#[test]
fn over_http_only_the_order_speaks() {
    let mut tale = calm();
    (tale.0.behind, tale.0.client, tale.0.order.epoch) = (None, None, None);
    let story = Story::of(&tale.0);
    assert!(story.entries.iter().all(|entry| entry.actor == Actor::Order));
    assert!(story.conclusion.starts_with("Confirmed 10.4 ms after its creation"), "{}", story.conclusion);
}

/// In virtual time a service acts without time passing.
#[test]
fn at_equal_times_causes_come_before_effects() {
    let tale = Tale::of_two_lamps()
        .attempt("reserve_stock", 1, (0.0, 2.0), "done", "")
        .inventory("StockReserved", 1.0, json!({}))
        .event("StockReserved", 2.0, json!({}))
        .attempt("process_payment", 1, (2.0, 4.0), "done", "")
        .payment("PaymentIntended", 3.0, "")
        .ledger("capture", 3.0)
        .event("PaymentProcessed", 4.0, json!({}))
        .local("confirm", 1, 4.0)
        .event("OrderConfirmed", 4.0, json!({}));
    let story = Story::of(&tale.0);
    let told: Vec<&str> = story.entries.iter().filter_map(|entry| entry.what.split(' ').next()).collect();
    let wanted = ["created:", "reserve_stock", "holds", "reserve_stock", "process_payment", "writes", "captures"];
    assert_eq!(told[..7], wanted);
    assert_eq!(told[7..], ["process_payment", "confirm"]);
}
