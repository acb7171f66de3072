//! Customers who order as fast as they are served, and a record of what they saw.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit::witness::{Item, Record, Seen, WitnessLog};
use chassis::net::SystemNetwork;
use load::api::{Api, Shopper};
use load::journey::seen;
use shop::http::{HttpClient, is_success};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, TINY};

const USERS: usize = 80;
/// As many as all rounds together can buy.
const STOCK: &str = "stock: 100000";
/// How soon a customer looks again, or asks again where there was no answer.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a customer lets the shop wait for the end of an order, before they ask once more.
const END: Duration = Duration::from_secs(25);

/// Whether customers take their orders back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regrets {
    #[allow(dead_code, reason = "with servers, there is always a customer who does")]
    Never,
    /// Every other customer, as soon as the order is seen to be on its way: then there is something to undo.
    EveryOther,
}

/// Customers who each place an order, follow it to its end, and place the next. However slow the machine is, no more
/// orders are under way than there are customers: it is asked for less, and gives up on none of them.
#[derive(Clone)]
pub struct Rush {
    api: Api,
    witness: WitnessLog,
    shoppers: Arc<[Shopper]>,
    placed: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    over: CancellationToken,
}

impl Rush {
    pub async fn at(gateway: &str, witness: &WitnessLog) -> Self {
        Self {
            api: Api { client: HttpClient::new(Arc::new(SystemNetwork), gateway.to_owned()) },
            witness: witness.clone(),
            shoppers: shoppers(gateway).await.into(),
            placed: Arc::default(),
            acknowledged: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    /// The same customers, once more.
    #[allow(dead_code, reason = "a shop of one process has others after its death")]
    pub fn again(&self) -> Self {
        Self { over: CancellationToken::new(), ..self.clone() }
    }

    /// How many orders were sent.
    pub fn placed(&self) -> usize {
        self.placed.load(Ordering::Relaxed)
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// So many customers, who order until the rush is over. `round` is part of their orders' keys.
    pub fn customers(&self, round: usize, count: usize, regrets: Regrets) -> JoinSet<()> {
        let customer = |customer: usize| {
            let rush = self.clone();
            let regrets = regrets == Regrets::EveryOther && customer.is_multiple_of(2);
            async move {
                for number in (customer..).step_by(count) {
                    if rush.over.is_cancelled() {
                        break;
                    }
                    rush.buy(&format!("{round}-{number}"), customer, regrets).await;
                }
            }
        };
        (0..count).map(customer).collect()
    }

    /// Tells the customers that the shop is gone, and waits until the last one has left.
    pub async fn end(self, customers: JoinSet<()>) {
        self.over.cancel();
        customers.join_all().await;
    }

    /// Places an order, takes it back if the customer `regrets` it, and follows it to its end.
    async fn buy(&self, key: &str, customer: usize, regrets: bool) {
        let shopper = &self.shoppers[customer % self.shoppers.len()];
        self.placed.fetch_add(1, Ordering::Relaxed);
        let Some(order) = self.asks(shopper, key, Duration::ZERO).await else { return self.pauses().await };
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        if regrets {
            self.takes_back(shopper, key, &order.id).await;
        }
        while !self.over.is_cancelled() {
            match self.asks(shopper, key, END).await {
                Some(order) if order.has_ended() => break,
                Some(_) => {}
                None => self.pauses().await,
            }
        }
    }

    /// Sends the order, perhaps once more; answers what it is when that is known.
    async fn asks(&self, shopper: &Shopper, key: &str, wait: Duration) -> Option<Seen> {
        let (user, key) = (shopper.user_id.clone(), key.to_owned());
        let items = vec![Item { sku: "GEN-0001".into(), quantity: 1 }];
        self.witness.write(&Record::Sent { at_us: 0, user: user.clone(), key: key.clone(), items: items.clone() });
        match self.api.place_order(&shopper.token, &key, &items, wait).await {
            Ok(answer) => {
                let order = is_success(answer.status).then(|| seen(&answer).unwrap());
                let http = answer.status;
                self.witness.write(&Record::Reply { at_us: 0, user, key, http, order: order.clone(), took_us: 0 });
                order
            }
            Err(lost) => {
                self.witness.write(&Record::NoReply { at_us: 0, user, key, sent: lost.sent, why: lost.why });
                None
            }
        }
    }

    /// Cancels the order once it has got beyond its first step.
    async fn takes_back(&self, shopper: &Shopper, key: &str, order: &str) {
        while !self.over.is_cancelled() {
            let answer = self.api.order(&shopper.token, order).await;
            if answer.is_ok_and(|answer| seen(&answer).is_some_and(|order| order.status != "PENDING")) {
                break;
            }
            self.pauses().await;
        }
        if let Ok(answer) = self.api.cancel(&shopper.token, order).await
            && is_success(answer.status)
        {
            let (user, order) = (shopper.user_id.clone(), seen(&answer).unwrap());
            self.witness.write(&Record::Saw { at_us: 0, user, key: key.to_owned(), order });
        }
    }

    /// Does nothing for a moment: not to wait for something, but so as not to spin.
    async fn pauses(&self) {
        tokio::time::sleep(AGAIN).await;
    }
}

pub async fn shoppers(gateway: &str) -> Vec<Shopper> {
    let client = HttpClient::new(Arc::new(SystemNetwork), gateway.to_owned());
    let scenario = TINY.replace("users: 80", &format!("users: {USERS}")).replace("stock: 1000", STOCK);
    let scenario = scenario::parse(&scenario, "tiny.yaml", &[], &scenario::known()).unwrap();
    experiment::run::seed::seed(&client, &world::Admin::embedded(), &scenario).await.unwrap().shoppers
}

/// What clients saw, kept beside the shop's data.
pub fn witness(bench: &Bench) -> WitnessLog {
    let record = OpenOptions::new().create(true).append(true).open(bench.path("orders.jsonl")).unwrap();
    WitnessLog::new(Box::new(record))
}
