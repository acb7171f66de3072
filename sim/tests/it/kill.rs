//! A shop that is killed in mid-flight, again and again: nothing that was acknowledged is lost, and
//! everything ends.
//!
//! `cargo test -p shopctl --test it kill -- --nocapture` prints a line a round; `KILL_ROUNDS` says how
//! many there are.

use std::time::Duration;

use audit::books::{Books as _, InFlight};
use audit::sqlite::SqliteBooks;
use store::sqlite::Storage;

use crate::harness::{Bench, PATIENCE, Running, TINY};
use crate::rush::{Regrets, Rush, witness};

const ROUNDS: usize = 10;
/// In flight at the kill, at least.
const IN_FLIGHT: u64 = 50;
/// Acknowledged before the kill, at least: so many in the first round, and more in each of the next ones, so that kills
/// find orders in every step.
const ACKNOWLEDGED: usize = 80;
const MORE: usize = 20;
const BEFORE_ANEW: usize = 6;
/// Each has one order under way.
const CUSTOMERS: usize = 70;

/// Slow enough that orders are in flight, and quick to notice that no driver has an order any more. A busy machine is
/// no outage: the breaker stays closed.
const SETTINGS: [&str; 8] = [
    "acquirer.latency=300ms..450ms",
    "payment.breaker_window=10000",
    "payment.breaker_minimum_calls=10000",
    "payment.charge_window=1s",
    "order.step_timeout=700ms",
    "order.lease=1s",
    "gateway.rate_limit_per_minute=6000",
    "user.argon2_memory_kib=8",
];

pub fn put_up(bench: &Bench, settings: &[&str], more: &[&str]) -> (Running, String) {
    let mut arguments = vec!["up", "--data", "data", "--listen", "127.0.0.1:0"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments.extend(more);
    let mut shop = bench.spawn(&arguments);
    let line = shop.says("the shop is up");
    let gateway = line.rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    (shop, gateway)
}

/// Has customers order until enough is acknowledged and enough is in flight, and kills the shop in the middle of it.
/// Whether it is enough is looked up while the shop stands still: what is killed is what was seen.
async fn until_killed(bench: &Bench, rush: Rush, round: usize, shop: Running) -> (usize, u64) {
    let customers = rush.customers(round, CUSTOMERS, Regrets::Never);
    let wanted = ACKNOWLEDGED + MORE * ((round - 1) % BEFORE_ANEW);
    let enough = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if rush.acknowledged() < wanted {
                continue;
            }
            shop.signal("-STOP");
            if in_flight(bench).await.orders >= IN_FLIGHT {
                break;
            }
            shop.signal("-CONT");
        }
    };
    let reached = tokio::time::timeout(PATIENCE, enough).await;
    shop.kill();
    let (acknowledged, caught) = (rush.acknowledged(), in_flight(bench).await.orders);
    assert!(reached.is_ok(), "{acknowledged} acknowledged and {caught} in flight after {PATIENCE:?}");
    assert!(caught >= IN_FLIGHT, "only {caught} orders were in flight at the kill");
    rush.end(customers).await;
    (acknowledged, caught)
}

pub async fn in_flight(bench: &Bench) -> InFlight {
    let books = SqliteBooks::open(&Storage::Folder(bench.path("data"))).unwrap();
    books.in_flight().await.unwrap()
}

/// Waits until nothing is under way.
pub async fn until_quiet(bench: &Bench) {
    let quiet = async {
        while !in_flight(bench).await.is_quiet() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, quiet).await.is_err() {
        panic!("after {PATIENCE:?} there is still {:?}", in_flight(bench).await);
    }
}

/// What a dead shop's consumers had been given is given out again when their time for it is over, in half a minute.
/// Here it is over now: that changes when it comes, and not whether.
pub fn time_is_over(bench: &Bench) {
    let log = Storage::Folder(bench.path("data")).open("event_log").unwrap();
    log.execute("UPDATE pending SET due_at = 0", []).unwrap();
}

#[tokio::test]
async fn a_killed_shop_loses_no_acknowledged_order_and_ends_all_of_them() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("KILL_ROUNDS is a number"));
    let bench = Bench::new(TINY);
    let witness = witness(&bench);
    for round in 1..=rounds {
        let (shop, gateway) = put_up(&bench, &SETTINGS, &[]);
        let rush = Rush::at(&gateway, &witness).await;
        let (acknowledged, caught) = until_killed(&bench, rush, round, shop).await;
        time_is_over(&bench);
        let (shop, _) = put_up(&bench, &SETTINGS, &[]);
        until_quiet(&bench).await;
        shop.stop();
        bench.shopctl(&["audit", "--data", "data", "--witness", "orders.jsonl"]).exits(0);
        println!("kill {round} of {rounds}: {acknowledged} acknowledged, {caught} in flight; all are there, all ended");
    }
}
