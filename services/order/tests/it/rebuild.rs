//! What a rebuild of the projection owes to whoever uses it, over either store: from an event log that the
//! test fills with the store's own events.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::clock::Clock;
use kernel::{OrderId, Timestamp};
use order::application::ports::{
    Commit, Created, Disagreement, Folded, History, HistoryEntry, Logged, Orders, Postpone, Projection, Rebuilt, Shadow,
};
use order::application::rebuild::{Limits, RebuildError, Rebuilder};
use order::domain::{CancelReason, OrderEvent, Status, Step, Tries};

use crate::contract::{
    Probe, abort, at, commit, commit_one, created, get, is_conflict, new_order, postpone, postpone_one, release,
    reserve,
};
use crate::harness::{PATIENCE, Setup, Shop, within};

/// Later than anything that the tests store.
const NOW: i64 = 1_000;
const PROJECTED: &str = "id user_id status coalesce(cancel_reason,'-') total_minor currency lines fingerprint version \
                         stock_committed created_at updated_at";
const GUARDS: &str = "id epoch attempt unknown broken unknown_step due_at traceparent";

/// A store with nothing in it, and a second connection to it.
pub struct Bench {
    pub orders: Arc<dyn Orders>,
    pub second: Arc<dyn Orders>,
    pub projection: Arc<dyn Projection>,
    #[allow(dead_code, reason = "the embedded family has one process, and with it one instance")]
    pub second_projection: Arc<dyn Projection>,
    pub probe: Arc<dyn Probe>,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        at(NOW)
    }
}

type Meanwhile = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The event log.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Logged>>,
    /// What happens before the so many'th page is read, counted from 1.
    meanwhile: Mutex<Vec<(usize, Meanwhile)>>,
    pages: Mutex<usize>,
}

