//! What journeys may say, and what is said of those that cannot be.

use super::super::tests::{check, parsed};
use super::*;

const HEAD: &str = "version: 1
name: x
shop: { users: 1, catalog: { generate: 9, stock: 1, items: [ { sku: SHOE-1, name: S, price: 1 EUR, stock: 1 } ] } }
load:
  g:
    executor: constant-vus
    vus: 1
    duration: 1s
    journey:
";

fn steps(lines: &[&str]) -> String {
    lines.iter().fold(HEAD.to_owned(), |text, line| format!("{text}      {line}\n"))
}

#[test]
fn a_whole_journey_is_read_in_order() {
    let text = steps(&[
        "- login",
        "- search: shoe",
        "- view: SHOE-1",
        "- think: 50ms..300ms",
        "- think: 1s",
        "- order: { items: [ { sku: GEN-0009, quantity: 1..2 }, { sku: any } ], wait: 0s }",
        "- retry_same_key",
        "- await",
        "- await: 5s",
        "- cancel",
        "- restock: { sku: SHOE-1, quantity: 20..50 }",
        "- restock: { sku: any, quantity: 7 }",
    ]);
    let range = |low, high| DurationRange { low: Duration::from_millis(low), high: Duration::from_millis(high) };
    let expected = [
        Step::Login,
        Step::Search("shoe".into()),
        Step::View(Pick::Sku("SHOE-1".parse().unwrap())),
        Step::Think(range(50, 300)),
        Step::Think(range(1000, 1000)),
        Step::Order(OrderStep {
            items: vec![
                OrderItem { sku: Pick::Sku("GEN-0009".parse().unwrap()), quantity: 1..=2 },
                OrderItem { sku: Pick::Any, quantity: 1..=1 },
            ],
            wait: Duration::ZERO,
            copies: 1,
        }),
        Step::RetrySameKey,
        Step::Await(Duration::from_secs(10)),
        Step::Await(Duration::from_secs(5)),
        Step::Cancel,
        Step::Restock(RestockStep { sku: Pick::Sku("SHOE-1".parse().unwrap()), quantity: 20..=50 }),
        Step::Restock(RestockStep { sku: Pick::Any, quantity: 7..=7 }),
    ];
    assert_eq!(parsed(&text).load[0].journey, expected);
}

#[test]
fn an_order_waits_two_seconds_unless_told() {
    let text = steps(&["- order: { items: [ { sku: any, quantity: 3 } ] }"]);
    let Step::Order(order) = parsed(&text).load[0].journey[0].clone() else { panic!() };
    assert_eq!((order.wait, order.items[0].quantity.clone()), (Duration::from_secs(2), 3..=3));
}

#[test]
fn an_order_is_sent_once_unless_copies_are_asked_for() {
    for (keys, copies) in [("", 1), (", copies: 1", 1), (", copies: 10", 10)] {
        let text = steps(&[&format!("- order: {{ items: [ {{ sku: any }} ]{keys} }}")]);
        let Step::Order(order) = parsed(&text).load[0].journey[0].clone() else { panic!() };
        assert_eq!(order.copies, copies);
    }
}

