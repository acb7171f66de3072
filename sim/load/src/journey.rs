//! One shopper's way through the shop, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::rng::Stream;
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::api::{Api, OrderView, SessionView, Shopper};
use super::clock::LoadClock;
use super::recorder::Recorder;
use audit::witness::Item;
use audit::witness::{Delivery, Record, Seen, WitnessLog};
use scenario::journey::{OrderStep, Pick, RestockStep, Step};
use shop::http::{Answer, NoAnswer, is_success};

/// How long `await` pauses between two looks at its order.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Under which the identities of deliveries are derived.
const DELIVERIES: Uuid = Uuid::from_u128(0x6465_6c69_7665_5279_8c1e_7368_6f70_6374);

/// What all journeys of a run share.
pub struct Stage {
    pub api: Api,
    pub recorder: Recorder,
    pub witness: WitnessLog,
    pub shoppers: Vec<Shopper>,
    /// Who takes in deliveries.
    pub staff_token: String,
    /// SKU → product id, of everything in the catalogue.
    pub products: BTreeMap<String, i64>,
    pub skus: Vec<String>,
    /// When the load began; times in the record count from here.
    pub start: Instant,
    pub clock: LoadClock,
    /// Cancelled when journeys are to end at their next step.
    pub stop: CancellationToken,
}

/// One journey under way.
pub struct Journey {
    stage: Arc<Stage>,
    shopper: usize,
    /// Names this journey's orders, so that no two share a key.
    name: String,
    random: Stream,
    /// Of the shopper's session: the seeded one, until they sign in themselves.
    token: Arc<str>,
    /// The instant at which the next request ought to leave.
    due: Instant,
    last: Option<Placed>,
    orders: u32,
    deliveries: u32,
}

#[derive(Clone)]
struct Placed {
    key: String,
    items: Vec<Item>,
    wait: Duration,
    id: Option<String>,
}

/// What one of several copies of a request brought.
type Copy = (Result<Answer, NoAnswer>, Instant);

impl Journey {
    /// A journey of `shopper` that is due at `due`. The random stream is its own.
    pub fn new(stage: Arc<Stage>, shopper: usize, name: String, random: Stream, due: Instant) -> Self {
        let token = stage.shoppers.get(shopper).map_or("", |shopper| shopper.token.as_str()).into();
        Self { stage, shopper, name, random, token, due, last: None, orders: 0, deliveries: 0 }
    }

    /// Takes the steps in order; answers `false` if it was stopped on the way.
    pub async fn play(mut self, steps: &[Step]) -> bool {
        let began = self.due;
        for step in steps {
            if self.stage.stop.is_cancelled() {
                self.stage.recorder.interrupted();
                return false;
            }
            self.take(step).await;
        }
        self.stage.recorder.iterated(began, Instant::now());
        true
    }

    async fn take(&mut self, step: &Step) {
        let stage = self.stage.clone();
        match step {
            Step::Think(range) => {
                let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
                let pause = self.random.random_range(micros(range.low)..=micros(range.high));
                self.due += Duration::from_micros(pause);
                sleep_until(self.due).await;
            }
            Step::Login => self.login().await,
            Step::Search(text) => {
                let token = self.token.clone();
                let call = stage.api.search(&token, text);
                let answer = self.timed("search", call).await;
                drop(answer);
            }
            Step::View(pick) => {
                let sku = self.pick(pick);
                let id = stage.products.get(&sku).copied().unwrap_or_default();
                let token = self.token.clone();
                let call = stage.api.product(&token, id);
                let answer = self.timed("view", call).await;
                drop(answer);
            }
            Step::Order(order) => self.order(order).await,
            Step::RetrySameKey => {
                if let Some(placed) = self.last.clone() {
                    self.send(placed, "retry", 1).await;
                }
            }
            Step::Cancel => self.cancel().await,
            Step::Await(longest) => self.await_end(*longest).await,
            Step::Restock(delivery) => self.restock(delivery).await,
        }
    }