impl Log {
    /// Publishes what the store has and the log has not, except for `but` orders.
    async fn publish(&self, probe: &dyn Probe, but: &[OrderId]) {
        let columns = "aggregate version kind occurred_at traceparent data";
        let rows = probe.texts(columns, "order_events WHERE published_at IS NULL ORDER BY version, aggregate").await;
        for row in rows {
            let [id, version, kind, at, trace, data] = row.splitn(6, ' ').collect::<Vec<_>>().try_into().unwrap();
            let id: OrderId = id.parse().unwrap();
            if but.contains(&id) {
                continue;
            }
            let event = serde_json::from_str(&format!(r#"{{"kind":"{kind}","data":{data}}}"#)).unwrap();
            let sequence = {
                let mut events = self.events.lock().unwrap();
                let sequence = events.len() as i64 + 1;
                let (version, at) = (version.parse().unwrap(), Timestamp::from_micros(at.parse().unwrap()));
                let traceparent = Some(trace.to_owned()).filter(|trace| trace != "-");
                events.push(Logged { sequence, id, version, event, at, traceparent });
                sequence
            };
            let mark = format!(
                "UPDATE order_events SET published_at = 1, published_seq = {sequence}
                 WHERE aggregate = '{id}' AND version = {version}"
            );
            probe.execute(&mark).await;
        }
    }

    fn before_page(&self, page: usize, meanwhile: impl Future<Output = ()> + Send + 'static) {
        self.meanwhile.lock().unwrap().push((page, Box::new(move || Box::pin(meanwhile))));
    }
}

#[async_trait]
impl History for Log {
    async fn of(&self, _: OrderId) -> Result<Vec<HistoryEntry>, StoreError> {
        Ok(Vec::new())
    }

    async fn page(&self, after: i64, most: usize) -> Result<Vec<Logged>, StoreError> {
        let page = {
            let mut pages = self.pages.lock().unwrap();
            *pages += 1;
            *pages
        };
        let due: Vec<Meanwhile> = {
            let mut meanwhile = self.meanwhile.lock().unwrap();
            meanwhile.extract_if(.., |(due, _)| *due == page).map(|(_, happens)| happens).collect()
        };
        for happens in due {
            happens().await;
        }
        let events = self.events.lock().unwrap();
        Ok(events.iter().filter(|event| event.sequence > after).take(most).cloned().collect())
    }

    async fn events(&self, id: OrderId) -> Result<Vec<Logged>, StoreError> {
        Ok(self.events.lock().unwrap().iter().filter(|event| event.id == id).cloned().collect())
    }
}

impl Bench {
    fn rebuilder(&self, log: &Arc<Log>, limits: Limits) -> Rebuilder {
        self.rebuilder_of(log, self.projection.clone(), limits)
    }

    fn rebuilder_of(&self, log: &Arc<Log>, projection: Arc<dyn Projection>, limits: Limits) -> Rebuilder {
        // It drives no order of these tests.
        let driver = Shop::open(&Setup { claims: false, ..Setup::new() }).driver;
        Rebuilder::new(log.clone(), projection, driver, Arc::new(Still), limits)
    }

    async fn rebuild(&self, log: &Arc<Log>) -> Result<Rebuilt, RebuildError> {
        let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
        self.rebuilder(log, limits).run().await
    }

    async fn rows(&self, columns: &str) -> Vec<String> {
        self.probe.texts(columns, "orders ORDER BY id").await
    }

    /// An order in each of these states; all have seen their last event before now.
    async fn some_orders(&self) -> Vec<OrderId> {
        let orders = &*self.orders;
        let mut ids = Vec::new();
        for number in 0..6 {
            ids.push(created(orders, &format!("pending-{number}")).await.order.id);
        }
        for number in 0..4 {
            let stored = created(orders, &format!("reserved-{number}")).await;
            commit_one(orders, reserve(&stored)).await.unwrap();
            ids.push(stored.order.id);
        }
        for number in 0..3 {
            let stored = created(orders, &format!("cancelled-{number}")).await;
            commit_one(orders, abort(&stored)).await.unwrap();
            commit_one(orders, release(&get(orders, stored.order.id).await)).await.unwrap();
            let released = get(orders, stored.order.id).await;
            let event = OrderEvent::OrderCancelled { user: None, reason: Some(CancelReason::ByClient) };
            let cancelled = Commit { due_at: None, ..commit(&released, Step::Cancel, event) };
            commit_one(orders, cancelled).await.unwrap();
            ids.push(stored.order.id);
        }
        ids
    }
}

fn rebuilt(orders: u64) -> Rebuilt {
    Rebuilt { orders, ..Rebuilt::default() }
}

macro_rules! every_rebuild {
    ($bench:expr) => {
        $crate::contract::cases!(rebuild, $bench, bench, (bench):
            what_is_right_is_as_it_was_and_so_are_the_table_and_its_indices,
            rows_that_were_tampered_with_or_deleted_come_back,
            an_unfinished_order_without_a_row_is_due_now_and_nobody_owns_it_any_more,
            what_no_event_says_is_kept,
            orders_that_are_driven_meanwhile_lose_nothing,
            few_orders_are_held_in_memory,
            a_log_that_lacks_events_is_refused_and_nothing_is_changed,
            a_relay_that_is_late_is_waited_for,
            a_store_that_was_set_back_is_refused_and_nothing_is_changed,
            a_hole_in_the_log_is_refused,
            one_rebuild_at_a_time,
            who_asks_while_a_rebuild_is_under_way_gets_its_answer,
            commits_go_on_while_the_projection_is_rebuilt_again_and_again,
        );
    };
}
pub(crate) use every_rebuild;

pub async fn what_is_right_is_as_it_was_and_so_are_the_table_and_its_indices(bench: Bench) {
    bench.some_orders().await;
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    let (rows, guards, shape) = (bench.rows(PROJECTED).await, bench.rows(GUARDS).await, bench.probe.shape().await);
    // The second time, the table is one that a rebuild has made.
    for _ in 0..2 {
        assert_eq!(bench.rebuild(&log).await.unwrap(), rebuilt(13));
        assert_eq!(bench.rows(PROJECTED).await, rows);
        assert_eq!(bench.rows(GUARDS).await, guards);
        assert_eq!(bench.probe.shape().await, shape);
        assert!(shape.len() >= 5, "{shape:?}");
    }
}

pub async fn rows_that_were_tampered_with_or_deleted_come_back(bench: Bench) {
    let ids = bench.some_orders().await;
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    let (rows, guards) = (bench.rows(PROJECTED).await, bench.rows(GUARDS).await);
    for sql in [
        format!("UPDATE orders SET status = 'PAID', version = 9 WHERE id = '{}'", ids[0]),
        format!("UPDATE orders SET lines = '[]' WHERE id = '{}'", ids[7]),
        format!("UPDATE orders SET cancel_reason = NULL WHERE id = '{}'", ids[10]),
        format!("DELETE FROM orders WHERE id = '{}'", ids[12]),
        format!(
            "INSERT INTO orders (id, user_id, status, total_minor, currency, lines, fingerprint, version, created_at,
                                 updated_at)
             SELECT '{}', user_id, status, total_minor, currency, lines, fingerprint, version, created_at, updated_at
             FROM orders WHERE id = '{}'",
            new_order(1, "never placed", 1).id,
            ids[0]
        ),
    ] {
        bench.probe.execute(&sql).await;
    }
    let found = bench.rebuild(&log).await.unwrap();
    assert_eq!(found, Rebuilt { orders: 13, missing: 1, differing: 3, stray: 1 });
    assert_eq!(bench.rows(PROJECTED).await, rows);
    let changed: Vec<_> = bench.rows(GUARDS).await.into_iter().filter(|row| !guards.contains(row)).collect();
    assert_eq!(changed.len(), 1, "the one that was deleted has an epoch of its own: {changed:?}");
    commit_one(&*bench.orders, reserve(&get(&*bench.orders, ids[0]).await)).await.unwrap();
    log.publish(&*bench.probe, &[]).await;
    assert_eq!(bench.rebuild(&log).await.unwrap(), rebuilt(13), "nothing is left to mend");
}

pub async fn an_unfinished_order_without_a_row_is_due_now_and_nobody_owns_it_any_more(bench: Bench) {
    let orders = &*bench.orders;
    let stored = created(orders, "lost").await;
    let owner = orders.claim_due(at(15), Duration::from_secs(5), 9).await.unwrap().pop().unwrap();
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    bench.probe.execute("DELETE FROM orders").await;
    let found = bench.rebuild(&log).await.unwrap();
    assert_eq!(found, Rebuilt { orders: 1, missing: 1, ..Rebuilt::default() });
    for former in [&stored, &owner] {
        assert!(is_conflict(&commit_one(orders, reserve(former)).await));
        assert!(is_conflict(&postpone_one(orders, postpone(former, Step::ReserveStock, at(99))).await));
    }
    assert_eq!(orders.next_due().await.unwrap(), Some(at(NOW)));
    let claimed = orders.claim_due(at(NOW), Duration::from_secs(5), 9).await.unwrap().pop().unwrap();
    assert_eq!((claimed.order.clone(), claimed.tries), (stored.order.clone(), Tries::default()));
    commit_one(orders, reserve(&claimed)).await.unwrap();
    let again = orders.create(&[new_order(1, "lost", 10)]).await.pop().unwrap().unwrap();
    assert!(matches!(again, Created::Existed { fingerprint, .. } if fingerprint == "1x2"), "its key is known again");
}

pub async fn what_no_event_says_is_kept(bench: Bench) {
    let orders = &*bench.orders;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = chassis::context::Context { trace: trace.parse().ok(), token: None };
    let stored = context.scope(created(orders, "k")).await;
    let tries = Tries { attempts: 3, unknown: 2, broken: 1 };
    let later = Postpone { tries, ..postpone(&stored, Step::ReserveStock, at(7_000)) };
    postpone_one(orders, later).await.unwrap();
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    let guards = bench.rows(GUARDS).await;
    assert!(guards[0].ends_with(&format!("1 3 2 1 reserve_stock 7000000000 {trace}")), "{guards:?}");
    bench.probe.execute("UPDATE orders SET total_minor = 1").await;
    assert_eq!(bench.rebuild(&log).await.unwrap().differing, 1);
    assert_eq!(bench.rows(GUARDS).await, guards);
    bench.probe.execute("DELETE FROM orders").await;
    bench.rebuild(&log).await.unwrap();
    assert!(bench.rows(GUARDS).await[0].ends_with(trace), "the trace is its first event's");
}

pub async fn orders_that_are_driven_meanwhile_lose_nothing(bench: Bench) {
    let orders = bench.second.clone();
    let [committed, postponed, taken, claimed] = [
        created(&*orders, "committed").await,
        created(&*orders, "postponed").await,
        created(&*orders, "taken").await,
        created(&*orders, "claimed").await,
    ];
    let later = postpone(&postponed, Step::ReserveStock, at(7_000));
    let (log, probe) = (Arc::new(Log::default()), bench.probe.clone());
    log.publish(&*probe, &[]).await;
    // All has been written, when this happens. Of it, half is published.
    let (ids, going, half) = ([committed.order.id, taken.order.id], orders.clone(), log.clone());
    let meanwhile = async move {
        let late = |commit: Commit| Commit { at: at(NOW + 1), due_at: Some(at(NOW + 6)), ..commit };
        commit_one(&*going, late(reserve(&committed))).await.unwrap();
        postpone_one(&*going, later).await.unwrap();
        going.take_over(&late(abort(&taken))).await.unwrap();
        assert!(going.create(&[new_order(2, "new", NOW + 1)]).await[0].is_ok());
        half.publish(&*probe, &[ids[0]]).await;
        assert_eq!(going.claim_due(at(15), Duration::from_secs(5_000), 9).await.unwrap().len(), 1);
    };
    let watched = Watched::new(&bench, Some(Box::new(move || Box::pin(meanwhile))));
    let rebuilder = bench.rebuilder_of(&log, watched, Limits::default());
    assert_eq!(rebuilder.run().await.unwrap(), rebuilt(5));
    let orders = &*bench.orders;
    let states = [
        (ids[0], Status::Reserved, 1, 0),
        (postponed.order.id, Status::Pending, 1, 1),
        (ids[1], Status::Cancelling, 2, 0),
        (claimed.order.id, Status::Pending, 2, 0),
        (new_order(2, "new", 0).id, Status::Pending, 1, 0),
    ];
    for (id, status, epoch, attempts) in states {
        let now = get(orders, id).await;
        assert_eq!((now.order.status, now.epoch, now.tries.attempts), (status, epoch, attempts), "{id}");
        let row = bench.probe.rows(id).await.order;
        assert!(row.starts_with(&status.to_string()), "the row is the fold: {row}");
    }
    let reserved = get(orders, ids[0]).await;
    let paid = OrderEvent::PaymentProcessed { reference: "r".into() };
    commit_one(orders, commit(&reserved, Step::ProcessPayment, paid)).await.unwrap();
}

pub async fn few_orders_are_held_in_memory(bench: Bench) {
    let ids = bench.some_orders().await;
    let log = Arc::new(Log::default());
    // All first events, then all second ones: every order is let go of before it goes on.
    log.publish(&*bench.probe, &[]).await;
    let rows = bench.rows(PROJECTED).await;
    bench.probe.execute("DELETE FROM orders").await;
    let limits = Limits { page: 2, open_max: 2, ..Limits::default() };
    let found = bench.rebuilder(&log, limits).run().await.unwrap();
    assert_eq!(found, Rebuilt { orders: ids.len() as u64, missing: ids.len() as u64, ..Rebuilt::default() });
    assert_eq!(bench.rows(PROJECTED).await, rows);
}

pub async fn a_log_that_lacks_events_is_refused_and_nothing_is_changed(bench: Bench) {
    let ids = bench.some_orders().await;
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &ids[3..5]).await;
    bench.probe.execute(&format!("DELETE FROM orders WHERE id = '{}'", ids[0])).await;
    let (rows, guards, shape) = (bench.rows(PROJECTED).await, bench.rows(GUARDS).await, bench.probe.shape().await);
    let refused = bench.rebuild(&log).await.unwrap_err().to_string();
    assert!(refused.contains("lacks events of 2 orders"), "{refused}");
    assert!(ids[3..5].iter().any(|id| refused.contains(&id.to_string())) && !refused.contains('\n'), "{refused}");
    // Marked as published, and lost by the log since.
    log.publish(&*bench.probe, &[]).await;
    log.events.lock().unwrap().retain(|event| event.id != ids[9]);
    let refused = bench.rebuild(&log).await.unwrap_err().to_string();
    assert!(refused.contains("lacks events of 1 orders") && refused.contains(&ids[9].to_string()), "{refused}");
    assert_eq!((bench.rows(PROJECTED).await, bench.rows(GUARDS).await), (rows, guards));
    assert_eq!(bench.probe.shape().await, shape);
}

