//! A shop that is killed in mid-flight, again and again: nothing that was acknowledged is lost, and
//! everything ends.
//!
//! `cargo test -p shopctl --test it kill -- --nocapture` prints a line a round; `KILL_ROUNDS` says how
//! many there are.

use std::time::Duration;

use audit::books::{Books as _, InFlight};
use audit::sqlite::SqliteBooks;
use store::sqlite::Storage;

use crate::harness::{Bench, Running, TINY};
use crate::rush::{Rush, witness};

const ROUNDS: usize = 20;
/// In flight at the kill, at least.
const IN_FLIGHT: u64 = 50;
/// So many kills may come too late.
const MISSED_MAX: usize = 3;
/// Acknowledged before the kill, at least. The acquirer takes longer than all of them together.
const ACKNOWLEDGED: usize = 80;

/// Slow enough that orders are in flight, and quick to notice that nobody drives an order any more.
const SETTINGS: [&str; 3] = ["acquirer.latency=300ms..450ms", "order.step_timeout=700ms", "order.lease=1s"];

pub fn put_up(bench: &Bench, settings: &[&str], more: &[&str]) -> (Running, String) {
    let mut arguments = vec!["up", "--data", "data", "--listen", "127.0.0.1:0"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments.extend(more);
    let mut shop = bench.spawn(&arguments);
    let line = shop.says("the shop is up");
    let gateway = line.rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    (shop, gateway)
}

/// Orders until enough are acknowledged, kills the shop while more are on their way, and answers how
/// many were acknowledged in all.
async fn until_killed(rush: &Rush, round: usize, shop: Running) -> usize {
    let mut under_way: Vec<_> = (0..ACKNOWLEDGED).map(|number| rush.order(round, number, None)).collect();
    let mut number = ACKNOWLEDGED;
    while rush.acknowledged() < ACKNOWLEDGED {
        under_way.push(rush.order(round, number, None));
        number += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(number < 20_000, "the shop acknowledges nothing");
    }
    shop.kill();
    for one in under_way {
        one.await.unwrap();
    }
    rush.acknowledged()
}

pub async fn in_flight(bench: &Bench) -> InFlight {
    let books = SqliteBooks::open(&Storage::Folder(bench.path("data"))).unwrap();
    books.in_flight().await.unwrap()
}

/// Waits until what is under way is as wanted.
pub async fn until(bench: &Bench, wanted: impl Fn(InFlight) -> bool) {
    for _ in 0..1200 {
        if wanted(in_flight(bench).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after a minute there is still {:?}", in_flight(bench).await);
}

#[tokio::test]
async fn a_killed_shop_loses_no_acknowledged_order_and_ends_all_of_them() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("KILL_ROUNDS is a number"));
    let bench = Bench::new(TINY);
    let witness = witness(&bench);
    let (mut round, mut missed) = (0, 0);
    while round < rounds {
        let (shop, gateway) = put_up(&bench, &SETTINGS, &[]);
        let rush = Rush::at(&gateway, &witness).await;
        let acknowledged = until_killed(&rush, round + missed + 1, shop).await;
        let caught = in_flight(&bench).await.orders;
        // Whoever orders may have been kept waiting by the machine, and the shop was done meanwhile: that is no kill in
        // mid-flight, and does not count as one.
        match caught >= IN_FLIGHT {
            true => round += 1,
            false => missed += 1,
        }
        assert!(missed <= MISSED_MAX, "only {caught} orders were in flight at the kill, for the {missed}th time");
        let (shop, _) = put_up(&bench, &SETTINGS, &[]);
        until(&bench, InFlight::is_quiet).await;
        shop.stop();
        bench.shopctl(&["audit", "--data", "data", "--witness", "orders.jsonl"]).exits(0);
        println!("kill {round} of {rounds}: {acknowledged} acknowledged, {caught} in flight; all are there, all ended");
    }
}
