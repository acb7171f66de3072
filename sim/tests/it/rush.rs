//! Customers who order as fast as they can, and a record of what they saw.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit::witness::Item;
use audit::witness::{Record, WitnessLog};
use chassis::net::SystemNetwork;
use load::api::{Api, Shopper};
use load::journey::seen;
use shop::http::{HttpClient, is_success};

use crate::harness::{Bench, TINY};

const USERS: usize = 80;

/// Buyers who do not wait for the outcome.
pub struct Rush {
    api: Api,
    witness: WitnessLog,
    shoppers: Vec<Shopper>,
    acknowledged: Arc<AtomicUsize>,
}

impl Rush {
    pub async fn at(gateway: &str, witness: &WitnessLog) -> Self {
        Self {
            api: Api { client: HttpClient::new(Arc::new(SystemNetwork), gateway.to_owned()) },
            witness: witness.clone(),
            shoppers: shoppers(gateway).await,
            acknowledged: Arc::default(),
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Places an order; its client takes it back so long after it was acknowledged, if at all.
    pub fn order(&self, round: usize, number: usize, regrets: Option<Duration>) -> tokio::task::JoinHandle<()> {
        let (api, witness, acknowledged) = (self.api.clone(), self.witness.clone(), self.acknowledged.clone());
        let Shopper { user_id: user, token, .. } = self.shoppers[number % self.shoppers.len()].clone();
        let (key, items) = (format!("{round}-{number}"), vec![Item { sku: "GEN-0001".into(), quantity: 1 }]);
        tokio::spawn(async move {
            witness.write(&Record::Sent { at_us: 0, user: user.clone(), key: key.clone(), items: items.clone() });
            match api.place_order(&token, &key, &items, Duration::ZERO).await {
                Ok(answer) => {
                    let order = is_success(answer.status).then(|| seen(&answer).unwrap());
                    acknowledged.fetch_add(usize::from(order.is_some()), Ordering::Relaxed);
                    let taken_back = order.clone().zip(regrets);
                    let (its_user, its_key) = (user.clone(), key.clone());
                    witness.write(&Record::Reply { at_us: 0, user, key, http: answer.status, order, took_us: 0 });
                    let Some((order, later)) = taken_back else { return };
                    tokio::time::sleep(later).await;
                    if let Ok(answer) = api.cancel(&token, &order.id).await
                        && is_success(answer.status)
                    {
                        let order = seen(&answer).unwrap();
                        witness.write(&Record::Saw { at_us: 0, user: its_user, key: its_key, order });
                    }
                }
                Err(lost) => {
                    witness.write(&Record::NoReply { at_us: 0, user, key, sent: lost.sent, why: lost.why });
                }
            }
        })
    }
}

pub async fn shoppers(gateway: &str) -> Vec<Shopper> {
    let client = HttpClient::new(Arc::new(SystemNetwork), gateway.to_owned());
    let scenario = TINY.replace("users: 80", &format!("users: {USERS}"));
    let scenario = scenario::parse(&scenario, "tiny.yaml", &[], &scenario::known()).unwrap();
    experiment::run::seed::seed(&client, &world::Admin::embedded(), &scenario).await.unwrap().shoppers
}

/// What clients saw, kept beside the shop's data.
pub fn witness(bench: &Bench) -> WitnessLog {
    let record = OpenOptions::new().create(true).append(true).open(bench.path("orders.jsonl")).unwrap();
    WitnessLog::new(Box::new(record))
}