pub async fn a_relay_that_is_late_is_waited_for(bench: Bench) {
    let ids = bench.some_orders().await;
    let (log, probe) = (Arc::new(Log::default()), bench.probe.clone());
    for (page, left) in [(3, &ids[2..]), (5, &[])] {
        let (probe, left, late) = (probe.clone(), left.to_vec(), Arc::downgrade(&log));
        log.before_page(page, async move { late.upgrade().unwrap().publish(&*probe, &left).await });
    }
    let limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
    assert_eq!(bench.rebuilder(&log, limits).run().await.unwrap(), rebuilt(13));
}

pub async fn a_store_that_was_set_back_is_refused_and_nothing_is_changed(bench: Bench) {
    let ids = bench.some_orders().await;
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    bench.probe.execute(&format!("DELETE FROM order_events WHERE aggregate = '{}' AND version = 2", ids[6])).await;
    let rows = bench.rows(PROJECTED).await;
    let refused = bench.rebuild(&log).await.unwrap_err().to_string();
    assert!(refused.contains("has events of 1 orders") && refused.contains(&ids[6].to_string()), "{refused}");
    assert_eq!(bench.rows(PROJECTED).await, rows);
}

pub async fn a_hole_in_the_log_is_refused(bench: Bench) {
    let ids = bench.some_orders().await;
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    log.events.lock().unwrap().retain(|event| event.id != ids[12] || event.version != 3);
    let refused = bench.rebuild(&log).await;
    assert!(matches!(&refused, Err(RebuildError::Hole { id, version: 4 }) if *id == ids[12]), "{refused:?}");
}

