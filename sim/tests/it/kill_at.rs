//! A shop that dies of `kill -9` at a chosen moment, and is put up again: what was acknowledged ends, once.
//!
//! Each moment is a crash point, and is looked at in what the dead shop left: a point that moved would be noticed.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use audit::witness::WitnessLog;
use store::sqlite::Storage;

use crate::harness::{Bench, PATIENCE, Running, TINY};
use crate::kill::{in_flight, put_up, time_is_over, until_quiet};
use crate::rush::{Regrets, Rush, witness};

/// A third of the cards are declined. A busy machine is no outage: nothing is given up before it comes to its moment
/// because the provider's answer is late.
const SETTINGS: [&str; 10] = [
    "acquirer.decline_rate=0.3",
    "payment.provider_timeout=10m",
    "payment.breaker_window=10000",
    "payment.breaker_minimum_calls=10000",
    "payment.charge_window=2s",
    "order.step_timeout=2s",
    "order.lease=2500ms",
    "gateway.rate_limit_per_minute=6000",
    "user.argon2_memory_kib=8",
    "user.argon2_iterations=1",
];
/// How long a charge takes, as a rule.
const USUAL: &str = "acquirer.latency=30ms..90ms";
/// So long that a customer who regrets comes in the middle of it.
const LONG: &str = "acquirer.latency=150ms..450ms";
/// No charge ends before the shop is dead.
const HELD: &str = "acquirer.latency=1h";

/// More of them mean that the point is not passed.
const ORDERS_MAX: usize = 2_000;
const CUSTOMERS: usize = 12;
/// A machine that stands still for seconds makes the shop lose patience, and pass the point with another order than the
/// one that is meant: such a round is made again, so often in all.
const TRIES: usize = 3;

/// A moment to die at.
struct Moment {
    /// With the number of the passage: the first ones find the shop idle.
    point: &'static str,
    /// What then stands in the databases, and stands there at no other moment.
    left: &'static str,
    latency: &'static str,
}

/// The order is written down, and nobody has been asked for anything.
const ONLY_WRITTEN: &str = "SELECT count(*) FROM orders AS o WHERE o.version = 1
    AND NOT EXISTS (SELECT 1 FROM inventory.operations AS done WHERE done.order_id = o.id)";
/// The units are held, and the order does not know.
const HELD_UNKNOWN: &str = "SELECT count(*) FROM orders AS o JOIN inventory.operations AS done ON done.order_id = o.id
    WHERE o.status = 'PENDING' AND done.operation = 'reserve'";
/// The provider has decided, and the payment service does not know.
const CHARGED_UNKNOWN: &str =
    "SELECT count(*) FROM payment.payments AS p JOIN acquirer.charges AS c ON c.key = p.order_id
    WHERE p.state = 'intent' AND c.state IN ('captured', 'declined')";
/// The payment has its result, and the order does not know.
const PAID_UNKNOWN: &str = "SELECT count(*) FROM orders AS o JOIN payment.payments AS p ON p.order_id = o.id
    WHERE o.status = 'RESERVED' AND p.state IN ('captured', 'declined')";
/// The decision to abort is written down, and its first compensation has not been asked for.
const ONLY_ABORTED: &str = "SELECT count(*) FROM orders AS o WHERE o.status = 'CANCELLING'
    AND NOT EXISTS (SELECT 1 FROM inventory.operations AS done
                    WHERE done.order_id = o.id AND done.operation = 'release')
    AND NOT EXISTS (SELECT 1 FROM payment.payments AS p WHERE p.order_id = o.id AND p.state <> 'intent')";
/// The money is seen to, and the order does not know.
const GIVEN_BACK_UNKNOWN: &str = "SELECT count(*) FROM orders AS o JOIN payment.payments AS p ON p.order_id = o.id
    WHERE o.status = 'CANCELLING' AND p.state IN ('voided', 'refunded', 'blocked', 'declined')
    AND NOT EXISTS (SELECT 1 FROM order_events AS e WHERE e.aggregate = o.id AND e.kind = 'PaymentRefunded')";
/// The units are back, and the order does not know.
const RELEASED_UNKNOWN: &str = "SELECT count(*) FROM orders AS o
    JOIN inventory.operations AS done ON done.order_id = o.id AND done.operation = 'release'
    WHERE o.status = 'CANCELLING'";
/// The event stands in the log, and its row does not say so.
const PUBLISHED_UNMARKED: &str = "SELECT count(*) FROM order_events AS e JOIN log.messages AS m
    ON m.stream = 'ORDERS' AND m.aggregate = e.aggregate AND m.version = e.version WHERE e.published_at IS NULL";
const PAYMENT_PUBLISHED_UNMARKED: &str = "SELECT count(*) FROM payment.payment_events AS e JOIN log.messages AS m
    ON m.stream = 'PAYMENTS' AND m.aggregate = e.aggregate AND m.version = e.version WHERE e.published_at IS NULL";

/// An event that stands in the log twice.
const PUBLISHED_TWICE: &str = "SELECT count(*) FROM (SELECT 1 FROM log.messages
    GROUP BY stream, aggregate, version HAVING count(*) > 1)";

