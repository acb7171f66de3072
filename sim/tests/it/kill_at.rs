//! A shop that dies of `kill -9` at a chosen moment, and is put up again: what was acknowledged ends, once.
//!
//! Each moment is a crash point, and is looked at in what the dead shop left: a point that moved would be noticed.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use audit::books::InFlight;
use store::sqlite::Storage;

use crate::harness::{Bench, Running, TINY};
use crate::kill::{in_flight, put_up, until};
use crate::rush::{Rush, witness};

/// A third of the cards are declined, and a charge takes as long as it takes some clients to regret.
const SETTINGS: [&str; 7] = [
    "acquirer.decline_rate=0.3",
    "acquirer.latency=30ms..90ms",
    "order.step_timeout=2s",
    "order.lease=2500ms",
    "gateway.rate_limit_per_minute=6000",
    "user.argon2_memory_kib=8",
    "user.argon2_iterations=1",
];

/// Every other client, where clients regret, takes its order back: so much later than the one before, up to so many, and then at once.
const REGRETS_EVERY: usize = 2;
const REGRETS_LATER: Duration = Duration::from_millis(15);
const REGRETS_STEPS: usize = 8;
/// More of them mean that the point is not passed.
const ORDERS_MAX: usize = 2_000;

/// A moment to die at.
struct Moment {
    /// With the number of the passage: the first ones find the shop idle.
    point: &'static str,
    /// What then stands in the databases, and stands there at no other moment.
    left: &'static str,
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

/// Orders until the shop is dead, no faster than a busy machine keeps up with: what waits too long is given up
/// before it comes to the moment.
async fn until_dead(rush: &Rush, round: usize, regrets: bool, mut shop: Running) {
    let mut under_way = Vec::new();
    let ended = loop {
        if let Some(ended) = shop.ended() {
            break ended;
        }
        let number = under_way.len();
        assert!(number < ORDERS_MAX, "{number} orders have not taken it to where it was to die");
        let later = REGRETS_LATER * (number / REGRETS_EVERY % REGRETS_STEPS) as u32;
        under_way.push(rush.order(round, number, (regrets && number % REGRETS_EVERY == 0).then_some(later)));
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    assert_eq!(ended.signal(), Some(9), "{ended}");
    for one in under_way {
        one.await.unwrap();
    }
}

/// A shop that dies and comes back, moment for moment, while its customers order.
/// Some of them take their order back, if they `regret`.
async fn dies_at(moments: &[Moment], regrets: bool) {
    let bench = Bench::new(TINY);
    let witness = witness(&bench);
    for (round, Moment { point, left }) in moments.iter().enumerate() {
        let (shop, gateway) = put_up(&bench, &SETTINGS, &["--chaos", "--crash-at", point]);
        let rush = Rush::at(&gateway, &witness).await;
        until_dead(&rush, round, regrets, shop).await;
        assert!(rush.acknowledged() > 0, "{point}");
        let caught = in_flight(&bench).await.orders;
        assert!(caught > 0, "{point}: nothing was in flight");
        assert!(count(&bench, left) > 0, "{point}: this is not the moment that it is called");

        let (shop, _) = put_up(&bench, &SETTINGS, &[]);
        // What a dead consumer had been given is given out again much later; that is waited for once, in the end.
        until(&bench, |found| InFlight { unacknowledged: 0, ..found }.is_quiet()).await;
        if round + 1 == moments.len() {
            until(&bench, InFlight::is_quiet).await;
        }
        shop.stop();
        assert_eq!((count(&bench, left), count(&bench, PUBLISHED_TWICE)), (0, 0), "{point}");
        println!("{point}: {} acknowledged, {caught} in flight; all ended", rush.acknowledged());
    }
    bench.shopctl(&["audit", "--data", "data", "--witness", "orders.jsonl"]).exits(0);
}

#[tokio::test]
async fn a_shop_killed_between_writing_an_order_down_and_its_first_call_carries_it_out() {
    dies_at(&[Moment { point: "order_db.create_order.after:20", left: ONLY_WRITTEN }], false).await;
}

#[tokio::test]
async fn a_shop_killed_between_an_effect_and_its_record_has_the_effect_once() {
    dies_at(
        &[
            Moment { point: "inventory_db.reserve.after:15", left: HELD_UNKNOWN },
            Moment { point: "payment_db.settle.before:10", left: CHARGED_UNKNOWN },
            Moment { point: "order.call.payment.ProcessPayment.after:10", left: PAID_UNKNOWN },
        ],
        false,
    )
    .await;
}

#[tokio::test]
async fn a_shop_killed_when_a_charge_is_made_and_not_answered_charges_once() {
    dies_at(&[Moment { point: "acquirer.serve.Charge.after:10", left: CHARGED_UNKNOWN }], false).await;
}

#[tokio::test]
async fn a_shop_killed_in_the_middle_of_a_compensation_ends_it() {
    dies_at(
        &[
            Moment { point: "order_db.take_over.after:4", left: ONLY_ABORTED },
            Moment { point: "order.call.payment.RefundPayment.after:2", left: GIVEN_BACK_UNKNOWN },
            Moment { point: "inventory_db.release.after:5", left: RELEASED_UNKNOWN },
        ],
        true,
    )
    .await;
}

#[tokio::test]
async fn a_shop_killed_between_publishing_and_marking_publishes_nothing_twice() {
    dies_at(
        &[
            Moment { point: "order.log.publish.after:15", left: PUBLISHED_UNMARKED },
            Moment { point: "payment.log.publish.after:10", left: PAYMENT_PUBLISHED_UNMARKED },
        ],
        false,
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