pub async fn one_rebuild_at_a_time(bench: Bench) {
    let shadow = bench.projection.begin().await.unwrap();
    assert!(is_conflict(&bench.projection.begin().await.map(drop)));
    drop(shadow);
    // The first one lets go of the store as soon as it can.
    let shadow = within(PATIENCE, async || bench.projection.begin().await.ok()).await;
    drop(shadow);
    let log = Arc::new(Log::default());
    created(&*bench.orders, "k").await;
    log.publish(&*bench.probe, &[]).await;
    let found = within(PATIENCE, async || bench.rebuild(&log).await.ok()).await;
    assert_eq!(found, rebuilt(1), "of those that ended early nothing is left");
}

pub async fn who_asks_while_a_rebuild_is_under_way_gets_its_answer(bench: Bench) {
    let ids = bench.some_orders().await;
    bench.probe.execute(&format!("DELETE FROM orders WHERE id = '{}'", ids[0])).await;
    let log = Arc::new(Log::default());
    log.publish(&*bench.probe, &[]).await;
    let watched = Watched::new(&bench, None);
    let rebuilder = bench.rebuilder_of(&log, watched.clone(), Limits::default());
    let gone = rebuilder.run();
    assert!(tokio::time::timeout(Duration::ZERO, gone).await.is_err(), "one who does not wait");
    let (one, other) = tokio::join!(rebuilder.run(), rebuilder.run());
    assert_eq!((one.unwrap().missing, other.unwrap().missing), (1, 1));
    assert_eq!(*watched.begun.lock().unwrap(), 1);
    assert_eq!(rebuilder.run().await.unwrap(), rebuilt(13), "asked for later, it is another one");
}