    /// Signs in. Whoever is refused goes on with the session that they had.
    async fn login(&mut self) {
        let stage = self.stage.clone();
        let email = stage.shoppers.get(self.shopper).map_or("", |shopper| shopper.email.as_str());
        let call = stage.api.login(email, user::BULK_PASSWORD);
        if let Ok(answer) = self.timed("login", call).await
            && is_success(answer.status)
            && let Ok(session) = answer.json::<SessionView>()
        {
            self.token = session.token.into();
        }
    }

    /// Takes in a delivery. It is noted before it leaves: from then on its units may be sold.
    async fn restock(&mut self, delivery: &RestockStep) {
        let stage = self.stage.clone();
        let sku = self.pick(&delivery.sku);
        let quantity = self.random.random_range(delivery.quantity.clone());
        let product = stage.products.get(&sku).copied().unwrap_or_default();
        self.deliveries += 1;
        // Digested, since a group's name may be longer than the identity of a delivery.
        let id = Uuid::new_v5(&DELIVERIES, format!("{}-{}", self.name, self.deliveries).as_bytes()).to_string();
        stage.witness.write(&Record::Restock { at_us: self.since_start_us(), id: id.clone(), sku, quantity });
        let call = stage.api.restock(&stage.staff_token, product, quantity, &id);
        let became = match self.timed("restock", call).await {
            Ok(answer) if is_success(answer.status) => Delivery::Taken,
            Ok(answer) if answer.status < 500 => Delivery::Refused,
            Err(NoAnswer { sent: false, .. }) => Delivery::Refused,
            Ok(_) | Err(_) => Delivery::Unknown,
        };
        stage.witness.write(&Record::Restocked { at_us: self.since_start_us(), id, became });
    }

    fn user(&self) -> String {
        self.stage.shoppers.get(self.shopper).map(|shopper| shopper.user_id.clone()).unwrap_or_default()
    }

    fn pick(&mut self, pick: &Pick) -> String {
        match pick {
            Pick::Sku(sku) => sku.to_string(),
            Pick::Any => {
                let index = self.random.random_range(0..self.stage.skus.len().max(1));
                self.stage.skus.get(index).cloned().unwrap_or_default()
            }
        }
    }

