//! Product, inventory and payment as the order service sees them: idempotent like the real ones,
//! with a script of what goes wrong at which step. They outlive the process under test.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use kernel::{Currency, Money, OrderId, ProductId, UserId};
use order::application::ports::{Catalogue, Payments, ProductRef, Quote, QuoteError, Stock};
use order::domain::saga::Done;
use order::domain::{CancelReason, Line, Reply, Step};
use tokio::sync::Notify;

use crate::harness::PATIENCE;

/// What goes wrong with one call of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The request never arrives; the caller does not know that.
    RequestLost,
    /// The effect happens, the answer never arrives.
    ReplyLost,
    /// The caller gives up, the request arrives this much later.
    Delayed(Duration),
    /// The effect happens at once, the answer takes this long.
    SlowReply(Duration),
    /// The effect and the answer take this long.
    SlowRequest(Duration),
    /// Neither effect nor answer, and the caller is left hanging.
    HangBefore,
    /// The effect happens and the caller is left hanging.
    HangAfter,
    /// The bank says no.
    Declined,
    /// The breaker is open: refused, and no key is kept.
    BreakerOpen,
    /// The participant says that it cannot.
    Broken,
    /// Under way; ask again after this.
    Ongoing(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hold {
    Held(i64),
    Sold,
    Released,
    SoldOut,
    Blocked,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Charge {
    Captured,
    Declined,
    Refunded,
    Blocked,
}

#[derive(Default)]
struct Inner {
    units: i64,
    price: i64,
    catalogue_down: bool,
    holds: BTreeMap<OrderId, Hold>,
    charges: BTreeMap<OrderId, Charge>,
    once: BTreeMap<Step, VecDeque<Fault>>,
    always: BTreeMap<Step, Fault>,
    calls: Vec<(OrderId, Step)>,
    effects: Vec<(OrderId, &'static str)>,
}

/// Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
    called: Arc<Notify>,
}

impl World {
    pub fn with_units(units: i64) -> Self {
        let inner = Inner { units, price: 1000, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), called: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The next calls of `step` go wrong like this, in order.
    pub fn next(&self, step: Step, faults: &[Fault]) {
        self.lock().once.entry(step).or_default().extend(faults);
    }

    /// Every call of `step` goes wrong like this from now on.
    pub fn always(&self, step: Step, fault: Fault) {
        self.lock().always.insert(step, fault);
    }

    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.once.clear();
        inner.always.clear();
    }

    pub fn set_price(&self, minor: i64) {
        self.lock().price = minor;
    }

    pub fn set_catalogue_down(&self, down: bool) {
        self.lock().catalogue_down = down;
    }

    /// Waits until `step` of some order has been asked for `times` times; fails after [`PATIENCE`].
    pub async fn called(&self, step: Step, times: usize) {
        let called = async {
            loop {
                let notified = self.called.notified();
                if self.lock().calls.iter().filter(|(_, called)| *called == step).count() >= times {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(PATIENCE, called).await.unwrap_or_else(|_| panic!("{step} was not asked for"));
    }

    pub fn calls(&self, id: OrderId) -> Vec<Step> {
        self.lock().calls.iter().filter(|(of, _)| *of == id).map(|(_, step)| *step).collect()
    }

    /// What really happened to the order out there, in order.
    pub fn effects(&self, id: OrderId) -> Vec<&'static str> {
        self.lock().effects.iter().filter(|(of, _)| *of == id).map(|(_, effect)| *effect).collect()
    }

    /// Units that nobody holds and nobody bought.
    pub fn units(&self) -> i64 {
        self.lock().units
    }

    async fn call(&self, step: Step, id: OrderId, units: i64) -> Reply {
        let fault = {
            let mut inner = self.lock();
            inner.calls.push((id, step));
            let once = inner.once.get_mut(&step).and_then(VecDeque::pop_front);
            once.or(inner.always.get(&step).copied())
        };
        self.called.notify_waiters();
        let act = || self.lock().act(step, id, units);
        let unknown = || Reply::Unknown { why: "timeout".into() };
        let Some(fault) = fault else { return act() };
        match fault {
            Fault::RequestLost => unknown(),
            Fault::ReplyLost => {
                act();
                unknown()
            }
            Fault::Delayed(delay) => {
                let world = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    world.lock().act(step, id, units);
                });
                unknown()
            }
            Fault::SlowReply(delay) => {
                let reply = act();
                tokio::time::sleep(delay).await;
                reply
            }
            Fault::SlowRequest(delay) => {
                tokio::time::sleep(delay).await;
                act()
            }
            Fault::HangBefore => std::future::pending().await,
            Fault::HangAfter => {
                act();
                std::future::pending().await
            }
            Fault::Declined => self.lock().decline(id),
            Fault::BreakerOpen => Reply::Refused(CancelReason::Unavailable),
            Fault::Broken => Reply::Broken { why: "a bug".into() },
            Fault::Ongoing(retry_after) => Reply::Ongoing { retry_after },
        }
    }
}

impl Inner {
    /// The participant's own work: once for each order, the first answer for ever.
    fn act(&mut self, step: Step, id: OrderId, units: i64) -> Reply {
        match step {
            Step::ReserveStock => self.reserve(id, units),
            Step::ReleaseStock => {
                let had_reservation = match self.holds.get(&id) {
                    Some(Hold::Held(held)) => {
                        self.units += held;
                        self.holds.insert(id, Hold::Released);
                        self.effects.push((id, "released"));
                        true
                    }
                    Some(Hold::Sold) => panic!("{id}: sold units are not released"),
                    Some(Hold::Released) => true,
                    Some(Hold::SoldOut | Hold::Blocked) => false,
                    None => {
                        self.holds.insert(id, Hold::Blocked);
                        false
                    }
                };
                Reply::Done(Done::Released { had_reservation })
            }
            Step::CommitStock => {
                match self.holds.insert(id, Hold::Sold) {
                    Some(Hold::Held(_)) => self.effects.push((id, "sold")),
                    Some(Hold::Sold) => {}
                    other => panic!("{id}: {other:?} was to be sold"),
                }
                Reply::Done(Done::Plain)
            }
            Step::ProcessPayment => match *self.charges.entry(id).or_insert_with(|| {
                self.effects.push((id, "captured"));
                Charge::Captured
            }) {
                Charge::Captured => Reply::Done(Done::Paid { reference: format!("ch-{id}") }),
                Charge::Declined => Reply::Refused(CancelReason::Declined),
                Charge::Refunded | Charge::Blocked => Reply::Refused(CancelReason::Unavailable),
            },
            Step::RefundPayment => {
                let charge = self.charges.entry(id).or_insert(Charge::Blocked);
                if *charge == Charge::Captured {
                    *charge = Charge::Refunded;
                    self.effects.push((id, "refunded"));
                }
                Reply::Done(Done::Refunded { money_returned: *charge == Charge::Refunded })
            }
            Step::Create | Step::Confirm | Step::Cancel => panic!("{step} is nobody else's step"),
        }
    }

    fn reserve(&mut self, id: OrderId, units: i64) -> Reply {
        if !self.holds.contains_key(&id) {
            if units <= self.units {
                self.units -= units;
                self.effects.push((id, "reserved"));
                self.holds.insert(id, Hold::Held(units));
            } else {
                self.holds.insert(id, Hold::SoldOut);
            }
        }
        match self.holds.get(&id) {
            Some(Hold::Held(_) | Hold::Sold | Hold::Released) => Reply::Done(Done::Plain),
            Some(Hold::SoldOut) => Reply::Refused(CancelReason::SoldOut),
            Some(Hold::Blocked) | None => Reply::Refused(CancelReason::Unavailable),
        }
    }

    fn decline(&mut self, id: OrderId) -> Reply {
        self.charges.insert(id, Charge::Declined);
        Reply::Refused(CancelReason::Declined)
    }
}

#[async_trait]
impl Stock for World {
    async fn reserve(&self, order: OrderId, lines: &[Line]) -> Reply {
        let units = lines.iter().map(|line| i64::from(line.quantity.get())).sum();
        self.call(Step::ReserveStock, order, units).await
    }
    async fn release(&self, order: OrderId) -> Reply {
        self.call(Step::ReleaseStock, order, 0).await
    }
    async fn commit(&self, order: OrderId) -> Reply {
        self.call(Step::CommitStock, order, 0).await
    }
}

#[async_trait]
impl Payments for World {
    async fn process(&self, order: OrderId, _: UserId, _: Money) -> Reply {
        self.call(Step::ProcessPayment, order, 0).await
    }
    async fn refund(&self, order: OrderId) -> Reply {
        self.call(Step::RefundPayment, order, 0).await
    }
}

/// Products 1 to 999 exist, under the SKUs `P-1` to `P-999`.
#[async_trait]
impl Catalogue for World {
    async fn quote(&self, products: &[ProductRef]) -> Result<Vec<Quote>, QuoteError> {
        let (price, down) = {
            let inner = self.lock();
            (inner.price, inner.catalogue_down)
        };
        if down {
            return Err(QuoteError::Unavailable("gone".into()));
        }
        let quote = |product: &ProductRef| {
            let number = match product {
                ProductRef::Id(id) => Some(id.0),
                ProductRef::Sku(sku) => sku.as_str().strip_prefix("P-").and_then(|number| number.parse().ok()),
            };
            let number = number.filter(|number| (1..1000).contains(number));
            let number = number.ok_or_else(|| QuoteError::NoSuchProduct(format!("there is no product {product:?}")))?;
            let sku = format!("P-{number}").parse().unwrap();
            Ok(Quote { product_id: ProductId(number), sku, price: Money::new(price, Currency::EUR) })
        };
        products.iter().map(quote).collect()
    }
}