/// Counts in the databases of a shop that does not run.
fn count(bench: &Bench, sql: &str) -> i64 {
    let connection = Storage::Folder(bench.path("data")).open("order_db").unwrap();
    for (name, database) in
        [("inventory", "inventory_db"), ("payment", "payment_db"), ("acquirer", "acquirer_db"), ("log", "event_log")]
    {
        let path = bench.path("data").join(format!("{database}.db"));
        connection.execute(&format!("ATTACH ?1 AS {name}"), [path.to_str().unwrap()]).unwrap();
    }
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Has customers order until the shop is dead.
async fn until_dead(rush: Rush, round: usize, regrets: Regrets, mut shop: Running) {
    let customers = rush.customers(round, CUSTOMERS, regrets);
    let dead = async {
        loop {
            if let Some(ended) = shop.ended() {
                break ended;
            }
            assert!(rush.placed() < ORDERS_MAX, "{} orders have not taken it to where it was to die", rush.placed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, dead).await.expect("it dies where it was to die");
    assert_eq!(ended.signal(), Some(9), "{ended}");
    rush.end(customers).await;
}

/// A shop that dies at the moment and comes back, while its customers order; answers whether it was the moment that it
/// is called. Whatever it was, what was acknowledged ends.
async fn dies_once(bench: &Bench, witness: &WitnessLog, moment: &Moment, regrets: Regrets, round: usize) -> bool {
    let Moment { point, left, latency } = moment;
    let settings = |latency| [&SETTINGS[..], &[latency]].concat();
    let (shop, gateway) = put_up(bench, &settings(latency), &["--chaos", "--crash-at", point]);
    let rush = Rush::at(&gateway, witness).await;
    until_dead(rush.clone(), round, regrets, shop).await;
    assert!(rush.acknowledged() > 0, "{point}");
    let caught = in_flight(bench).await.orders;
    assert!(caught > 0, "{point}: nothing was in flight");
    let hit = count(bench, left) > 0;

    time_is_over(bench);
    let (shop, _) = put_up(bench, &settings(USUAL), &[]);
    until_quiet(bench).await;
    shop.stop();
    assert_eq!((count(bench, left), count(bench, PUBLISHED_TWICE)), (0, 0), "{point}");
    println!("{point}: {} acknowledged, {caught} in flight; all ended; as meant: {hit}", rush.acknowledged());
    hit
}

/// The same shop, moment for moment.
async fn dies_at(moments: &[Moment], regrets: Regrets) {
    let bench = Bench::new(TINY);
    let witness = witness(&bench);
    let mut rounds = 0..;
    for moment in moments {
        let mut hit = false;
        for round in rounds.by_ref().take(TRIES) {
            hit = dies_once(&bench, &witness, moment, regrets, round).await;
            if hit {
                break;
            }
        }
        assert!(hit, "{}: this is not the moment that it is called, {TRIES} times", moment.point);
    }
    bench.shopctl(&["audit", "--data", "data", "--witness", "orders.jsonl"]).exits(0);
}

#[tokio::test]
async fn a_shop_killed_between_writing_an_order_down_and_its_first_call_carries_it_out() {
    dies_at(&[Moment { point: "order_db.create_order.after:20", left: ONLY_WRITTEN, latency: USUAL }], Regrets::Never)
        .await;
}

#[tokio::test]
async fn a_shop_killed_between_an_effect_and_its_record_has_the_effect_once() {
    dies_at(
        &[
            Moment { point: "inventory_db.reserve.after:15", left: HELD_UNKNOWN, latency: USUAL },
            Moment { point: "payment_db.settle.before:10", left: CHARGED_UNKNOWN, latency: USUAL },
            Moment { point: "order.call.payment.ProcessPayment.after:10", left: PAID_UNKNOWN, latency: USUAL },
        ],
        Regrets::Never,
    )
    .await;
}

#[tokio::test]
async fn a_shop_killed_when_a_charge_is_made_and_not_answered_charges_once() {
    dies_at(
        &[Moment { point: "acquirer.serve.Charge.after:10", left: CHARGED_UNKNOWN, latency: USUAL }],
        Regrets::Never,
    )
    .await;
}

#[tokio::test]
async fn a_shop_killed_in_the_middle_of_a_compensation_ends_it() {
    dies_at(
        &[
            Moment { point: "order_db.take_over.after:4", left: ONLY_ABORTED, latency: HELD },
            Moment { point: "order.call.payment.RefundPayment.after:2", left: GIVEN_BACK_UNKNOWN, latency: LONG },
            Moment { point: "inventory_db.release.after:5", left: RELEASED_UNKNOWN, latency: LONG },
        ],
        Regrets::EveryOther,
    )
    .await;
}

#[tokio::test]
async fn a_shop_killed_between_publishing_and_marking_publishes_nothing_twice() {
    dies_at(
        &[
            Moment { point: "order.log.publish.after:15", left: PUBLISHED_UNMARKED, latency: USUAL },
            Moment { point: "payment.log.publish.after:10", left: PAYMENT_PUBLISHED_UNMARKED, latency: USUAL },
        ],
        Regrets::Never,
    )
    .await;
}

#[test]
fn where_a_shop_dies_is_refused_without_chaos_and_where_there_is_no_such_point() {
    let bench = Bench::new(TINY);
    let up = |arguments: &[&str]| {
        let arguments = [&["up", "--listen", "127.0.0.1:0"], arguments].concat();
        bench.shopctl(&arguments).exits(104).stderr()
    };
    assert!(up(&["--crash-at", "order_db.create_order.after"]).contains("--chaos"));
    let said = up(&["--chaos", "--crash-at", "order_db.create_oder.after"]);
    assert!(said.contains("did you mean `order_db.create_order.after`"), "{said}");
}
