//! People who sign in, look and buy, and staff who bring new units. In virtual time.

use experiment::report::Summary;
use scenario::known;
use scenario::parse;
use shopctl::campaign::engine::play_by_hand;

/// Twenty buyers for three lamps; five deliveries of four bring the rest.
const DELIVERIES: &str = r#"
version: 1
name: deliveries
seed: 3
shop:
  users: 20
  catalog: { items: [ { sku: LAMP, name: Lamp, price: 19.90 EUR, stock: 3 } ] }
  settings: { acquirer.decline_rate: 0.0 }
load:
  staff:
    executor: per-vu-iterations
    vus: 1
    iterations: 5
    max_duration: 10s
    journey: [ restock: { sku: LAMP, quantity: 4 }, think: 100ms ]
  buyers:
    executor: constant-arrival-rate
    rate: 10
    duration: 2s
    max_vus: 20
    journey: [ login, view: LAMP, think: 1s, order: { items: [ { sku: LAMP, quantity: 1 } ] }, await ]
expect:
  thresholds:
    orders{fate:confirmed}: [ count==20 ]
    http_req_duration{name:login}: [ max<10s ]
    http_req_duration{name:restock}: [ max<10s ]
    http_req_failed: [ rate<=0 ]
"#;

fn played(source: &str) -> Summary {
    let scenario = parse(source, "shopping.yaml", &[], &known()).unwrap();
    play_by_hand(&scenario, Vec::new()).map_err(|failure| failure.message).unwrap().summary
}

fn violations(summary: &Summary) -> Vec<&String> {
    summary.invariants.iter().filter(|found| found.violations > 0).flat_map(|found| &found.examples).collect()
}

#[test]
fn more_is_sold_than_there_was_at_first_and_the_books_add_up() {
    let summary = played(DELIVERIES);
    assert_eq!(violations(&summary), Vec::<&String>::new());
    assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
    assert_eq!((summary.http["login"].count, summary.http["restock"].count), (20, 5));
    assert_eq!(summary.orders.confirmed, 20);
}

#[test]
fn without_deliveries_only_the_first_units_are_sold() {
    let without = DELIVERIES.replace("restock: { sku: LAMP, quantity: 4 }", "view: LAMP").replace("restock}", "view}");
    let summary = played(&without);
    assert_eq!(violations(&summary), Vec::<&String>::new());
    assert_eq!((summary.orders.confirmed, summary.orders.cancelled_by["sold_out"]), (3, 17));
}

#[test]
fn the_right_password_closes_no_address_however_often_it_comes() {
    // Twenty users, each of whom signs in twenty times: the right password never closes an address.
    let often = DELIVERIES.replace("[ login, view: LAMP", &format!("[ {}view: LAMP", "login, ".repeat(20)));
    let summary = played(&often);
    assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
    assert_eq!((summary.http["login"].count, summary.orders.confirmed), (400, 20));
}

#[test]
fn who_signs_in_goes_on_with_the_new_session() {
    // By the time that they order, the sessions they were seeded with have expired.
    let late = DELIVERIES.replace("[ login, view: LAMP, think: 1s, order", "[ think: 3s, login, order");
    let late = late.replace("restock: { sku: LAMP, quantity: 4 }", "search: lamp").replace("stock: 3 }", "stock: 20 }");
    let late = late.replace("restock}", "search}").replace("acquirer.decline_rate: 0.0", "user.token_ttl: 2s");
    let summary = played(&late);
    assert_eq!((summary.exit_code, summary.orders.confirmed), (0, 20), "{:?}", summary.verdict);
    let without = played(&late.replace("login, order", "order").replace("name:login", "name:order"));
    assert_eq!((without.orders.rejected, without.orders.confirmed), (20, 0));
}

#[test]
fn settings_of_a_scenario_take_effect_in_their_services() {
    let with = |setting: &str| {
        played(&DELIVERIES.replace("settings: { acquirer.decline_rate: 0.0 }", &format!("settings: {{ {setting} }}")))
    };
    // Each by what only that service does.
    assert_eq!(with("gateway.rate_limit_per_minute: 1").orders.rejected, 20, "who has looked may not order as well");
    assert_eq!(with("acquirer.decline_rate: 1.0").orders.cancelled_by["declined"], 20);
    let slow = with("notification.provider_latency: 3s");
    assert!(slow.duration_s > with("notification.provider_latency: 1ms").duration_s + 2.0);
}