#[test]
fn each_wrong_step_is_told_what_is_wrong() {
    for (line, place, message) in [
        ("- serch: x", "10:9", "unknown step `serch`, did you mean `search`?"),
        ("- serch", "10:9", "unknown step `serch`, did you mean `search`?"),
        ("- logn", "10:9", "unknown step `logn`, did you mean `login`?"),
        ("- login: shopper-1", "10:9", "`login` stands alone; it takes nothing"),
        ("- restok: { sku: SHOE-1, quantity: 1 }", "10:9", "unknown step `restok`, did you mean `restock`?"),
        ("- restock", "10:9", "`restock` needs `sku` and `quantity`: `restock: { sku: any, quantity: 50 }`"),
        ("- restock: SHOE-1", "10:18", "`restock` is a map of keys; a single value stands here"),
        ("- restock: { quantity: 1 }", "10:9", "`restock` needs `sku`"),
        ("- restock: { sku: SHOE-1 }", "10:9", "`restock` needs `quantity`"),
        ("- restock: { sku: SHOE-2, quantity: 1 }", "10:25", "no product `SHOE-2`, did you mean `SHOE-1`?"),
        ("- restock: { sku: any, quantity: 0 }", "10:40", "`quantity` is a number from 1 to 1000000"),
        ("- restock: { sku: any, quantity: 1000001 }", "10:40", "`quantity` is a number from 1 to 1000000"),
        ("- restock: { sku: any, quantity: 9..1 }", "10:40", "`quantity` ends before it starts"),
        ("- restock: { sku: any, quantty: 9 }", "10:30", "unknown key `quantty`, did you mean `quantity`?"),
        ("- search", "10:9", "`search` needs a text"),
        ("- search:", "10:9", "`search` needs a text"),
        ("- search: [ a ]", "10:17", "`search` is a single value; a list stands here"),
        ("- view", "10:9", "`view` needs a SKU of the catalogue, or `any`: `view: any`"),
        ("- view: SHOE-2", "10:15", "the catalogue has no product `SHOE-2`, did you mean `SHOE-1`?"),
        ("- view: GEN-0010", "10:15", "the catalogue has no product `GEN-0010`"),
        ("- view: a/b", "10:15", "`sku` is 1 to 64 letters"),
        ("- think: 300ms..50ms", "10:16", "`think` ends before it starts"),
        ("- think: 50", "10:16", "`think` is a duration such as 50ms or a range"),
        ("- think: 2h", "10:16", "`think` is at most 1h"),
        ("- think: 1s", "9:5", "no step that asks the shop"),
        ("- order", "10:9", "`order` needs items"),
        ("- order: SHOE-1", "10:16", "`order` is a map of keys; a single value stands here"),
        ("- order: {}", "10:9", "`order` needs `items`"),
        ("- order: { items: [] }", "10:25", "`items` is a list of 1 to 50"),
        ("- order: { items: [ {} ] }", "10:27", "an item of `items` needs `sku`"),
        ("- order: { itms: [] }", "10:18", "unknown key `itms`, did you mean `items`?"),
        ("- order: { items: [ { sku: any, quantity: 0 } ] }", "10:49", "`quantity` is a number from 1"),
        ("- order: { items: [ { sku: any, quantity: 2..1 } ] }", "10:49", "`quantity` ends before it starts"),
        ("- order: { items: [ { sku: any, quantity: 1...2 } ] }", "10:49", "`quantity` is a number from 1"),
        ("- order: { items: [ { sku: any, qty: 1 } ] }", "10:39", "unknown key `qty`"),
        ("- order: { items: [ { sku: any } ], wait: 31s }", "10:49", "`wait` is a duration from 0s to 30s"),
        ("- order: { items: [ { sku: any } ], copies: 0 }", "10:51", "`copies` is a whole number from 1 to 10"),
        ("- order: { items: [ { sku: any } ], copies: 11 }", "10:51", "`copies` is a whole number from 1 to 10"),
        ("- order: { items: [ { sku: any } ], copies: 1..3 }", "10:51", "`copies` is a whole number from 1 to 10"),
        ("- cancel", "10:9", "`cancel` needs an `order` before it"),
        ("- [ a ]", "10:9", "an item of `journey` is a step"),
        ("- {}", "10:9", "unknown step ``"),
    ] {
        check(&steps(&[line]), &[(place, message)]);
    }
    check(&steps(&["- order: { items: [ { sku: any } ] }", "- cancel: now"]), &[("11:9", "`cancel` stands alone")]);
    check(&steps(&["- view: any", "  think: 1s"]), &[("11:9", "`think` is a second step in one list item")]);
}