    fn since_start_us(&self) -> u64 {
        u64::try_from((Instant::now() - self.stage.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// Makes the call, notes how long it took since it was due, and makes the next one due at its end.
    async fn timed(
        &mut self,
        name: &'static str,
        call: impl Future<Output = Result<Answer, NoAnswer>>,
    ) -> Result<Answer, NoAnswer> {
        let (due, sent) = (self.due, Instant::now());
        let answer = call.await;
        let ended = Instant::now();
        let failed = !answer.as_ref().is_ok_and(|answer| is_success(answer.status));
        self.stage.recorder.request(name, due, sent, ended, failed);
        self.due = ended;
        answer
    }

    async fn order(&mut self, step: &OrderStep) {
        let mut items = Vec::with_capacity(step.items.len());
        for item in &step.items {
            let sku = self.pick(&item.sku);
            let quantity = self.random.random_range(item.quantity.clone());
            items.push(Item { sku, quantity });
        }
        self.orders += 1;
        let key = format!("{}-{}", self.name, self.orders);
        self.send(Placed { key, items, wait: step.wait, id: None }, "order", step.copies).await;
    }

    /// Sends the order, `copies` times at once, and takes in every answer.
    async fn send(&mut self, mut placed: Placed, name: &'static str, copies: u32) {
        let stage = self.stage.clone();
        let (due, sent) = (self.due, Instant::now());
        let answers = self.answers(&placed, copies).await;
        // One order, however often it was sent: it is told by its first answer, and the others are repetitions.
        for (number, (answer, ended)) in answers.into_iter().enumerate() {
            let name = if number == 0 { name } else { "retry" };
            let failed = !answer.as_ref().is_ok_and(|answer| is_success(answer.status));
            stage.recorder.request(name, due, sent, ended, failed);
            self.due = self.due.max(ended);
            self.told(&mut placed, answer, name, ended - due);
        }
        self.last = Some(placed);
    }

    /// The answers in the order in which the copies were sent. Each is noted before it leaves.
    async fn answers(&self, placed: &Placed, copies: u32) -> Vec<Copy> {
        let mut under_way = Vec::new();
        for _ in 1..copies {
            let (stage, token, placed) = (self.stage.clone(), self.token.clone(), placed.clone());
            self.sent(&placed);
            // A task of its own, and ended with this journey.
            under_way.push(AbortOnDrop(tokio::spawn(async move { place(&stage, &token, &placed).await })));
        }
        self.sent(placed);
        let mut answers = vec![place(&self.stage, &self.token, placed).await];
        for copy in &mut under_way {
            let lost = |_| (Err(NoAnswer { sent: true, why: "cut off".into() }), Instant::now());
            answers.push((&mut copy.0).await.unwrap_or_else(lost));
        }
        answers
    }

    fn sent(&self, placed: &Placed) {
        let (key, items) = (placed.key.clone(), placed.items.clone());
        self.stage.witness.write(&Record::Sent { at_us: self.since_start_us(), user: self.user(), key, items });
    }

    fn told(&self, placed: &mut Placed, answer: Result<Answer, NoAnswer>, name: &'static str, took: Duration) {
        let (at_us, user, key) = (self.since_start_us(), self.user(), placed.key.clone());
        match answer {
            Ok(answer) => {
                let order = is_success(answer.status).then(|| seen(&answer)).flatten();
                placed.id = order.as_ref().map(|order| order.id.clone()).or(placed.id.take());
                let fate = match order.as_ref().map(|order| order.status.as_str()) {
                    Some("CONFIRMED") => "confirmed",
                    Some("CANCELLED") => "cancelled",
                    Some(_) => "open",
                    None if answer.status < 500 => "rejected",
                    None => "errors",
                };
                self.tell(name, fate);
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.stage.witness.write(&Record::Reply { at_us, user, key, http: answer.status, order, took_us });
            }
            Err(NoAnswer { sent, why }) => {
                self.tell(name, if sent { "unknown" } else { "errors" });
                self.stage.witness.write(&Record::NoReply { at_us, user, key, sent, why });
            }
        }
    }

    /// For the progress line, which counts orders and not their repetitions.
    fn tell(&self, name: &str, fate: &'static str) {
        if name == "order" {
            self.stage.recorder.fate(fate);
        }
    }

    async fn cancel(&mut self) {
        let stage = self.stage.clone();
        let Some(Placed { key, id: Some(id), .. }) = self.last.clone() else { return };
        let token = self.token.clone();
        let call = stage.api.cancel(&token, &id);
        if let Ok(answer) = self.timed("cancel", call).await {
            self.saw(key, &answer);
        }
    }

    /// Looks at the last order until it ends. How often it looks is not part of its latency.
    async fn await_end(&mut self, longest: Duration) {
        let stage = self.stage.clone();
        let Some(Placed { key, id: Some(id), .. }) = self.last.clone() else { return };
        let (due, sent) = (self.due, Instant::now());
        let deadline = sent + longest;
        let ended = loop {
            let answer = stage.api.order(&self.token, &id).await;
            let order = answer.as_ref().ok().and_then(seen);
            if let (Some(order), Ok(answer)) = (order, &answer)
                && order.has_ended()
            {
                self.saw(key, answer);
                break true;
            }
            if Instant::now() + LOOK_AGAIN > deadline || stage.stop.is_cancelled() {
                break false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let now = Instant::now();
        stage.recorder.request("await", due, sent, now, !ended);
        self.due = now;
    }

    fn saw(&self, key: String, answer: &Answer) {
        if !is_success(answer.status) {
            return;
        }
        if let Some(order) = seen(answer) {
            self.stage.witness.write(&Record::Saw { at_us: self.since_start_us(), user: self.user(), key, order });
        }
    }
}

/// Ends its task when it is dropped.
struct AbortOnDrop(JoinHandle<Copy>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn place(stage: &Stage, token: &str, placed: &Placed) -> Copy {
    let answer = stage.api.place_order(token, &placed.key, &placed.items, placed.wait).await;
    (answer, Instant::now())
}

/// The order that an answer shows.
pub fn seen(answer: &Answer) -> Option<Seen> {
    let order: OrderView = answer.json().ok()?;
    let reason = order.cancel_reason.filter(|reason| !reason.is_empty());
    Some(Seen { id: order.id, status: order.status, reason, items: order.items })
}
