//! A shop that is killed in mid-flight, again and again: nothing that was acknowledged is lost, and
//! everything ends.
//!
//! `cargo test -p shopctl --test it kill -- --nocapture` prints a line a round; `KILL_ROUNDS` says how
//! many there are.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chassis::net::SystemNetwork;
use chassis::sqlite::Storage;
use shopctl::audit::books::Books as _;
use shopctl::audit::sqlite::SqliteBooks;
use shopctl::audit::witness::{Record, WitnessLog};
use shopctl::load::api::{Api, Item, Shopper};
use shopctl::load::client::{HttpClient, is_success};
use shopctl::load::journey::seen;

use crate::harness::{Bench, Running, TINY};

const ROUNDS: usize = 20;
/// In flight at the kill, at least.
const IN_FLIGHT: u64 = 50;
/// Acknowledged before the kill, at least. The acquirer takes longer than all of them together.
const ACKNOWLEDGED: usize = 80;
const USERS: usize = 80;

/// Slow enough that orders are in flight, and quick to notice that nobody drives an order any more.
const SETTINGS: [&str; 3] = ["acquirer.latency=300ms..450ms", "order.step_timeout=700ms", "order.lease=1s"];

fn put_up(bench: &Bench) -> (Running, String) {
    let mut arguments = vec!["up", "--data", "data", "--listen", "127.0.0.1:0"];
    SETTINGS.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let mut shop = bench.spawn(&arguments);
    let line = shop.says("the shop is up");
    let gateway = line.rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    (shop, gateway)
}

/// Buyers who do not wait for the outcome.
struct Rush {
    api: Api,
    witness: WitnessLog,
    shoppers: Vec<Shopper>,
    acknowledged: Arc<AtomicUsize>,
}

impl Rush {
    fn order(&self, round: usize, number: usize) -> tokio::task::JoinHandle<()> {
        let (api, witness, acknowledged) = (self.api.clone(), self.witness.clone(), self.acknowledged.clone());
        let Shopper { user_id: user, token } = self.shoppers[number % self.shoppers.len()].clone();
        let (key, items) = (format!("{round}-{number}"), vec![Item { sku: "GEN-0001".into(), quantity: 1 }]);
        tokio::spawn(async move {
            witness.write(&Record::Sent { at_us: 0, user: user.clone(), key: key.clone(), items: items.clone() });
            match api.place_order(&token, &key, &items, Duration::ZERO).await {
                Ok(answer) => {
                    let order = is_success(answer.status).then(|| seen(&answer).unwrap());
                    acknowledged.fetch_add(usize::from(order.is_some()), Ordering::Relaxed);
                    witness.write(&Record::Reply { at_us: 0, user, key, http: answer.status, order, took_us: 0 });
                }
                Err(lost) => {
                    witness.write(&Record::NoReply { at_us: 0, user, key, sent: lost.sent, why: lost.why });
                }
            }
        })
    }

    /// Orders until enough are acknowledged, kills the shop while more are on their way, and answers how
    /// many were acknowledged in all.
    async fn until_killed(&self, round: usize, shop: Running) -> usize {
        let mut under_way: Vec<_> = (0..ACKNOWLEDGED).map(|number| self.order(round, number)).collect();
        let mut number = ACKNOWLEDGED;
        while self.acknowledged.load(Ordering::Relaxed) < ACKNOWLEDGED {
            under_way.push(self.order(round, number));
            number += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(number < 20_000, "the shop acknowledges nothing");
        }
        shop.kill();
        for one in under_way {
            one.await.unwrap();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

async fn in_flight(bench: &Bench) -> (u64, bool) {
    let books = SqliteBooks::open(&Storage::Folder(bench.path("data"))).unwrap();
    let in_flight = books.in_flight().await.unwrap();
    (in_flight.orders, in_flight.is_quiet())
}

async fn at_rest(bench: &Bench) {
    for _ in 0..1200 {
        if in_flight(bench).await.1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("orders are still in flight after a minute");
}

async fn shoppers(gateway: &str) -> Vec<Shopper> {
    let client = HttpClient::new(Arc::new(SystemNetwork), gateway.to_owned());
    let scenario = TINY.replace("users: 80", &format!("users: {USERS}"));
    let scenario = shopctl::scenario::parse(&scenario, "tiny.yaml", &[], &shopctl::world::shop::known()).unwrap();
    shopctl::run::seed::seed(&client, &shopctl::world::Admin::embedded(), &scenario).await.unwrap().shoppers
}

#[tokio::test]
async fn a_killed_shop_loses_no_acknowledged_order_and_ends_all_of_them() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("KILL_ROUNDS is a number"));
    let bench = Bench::new(TINY);
    let record = OpenOptions::new().create(true).append(true).open(bench.path("orders.jsonl")).unwrap();
    let witness = WitnessLog::new(Box::new(record));
    for round in 1..=rounds {
        let (shop, gateway) = put_up(&bench);
        let rush = Rush {
            api: Api { client: HttpClient::new(Arc::new(SystemNetwork), gateway.clone()) },
            witness: witness.clone(),
            shoppers: shoppers(&gateway).await,
            acknowledged: Arc::default(),
        };
        let acknowledged = rush.until_killed(round, shop).await;
        let (caught, _) = in_flight(&bench).await;
        assert!(caught >= IN_FLIGHT, "only {caught} orders were in flight at the kill");
        let (shop, _) = put_up(&bench);
        at_rest(&bench).await;
        shop.stop();
        bench.shopctl(&["audit", "--data", "data", "--witness", "orders.jsonl"]).exits(0);
        println!("kill {round} of {rounds}: {acknowledged} acknowledged, {caught} in flight; all are there, all ended");
    }
}