/// A projection, how often a rebuild of it was begun, and what happens before its swap.
struct Watched {
    inner: Arc<dyn Projection>,
    begun: Mutex<u32>,
    before_swap: Mutex<Option<Meanwhile>>,
}

/// A shadow that takes its time, as one over a network does.
struct Slow {
    inner: Box<dyn Shadow>,
    before_swap: Option<Meanwhile>,
}

impl Watched {
    fn new(bench: &Bench, before_swap: Option<Meanwhile>) -> Arc<Self> {
        let (begun, before_swap) = (Mutex::new(0), Mutex::new(before_swap));
        Arc::new(Self { inner: bench.projection.clone(), begun, before_swap })
    }
}

#[async_trait]
impl Projection for Watched {
    async fn begin(&self) -> Result<Box<dyn Shadow>, StoreError> {
        *self.begun.lock().unwrap() += 1;
        let before_swap = self.before_swap.lock().unwrap().take();
        Ok(Box::new(Slow { inner: self.inner.begin().await?, before_swap }))
    }
}

#[async_trait]
impl Shadow for Slow {
    async fn write(&mut self, orders: &[Folded], now: Timestamp) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.inner.write(orders, now).await
    }
    async fn disagreement(&mut self, before: Timestamp) -> Result<Disagreement, StoreError> {
        self.inner.disagreement(before).await
    }
    async fn swap(mut self: Box<Self>, sequence: i64, now: Timestamp) -> Result<Rebuilt, StoreError> {
        if let Some(happens) = self.before_swap.take() {
            happens().await;
        }
        self.inner.swap(sequence, now).await
    }
    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.discard().await
    }
}

