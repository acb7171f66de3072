//! A provider that misbehaves on request, a clock that is set by hand, and the use cases over both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::clock::Clock;
use eventlog::Outbox;
use kernel::{Money, OrderId, Timestamp};
use payment::application::breaker::CircuitBreaker;
use payment::application::pay::Payments;
use payment::application::ports::{PaymentStore, Provider, ProviderError};
use payment::domain::breaker::Settings;
use payment::domain::payment::{Settled, Standing};
use tokio::sync::watch;

use crate::family::Family;
use crate::harness::PATIENCE;

pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[derive(Default)]
struct Books {
    keys: BTreeMap<OrderId, (Settled, &'static str)>,
    captures: u32,
    refunds: u32,
    charge_calls: u32,
    /// Calls fail before they have an effect.
    down: bool,
    /// Calls have their effect, and nobody hears of it.
    loses_answers: bool,
    declines: bool,
}

/// Where a charge waits until it is let go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    Nowhere,
    BeforeTheLedger,
    AfterTheLedger,
}

pub struct FakeProvider {
    clock: Arc<ManualClock>,
    books: Mutex<Books>,
    pause: watch::Sender<Pause>,
    /// How many charges wait.
    waiting: watch::Sender<u32>,
}

fn lost() -> ProviderError {
    ProviderError::Lost("on request".to_owned())
}

impl FakeProvider {
    pub fn set_down(&self, down: bool) {
        self.books.lock().unwrap().down = down;
    }
    pub fn set_loses_answers(&self, loses: bool) {
        self.books.lock().unwrap().loses_answers = loses;
    }
    pub fn set_declines(&self, declines: bool) {
        self.books.lock().unwrap().declines = declines;
    }
    pub fn set_pause(&self, pause: Pause) {
        self.pause.send_replace(pause);
    }
    pub fn standing_of(&self, order: OrderId) -> Option<Settled> {
        self.books.lock().unwrap().keys.get(&order).map(|(settled, _)| *settled)
    }
    /// Captures and refunds in the ledger.
    pub fn lines(&self) -> (u32, u32) {
        let books = self.books.lock().unwrap();
        (books.captures, books.refunds)
    }
    pub fn charge_calls(&self) -> u32 {
        self.books.lock().unwrap().charge_calls
    }

    /// Until a charge waits at its pause.
    pub async fn a_charge_waits(&self) {
        let mut waiting = self.waiting.subscribe();
        let arrived = waiting.wait_for(|waiting| *waiting > 0);
        tokio::time::timeout(PATIENCE, arrived).await.unwrap().unwrap();
    }

    async fn wait_at(&self, place: Pause) {
        let mut pause = self.pause.subscribe();
        if *pause.borrow_and_update() == place {
            self.waiting.send_modify(|waiting| *waiting += 1);
            pause.wait_for(|now| *now != place).await.unwrap();
            self.waiting.send_modify(|waiting| *waiting -= 1);
        }
    }

    fn act(
        &self,
        order: OrderId,
        work: impl FnOnce(&mut Books) -> Option<(Settled, &'static str)>,
    ) -> Result<Option<Standing>, ProviderError> {
        let mut books = self.books.lock().unwrap();
        if books.down {
            return Err(lost());
        }
        if let Some(next) = work(&mut books) {
            books.keys.insert(order, next);
        }
        if books.loses_answers {
            return Err(lost());
        }
        Ok(books.keys.get(&order).map(|(settled, reason)| Standing {
            settled: *settled,
            reference: format!("ref-{order}"),
            reason: (*reason).to_owned(),
        }))
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn charge(&self, order: OrderId, _: Money, not_after: Timestamp) -> Result<Standing, ProviderError> {
        self.books.lock().unwrap().charge_calls += 1;
        self.wait_at(Pause::BeforeTheLedger).await;
        let now = self.clock.now();
        let answer = self.act(order, |books| {
            if books.keys.contains_key(&order) {
                return None;
            }
            if now > not_after {
                return Some((Settled::Voided, "too_late"));
            }
            if books.declines {
                return Some((Settled::Declined, "declined"));
            }
            books.captures += 1;
            Some((Settled::Captured, ""))
        });
        self.wait_at(Pause::AfterTheLedger).await;
        answer?.ok_or_else(lost)
    }

    async fn void(&self, order: OrderId) -> Result<Standing, ProviderError> {
        let answer = self.act(order, |books| match books.keys.contains_key(&order) {
            true => None,
            false => Some((Settled::Voided, "voided")),
        });
        answer?.ok_or_else(lost)
    }

    async fn refund(&self, order: OrderId) -> Result<String, ProviderError> {
        let answer = self.act(order, |books| match books.keys.get(&order) {
            Some((Settled::Captured, _)) => {
                books.refunds += 1;
                Some((Settled::Refunded, ""))
            }
            _ => None,
        })?;
        match answer {
            Some(Standing { settled: Settled::Refunded, reference, .. }) => Ok(reference),
            _ => Err(ProviderError::Refused("never captured".to_owned())),
        }
    }

    async fn status(&self, order: OrderId) -> Result<Option<Standing>, ProviderError> {
        self.act(order, |_| None)
    }
}

/// How long after its intent a charge may reach the fake provider.
pub const WINDOW: Duration = Duration::from_secs(5);

/// The use cases over the fakes and a real store.
pub struct Desk {
    pub payments: Arc<Payments>,
    pub provider: Arc<FakeProvider>,
    pub breaker: Arc<CircuitBreaker>,
    pub clock: Arc<ManualClock>,
    pub store: Arc<dyn PaymentStore>,
    pub outbox: Arc<dyn Outbox>,
    family: Family,
}

fn breaker_settings() -> Settings {
    Settings {
        window_calls: 10,
        window_time: Duration::from_secs(60),
        minimum_calls: 4,
        failure_rate: 0.5,
        slow_call: Duration::from_secs(60),
        slow_rate: 1.0,
        open_for: Duration::from_secs(600),
        probes: 2,
        probe_timeout: Duration::from_secs(60),
    }
}

impl Desk {
    pub async fn open() -> Self {
        Self::on(Family::new()).await
    }

    pub async fn on(family: Family) -> Self {
        let clock = Arc::new(ManualClock(Mutex::new(Timestamp::from_micros(1_000_000))));
        let provider = Arc::new(FakeProvider {
            clock: clock.clone(),
            books: Mutex::default(),
            pause: watch::Sender::new(Pause::Nowhere),
            waiting: watch::Sender::new(0),
        });
        let (store, outbox) = family.open(clock.clone()).await;
        let breaker = CircuitBreaker::new(breaker_settings(), clock.clone());
        let payments = Payments::new(store.clone(), provider.clone(), breaker.clone(), clock.clone(), WINDOW);
        Self { payments, provider, breaker, clock, store, outbox, family }
    }

    /// As after a crash: what was only in memory is gone.
    pub async fn restart(&mut self) {
        (self.store, self.outbox) = self.family.open(self.clock.clone()).await;
        self.breaker = CircuitBreaker::new(breaker_settings(), self.clock.clone());
        self.payments =
            Payments::new(self.store.clone(), self.provider.clone(), self.breaker.clone(), self.clock.clone(), WINDOW);
    }
}