/// Each connection has prepared its statements on a table that is gone by the next round.
pub async fn commits_go_on_while_the_projection_is_rebuilt_again_and_again(bench: Bench) {
    let (log, is_over) = (Arc::new(Log::default()), AtomicBool::new(false));
    let driving = async {
        let mut driven = 0;
        while !is_over.load(Ordering::Relaxed) {
            for orders in [&*bench.orders, &*bench.second] {
                let new = order::application::ports::NewOrder {
                    at: at(NOW + 1),
                    due_at: at(NOW + 1),
                    ..new_order(1, &format!("k{driven}"), 1)
                };
                let Ok(Created::New(stored)) = orders.create(&[new]).await.pop().unwrap() else { panic!("{driven}") };
                postpone_one(orders, postpone(&stored, Step::ReserveStock, at(NOW + 2))).await.unwrap();
                let commit = Commit { at: at(NOW + 1), due_at: Some(at(NOW + 2)), ..reserve(&stored) };
                commit_one(orders, commit.clone()).await.unwrap();
                assert!(is_conflict(&commit_one(orders, commit).await), "once");
                assert_eq!(get(orders, stored.order.id).await.order.status, Status::Reserved);
                assert_eq!(orders.list(None, Default::default(), 3).await.unwrap().len(), 3.min(driven + 1));
                driven += 1;
                tokio::task::yield_now().await;
            }
        }
        driven
    };
    let rebuilding = async {
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(bench.rebuild(&log).await.unwrap());
            log.publish(&*bench.probe, &[]).await;
        }
        is_over.store(true, Ordering::Relaxed);
        found
    };
    let (driven, found) = tokio::join!(driving, rebuilding);
    assert!(driven > 0);
    for one in found {
        assert_eq!((one.missing, one.differing, one.stray), (0, 0, 0));
    }
    log.publish(&*bench.probe, &[]).await;
    assert_eq!(bench.rebuild(&log).await.unwrap(), rebuilt(driven as u64));
    assert!(bench.rows("status").await.iter().all(|status| status == "RESERVED"));
}

#[allow(dead_code, reason = "the embedded family has one process, and with it one instance")]
/// Another process would have to be kept out as well: only a store that several processes share can tell.
pub async fn a_second_instance_does_not_rebuild_at_the_same_time(bench: Bench) {
    let _shadow = bench.projection.begin().await.unwrap();
    assert!(is_conflict(&bench.second_projection.begin().await.map(drop)));
}
