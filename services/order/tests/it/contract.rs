//! What every [`Orders`] owes its callers. Each case wants a store with nothing in it; the
//! [`Probe`] looks at what the port does not show, and does to the tables what nobody should. Those about
//! concurrency want a second connection to the same store.

use std::time::Duration;

use async_trait::async_trait;
use chassis::context::Context;
use kernel::{Currency, Money, OrderId, ProductId, Timestamp};
use order::application::ports::{After, Attempt, Commit, Created, NewOrder, News, Orders, Postpone, Stored, Stuck};
use order::domain::{CancelReason, Compensation, Line, Order, OrderEvent, Outcome, Status, Step, Tries, saga};
use store::StoreError;

use crate::harness::user;

const LEASE: Duration = Duration::from_secs(5);

/// Everything stored about an order, as texts to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Status, cancel reason, version, whether sold, epoch, attempt, unknown step, due time.
    pub order: String,
    /// Attempts of the current step, those of unknown outcome, those answered with an error.
    pub tries: String,
    /// Version and kind.
    pub events: Vec<String>,
    /// Sequence, step, number, outcome, epoch, how long, detail.
    pub attempts: Vec<String>,
}

/// Reads and writes behind the port's back.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The columns of every row, with a space between and `-` for what is not there.
    async fn texts(&self, columns: &str, from: &str) -> Vec<String>;

    async fn execute(&self, sql: &str);

    /// The definition of the table of orders and of its indices, in lines to compare.
    async fn shape(&self) -> Vec<String>;

    async fn rows(&self, id: OrderId) -> Rows {
        let columns = "status cancel_reason version stock_committed epoch attempt unknown_step due_at";
        let of_order = format!("orders WHERE id = '{id}'");
        let events = format!("order_events WHERE aggregate = '{id}' ORDER BY version");
        let attempts = format!("saga_attempts WHERE order_id = '{id}' ORDER BY sequence");
        Rows {
            order: self.texts(columns, &of_order).await.pop().unwrap(),
            tries: self.texts("attempt unknown broken", &of_order).await.pop().unwrap(),
            events: self.texts("version kind", &events).await,
            attempts: self.texts("sequence step number outcome epoch took_us detail", &attempts).await,
        }
    }
}

/// A test for each case of the contract. `$books` is a store with nothing in it: what it answers has
/// `orders`, an `Orders`, `second().await`, the same by another connection, and is a [`Probe`].
macro_rules! every_case {
    ($books:expr) => {
        $crate::contract::cases!(contract, $books, books, (&*books.orders):
            of_two_take_overs_one_wins,
            only_what_is_due_is_claimed_and_only_once,
            nothing_is_due_when_nothing_is_left_to_do,
            only_an_unknown_step_is_woken,
            news_of_an_order_that_is_at_its_end_is_known_for_that,
            orders_are_listed_oldest_first_by_user_or_all,
            a_listing_page_by_page_leaves_nothing_out_where_many_came_at_once,
            stuck_are_those_that_wait_for_an_operator_and_those_that_fail_too_often,
            of_those_that_fail_too_often_only_what_must_be_done_is_stuck,
            attempts_are_read_in_the_order_they_were_made,
            an_empty_batch_has_no_answers,
            an_order_that_does_not_exist_is_not_found_nor_written,
        );
        $crate::contract::cases!(contract, $books, books, (&*books.orders, &books):
            an_order_is_created_once_and_the_second_time_nothing_changes,
            a_commit_is_there_in_full,
            a_commit_under_an_old_version_is_refused_and_leaves_nothing,
            a_commit_ahead_of_the_version_is_refused_and_leaves_no_gap,
            a_commit_under_an_old_epoch_is_refused_and_leaves_nothing,
            a_take_over_locks_the_former_owner_out,
            a_postponed_step_keeps_its_count_until_the_next_commit,
            a_retry_makes_an_order_due_with_all_its_tries_and_locks_its_owner_out,
            one_bad_commit_spoils_no_other_of_its_batch,
            commands_about_one_order_in_a_batch_come_one_after_the_other,
            an_event_that_cannot_be_stored_takes_its_commit_with_it_and_no_other,
            an_attempt_that_cannot_be_stored_takes_its_commit_with_it,
            a_log_that_breaks_the_rules_is_corrupt_not_repaired,
            an_order_that_cannot_be_read_keeps_no_other_from_being_claimed,
            events_carry_the_trace_they_were_made_in_and_the_order_the_one_it_began_in,
            any_text_that_a_participant_answers_is_stored,
        );
        $crate::contract::cases!(contract, $books, books, (&*books.orders, &*books.second().await):
            of_many_that_create_the_same_orders_at_once_one_makes_each,
            of_two_commits_at_once_one_wins_whatever_the_order_of_their_batches,
            a_cancel_and_the_saga_at_once_have_one_winner,
            two_instances_share_what_is_due_without_claiming_anything_twice,
            a_postponement_and_a_wake_at_once_are_both_kept,
        );
    };
}
pub(crate) use every_case;

macro_rules! cases {
    ($suite:ident, $open:expr, $books:ident, $given:tt: $($case:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let $books = $open;
            $crate::$suite::$case $given.await;
        })*
    };
}
pub(crate) use cases;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub fn new_order(who: u128, key: &str, seconds: i64) -> NewOrder {
    let line = Line {
        product_id: ProductId(1),
        sku: "P-1".parse().unwrap(),
        quantity: 2.try_into().unwrap(),
        unit_price: Money::new(1000, Currency::EUR),
    };
    NewOrder {
        id: OrderId::derive("shop", user(who), key),
        created: Order::create(user(who), vec![line]).unwrap(),
        fingerprint: "1x2".into(),
        at: at(seconds),
        due_at: at(seconds).plus(LEASE),
    }
}

/// A new order, created at second 10 and due at second 15.
pub async fn created(orders: &dyn Orders, key: &str) -> Stored {
    match orders.create(&[new_order(1, key, 10)]).await.pop().unwrap().unwrap() {
        Created::New(stored) => stored,
        existed => panic!("{existed:?}"),
    }
}

pub fn attempt(step: Step, outcome: Outcome) -> Attempt {
    let (took, detail) = (Some(Duration::from_micros(1500)), Some("because".to_owned()));
    Attempt { step, number: 1, outcome, started_at: at(11), took, detail }
}

/// The commit of one event by whoever read `stored`.
pub fn commit(stored: &Stored, step: Step, event: OrderEvent) -> Commit {
    let mut order = stored.order.clone();
    order.apply(&event, at(12)).unwrap();
    Commit {
        id: order.id,
        order,
        expected_version: stored.order.version,
        epoch: stored.epoch,
        events: vec![event],
        at: at(12),
        attempts: vec![attempt(step, Outcome::Done)],
        due_at: Some(at(17)),
    }
}

pub fn reserve(stored: &Stored) -> Commit {
    commit(stored, Step::ReserveStock, OrderEvent::StockReserved {})
}

pub fn release(stored: &Stored) -> Commit {
    commit(stored, Step::ReleaseStock, OrderEvent::StockReleased { had_reservation: true })
}

pub fn abort(stored: &Stored) -> Commit {
    let compensate = vec![Compensation::ReleaseStock];
    let event = OrderEvent::CancellationStarted { reason: CancelReason::ByClient, compensate };
    Commit { attempts: Vec::new(), ..commit(stored, Step::ReleaseStock, event) }
}

pub fn postpone(stored: &Stored, step: Step, until: Timestamp) -> Postpone {
    let (id, epoch, tries) = (stored.order.id, stored.epoch, stored.tries);
    let tries = Tries { attempts: tries.attempts + 1, unknown: tries.unknown + 1, ..tries };
    let attempts = vec![attempt(step, Outcome::Unknown)];
    Postpone { id, epoch, tries, attempts, due_at: until, unknown_step: Some(step) }
}

pub async fn get(orders: &dyn Orders, id: OrderId) -> Stored {
    orders.get(id).await.unwrap().unwrap()
}

pub async fn commit_one(orders: &dyn Orders, commit: Commit) -> Result<(), StoreError> {
    orders.commit(&[commit]).await.pop().unwrap()
}

pub async fn postpone_one(orders: &dyn Orders, postpone: Postpone) -> Result<(), StoreError> {
    orders.postpone(&[postpone]).await.pop().unwrap()
}

pub fn is_conflict<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Conflict(_)))
}

pub async fn an_order_is_created_once_and_the_second_time_nothing_changes(orders: &dyn Orders, probe: &dyn Probe) {
    let first = created(orders, "k").await;
    assert_eq!((first.order.status, first.order.version, first.epoch), (Status::Pending, 1, 1));
    assert_eq!(first.tries, Tries::default());
    let before = probe.rows(first.order.id).await;
    assert_eq!(before.events, ["1 OrderCreated"]);
    assert_eq!(before.attempts, ["1 create 1 done 1 - -"]);

    let again = NewOrder { fingerprint: "other".into(), due_at: at(99), ..new_order(1, "k", 50) };
    // Also within one batch.
    let answers = orders.create(&[again.clone(), new_order(1, "other", 10), again]).await;
    for answer in [&answers[0], &answers[2]] {
        let Ok(Created::Existed { order, fingerprint }) = answer else { panic!("{answer:?}") };
        assert_eq!(order.order, first.order);
        assert_eq!(fingerprint, "1x2", "what it was made of first");
    }
    assert!(matches!(answers[1], Ok(Created::New(_))));
    assert_eq!(probe.rows(first.order.id).await, before);
}

pub async fn a_commit_is_there_in_full(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    let event = OrderEvent::PaymentProcessed { reference: "r".into() };
    let mut both = reserve(&stored);
    both.order.apply(&event, at(12)).unwrap();
    both.events.push(event);
    both.attempts.push(Attempt { took: None, detail: None, ..attempt(Step::ProcessPayment, Outcome::Done) });
    commit_one(orders, both.clone()).await.unwrap();

    assert_eq!(get(orders, both.id).await.order, both.order, "the fold of the stored events is what was committed");
    let rows = probe.rows(both.id).await;
    assert_eq!(rows.order, "PAID - 3 0 1 0 - 17000000", "the row is the same order");
    assert_eq!(rows.events, ["1 OrderCreated", "2 StockReserved", "3 PaymentProcessed"]);
    let expected = ["1 create 1 done 1 - -", "2 reserve_stock 1 done 1 1500 because", "3 process_payment 1 done 1 - -"];
    assert_eq!(rows.attempts, expected);
}

pub async fn a_commit_under_an_old_version_is_refused_and_leaves_nothing(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    commit_one(orders, reserve(&stored)).await.unwrap();
    let before = probe.rows(stored.order.id).await;
    assert!(is_conflict(&commit_one(orders, reserve(&stored)).await));
    assert!(is_conflict(&orders.take_over(&abort(&stored)).await));
    assert_eq!(probe.rows(stored.order.id).await, before);
}

pub async fn a_commit_ahead_of_the_version_is_refused_and_leaves_no_gap(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    let before = probe.rows(stored.order.id).await;
    let ahead = Commit { expected_version: 2, ..reserve(&stored) };
    assert!(is_conflict(&orders.take_over(&ahead).await));
    assert!(is_conflict(&commit_one(orders, ahead).await));
    assert_eq!(probe.rows(stored.order.id).await, before);
}

pub async fn a_commit_under_an_old_epoch_is_refused_and_leaves_nothing(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    assert_eq!(orders.claim_due(at(15), LEASE, 9).await.unwrap().len(), 1);
    let before = probe.rows(stored.order.id).await;
    assert!(is_conflict(&commit_one(orders, reserve(&stored)).await));
    assert!(is_conflict(&orders.take_over(&abort(&stored)).await));
    assert!(is_conflict(&postpone_one(orders, postpone(&stored, Step::ReserveStock, at(99))).await));
    assert_eq!(probe.rows(stored.order.id).await, before);
}

pub async fn a_take_over_locks_the_former_owner_out(orders: &dyn Orders, probe: &dyn Probe) {
    let former = created(orders, "k").await;
    let epoch = orders.take_over(&abort(&former)).await.unwrap();
    assert_eq!(epoch, former.epoch + 1);
    let taken = get(orders, former.order.id).await;
    assert_eq!((taken.order.status, taken.epoch), (Status::Cancelling, epoch));
    let before = probe.rows(former.order.id).await;
    assert_eq!(before.order, "CANCELLING by_client 2 0 2 0 - 17000000");

    // As if it had seen the newest version: the epoch alone keeps it out.
    let late = Stored { epoch: former.epoch, ..taken.clone() };
    let released = OrderEvent::StockReleased { had_reservation: true };
    assert!(is_conflict(&commit_one(orders, commit(&late, Step::ReleaseStock, released.clone())).await));
    assert!(is_conflict(&postpone_one(orders, postpone(&late, Step::ReleaseStock, at(99))).await));
    assert_eq!(probe.rows(former.order.id).await, before);
    commit_one(orders, commit(&taken, Step::ReleaseStock, released)).await.unwrap();
}

pub async fn of_two_take_overs_one_wins(orders: &dyn Orders) {
    let stored = created(orders, "k").await;
    assert!(orders.take_over(&abort(&stored)).await.is_ok());
    assert!(is_conflict(&orders.take_over(&abort(&stored)).await));
    assert_eq!(get(orders, stored.order.id).await.order.version, 2);
}

pub async fn only_what_is_due_is_claimed_and_only_once(orders: &dyn Orders) {
    let (early, late) = (created(orders, "early").await, new_order(1, "late", 20));
    orders.create(std::slice::from_ref(&late)).await.pop().unwrap().unwrap();
    assert_eq!(orders.next_due().await.unwrap(), Some(at(15)));
    assert!(orders.claim_due(at(14), LEASE, 9).await.unwrap().is_empty(), "not yet");

    let claimed = orders.claim_due(at(15), LEASE, 9).await.unwrap();
    let summary: Vec<_> = claimed.iter().map(|stored| (stored.order.id, stored.epoch)).collect();
    assert_eq!(summary, [(early.order.id, early.epoch + 1)]);
    assert_eq!(claimed[0].order, early.order);
    assert!(orders.claim_due(at(15), LEASE, 9).await.unwrap().is_empty(), "claimed by somebody else");
    assert_eq!(orders.next_due().await.unwrap(), Some(at(20)), "moved on by the lease");

    assert_eq!(orders.claim_due(at(25), LEASE, 1).await.unwrap().len(), 1, "no more than asked for");
    assert_eq!(orders.claim_due(at(25), LEASE, 9).await.unwrap().len(), 1);
}

pub async fn nothing_is_due_when_nothing_is_left_to_do(orders: &dyn Orders) {
    assert_eq!(orders.next_due().await.unwrap(), None);
    let stored = created(orders, "k").await;
    commit_one(orders, Commit { due_at: None, ..reserve(&stored) }).await.unwrap();
    assert_eq!(orders.next_due().await.unwrap(), None);
    assert!(orders.claim_due(at(1_000_000), LEASE, 9).await.unwrap().is_empty());
}

pub async fn a_postponed_step_keeps_its_count_until_the_next_commit(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    let tries = Tries { attempts: 3, unknown: 2, broken: 1 };
    postpone_one(orders, Postpone { tries, ..postpone(&stored, Step::ReserveStock, at(12)) }).await.unwrap();
    let rows = probe.rows(stored.order.id).await;
    assert_eq!((rows.order.as_str(), rows.tries.as_str()), ("PENDING - 1 0 1 3 reserve_stock 12000000", "3 2 1"));
    let again = orders.claim_due(at(12), LEASE, 9).await.unwrap().pop().unwrap();
    assert_eq!((again.tries, again.epoch), (tries, 2));
    commit_one(orders, reserve(&again)).await.unwrap();
    assert_eq!(get(orders, stored.order.id).await.tries, Tries::default(), "the next step starts counting anew");
    let rows = probe.rows(stored.order.id).await;
    assert_eq!((rows.order.as_str(), rows.tries.as_str()), ("RESERVED - 2 0 2 0 - 17000000", "0 0 0"));
    assert_eq!(
        rows.attempts[1..],
        ["2 reserve_stock 1 unknown 1 1500 because", "3 reserve_stock 1 done 2 1500 because"]
    );
}

pub async fn only_an_unknown_step_is_woken(orders: &dyn Orders) {
    let stored = created(orders, "k").await;
    let id = stored.order.id;
    let wake = async |id, step, now| orders.wake(id, step, now).await.unwrap();
    assert_eq!(wake(id, Step::ReserveStock, at(11)).await, News::NotAwaited, "nothing is known to be unknown");
    postpone_one(orders, postpone(&stored, Step::ReserveStock, at(60))).await.unwrap();
    assert_eq!(wake(id, Step::ProcessPayment, at(11)).await, News::NotAwaited, "another step");
    assert_eq!(wake(new_order(1, "nobody", 0).id, Step::ReserveStock, at(11)).await, News::OfNoOrder);
    assert_eq!(orders.next_due().await.unwrap(), Some(at(60)));

    assert_eq!(wake(id, Step::ReserveStock, at(11)).await, News::Awaited);
    assert_eq!(orders.next_due().await.unwrap(), Some(at(11)), "due at once");
    assert_eq!(wake(id, Step::ReserveStock, at(30)).await, News::Awaited);
    assert_eq!(orders.next_due().await.unwrap(), Some(at(11)), "a late event puts nothing off");

    let claimed = orders.claim_due(at(11), LEASE, 9).await.unwrap().pop().unwrap();
    assert_eq!(wake(id, Step::ReserveStock, at(12)).await, News::NotAwaited, "somebody drives it already");
    commit_one(orders, reserve(&claimed)).await.unwrap();
    assert_eq!(wake(id, Step::ReserveStock, at(13)).await, News::NotAwaited, "it is known now");
    assert_eq!(orders.next_due().await.unwrap(), Some(at(17)));
}

pub async fn orders_are_listed_oldest_first_by_user_or_all(orders: &dyn Orders) {
    let batch = [new_order(1, "c", 30), new_order(2, "x", 20), new_order(1, "a", 10), new_order(1, "b", 20)];
    assert!(orders.create(&batch).await.iter().all(Result::is_ok));
    let listed = async |who, after, most| {
        let listed = orders.list(who, After { at: at(after), id: None }, most).await.unwrap();
        listed.into_iter().map(|order| order.id).collect::<Vec<_>>()
    };
    let id = |index: usize| batch[index].id;
    assert_eq!(listed(Some(user(1)), 0, 9).await, [id(2), id(3), id(0)]);
    assert_eq!(listed(Some(user(1)), 10, 9).await, [id(3), id(0)], "after the last one seen");
    assert_eq!(listed(Some(user(1)), 0, 2).await, [id(2), id(3)]);
    assert_eq!(listed(None, 10, 9).await.len(), 3);
    assert!(listed(Some(user(3)), 0, 9).await.is_empty());
}

pub async fn a_listing_page_by_page_leaves_nothing_out_where_many_came_at_once(orders: &dyn Orders) {
    let batch = [("a", 10), ("b", 20), ("c", 20), ("d", 20), ("e", 20), ("f", 30)];
    let batch = batch.map(|(key, seconds)| new_order(1, key, seconds));
    assert!(orders.create(&batch).await.iter().all(Result::is_ok));
    let all: Vec<OrderId> =
        orders.list(None, After::default(), 9).await.unwrap().into_iter().map(|order| order.id).collect();
    assert_eq!(all.len(), 6);
    assert!(all[1..5].is_sorted(), "by id where the time is the same");
    for who in [None, Some(user(1))] {
        let (mut after, mut seen) = (After::default(), Vec::new());
        while let Some(last) = {
            let page = orders.list(who, after, 2).await.unwrap();
            seen.extend(page.iter().map(|order| order.id));
            page.last().map(|order| After { at: order.created_at, id: Some(order.id) })
        } {
            after = last;
        }
        assert_eq!(seen, all);
    }
}

/// The order, asked so often for its next step, the last time with an error.
async fn failing(orders: &dyn Orders, stored: &Stored, unknown: u32) {
    let step = saga::next_step(&stored.order).unwrap();
    let tries = Tries { attempts: unknown + 3, unknown, broken: 1 };
    let last = Attempt { number: tries.attempts, ..attempt(step, Outcome::Unknown) };
    let postponed = Postpone { tries, attempts: vec![last], ..postpone(stored, step, stored.order.created_at) };
    postpone_one(orders, postponed).await.unwrap();
}

/// A new order after these events, all of that second.
async fn after(orders: &dyn Orders, key: &str, events: &[OrderEvent], seconds: i64) -> Stored {
    let mut stored = created(orders, key).await;
    for event in events {
        let step = saga::next_step(&stored.order).unwrap();
        let commit = Commit { at: at(seconds), ..commit(&stored, step, event.clone()) };
        commit_one(orders, commit).await.unwrap();
        stored = get(orders, stored.order.id).await;
    }
    stored
}

/// A new order that is aborted in that second; its stock is to be released.
async fn aborted(orders: &dyn Orders, key: &str, seconds: i64) -> Stored {
    let compensate = vec![Compensation::ReleaseStock];
    let event = OrderEvent::CancellationStarted { reason: CancelReason::ByClient, compensate };
    after(orders, key, &[event], seconds).await
}

async fn waiting_for_operator(orders: &dyn Orders, key: &str) -> Stored {
    let stored = created(orders, key).await;
    commit_one(orders, abort(&stored)).await.unwrap();
    let cancelling = get(orders, stored.order.id).await;
    let event = OrderEvent::OperatorRequested { why: "because".into() };
    let asked = commit(&cancelling, Step::ReleaseStock, event);
    let last = attempt(Step::ReleaseStock, Outcome::Unknown);
    commit_one(orders, Commit { attempts: vec![last], due_at: None, ..asked }).await.unwrap();
    get(orders, stored.order.id).await
}

pub async fn stuck_are_those_that_wait_for_an_operator_and_those_that_fail_too_often(orders: &dyn Orders) {
    let asking = waiting_for_operator(orders, "asking").await;
    let [often, seldom, done, _idle] = [
        aborted(orders, "often", 11).await,
        aborted(orders, "seldom", 11).await,
        aborted(orders, "done", 11).await,
        aborted(orders, "idle", 11).await,
    ];
    failing(orders, &often, 4).await;
    failing(orders, &seldom, 3).await;
    failing(orders, &done, 9).await;
    commit_one(orders, Commit { due_at: None, ..release(&done) }).await.unwrap();

    let stuck = orders.stuck(4, After::default(), 9).await.unwrap();
    let detail = Some("because".to_owned());
    let first = Stuck {
        id: often.order.id,
        user: user(1),
        status: Status::Cancelling,
        step: Step::ReleaseStock,
        attempts: 7,
        detail: detail.clone(),
        since: at(11),
        due_at: Some(at(10)),
    };
    let second = Stuck {
        id: asking.order.id,
        user: user(1),
        status: Status::NeedsOperator,
        step: Step::ReleaseStock,
        attempts: 1,
        detail,
        since: at(12),
        due_at: None,
    };
    assert_eq!(stuck, [first, second], "those first that have not got on for longest");

    let after = After { at: at(11), id: Some(often.order.id) };
    let ids = |stuck: Vec<Stuck>| stuck.into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(orders.stuck(4, after, 9).await.unwrap()), [asking.order.id]);
    assert_eq!(ids(orders.stuck(4, After::default(), 1).await.unwrap()), [often.order.id]);
    assert_eq!(orders.stuck(3, After::default(), 9).await.unwrap().len(), 3);
    assert_eq!(ids(orders.stuck(99, After::default(), 9).await.unwrap()), [asking.order.id]);
}

pub async fn of_those_that_fail_too_often_only_what_must_be_done_is_stuck(orders: &dyn Orders) {
    let paid = OrderEvent::PaymentProcessed { reference: "r".into() };
    let confirmed = OrderEvent::OrderConfirmed { user: None };
    let way = [OrderEvent::StockReserved {}, paid, confirmed];
    for done in 0..3 {
        let forward = after(orders, &format!("forward-{done}"), &way[..done], 12).await;
        failing(orders, &forward, 99).await;
    }
    assert!(orders.stuck(4, After::default(), 9).await.unwrap().is_empty(), "a forward step is given up in the end");
    let sale = after(orders, "sale", &way, 12).await;
    failing(orders, &sale, 4).await;
    let stuck = orders.stuck(4, After::default(), 9).await.unwrap();
    let stuck: Vec<_> = stuck.into_iter().map(|one| (one.id, one.status, one.step)).collect();
    assert_eq!(stuck, [(sale.order.id, Status::Confirmed, Step::CommitStock)]);
}

pub async fn a_retry_makes_an_order_due_with_all_its_tries_and_locks_its_owner_out(
    orders: &dyn Orders,
    probe: &dyn Probe,
) {
    let stored = aborted(orders, "k", 12).await;
    let id = stored.order.id;
    failing(orders, &stored, 9).await;
    assert_eq!(orders.stuck(1, After::default(), 9).await.unwrap().len(), 1);
    let before = probe.rows(id).await;
    assert!(is_conflict(&orders.retry(id, stored.epoch + 1, at(5)).await), "of another epoch");
    assert!(is_conflict(&orders.retry(new_order(1, "nobody", 0).id, 1, at(5)).await));
    assert_eq!(probe.rows(id).await, before);

    orders.retry(id, stored.epoch, at(5)).await.unwrap();
    assert_eq!(orders.next_due().await.unwrap(), Some(at(5)));
    let retried = get(orders, id).await;
    assert_eq!((retried.epoch, retried.tries), (stored.epoch + 1, Tries::default()));
    assert!(is_conflict(&postpone_one(orders, postpone(&stored, Step::ReleaseStock, at(99))).await));
    assert!(is_conflict(&commit_one(orders, release(&stored)).await));
    assert!(orders.stuck(1, After::default(), 9).await.unwrap().is_empty());
    let news = orders.wake(id, Step::ReleaseStock, at(4)).await.unwrap();
    assert_eq!(news, News::Awaited, "its step is as unknown as before");

    commit_one(orders, Commit { due_at: None, ..release(&retried) }).await.unwrap();
    assert!(is_conflict(&orders.retry(id, retried.epoch, at(5)).await), "nothing is left to do");
    let asking = waiting_for_operator(orders, "asking").await;
    assert!(is_conflict(&orders.retry(asking.order.id, asking.epoch, at(5)).await), "it is not due");
}

pub async fn attempts_are_read_in_the_order_they_were_made(orders: &dyn Orders) {
    let stored = created(orders, "k").await;
    let id = stored.order.id;
    postpone_one(orders, postpone(&stored, Step::ReserveStock, at(12))).await.unwrap();
    let again = orders.claim_due(at(12), LEASE, 9).await.unwrap().pop().unwrap();
    let last = Attempt { number: 2, took: None, detail: None, ..attempt(Step::ReserveStock, Outcome::Done) };
    commit_one(orders, Commit { attempts: vec![last], ..reserve(&again) }).await.unwrap();
    created(orders, "another").await;

    let read = async |after, most| {
        let read = orders.attempts(id, after, most).await.unwrap();
        read.into_iter()
            .map(|one| (one.sequence, one.epoch, one.attempt.step, one.attempt.number, one.attempt.outcome))
            .collect::<Vec<_>>()
    };
    let all = [
        (1, 1, Step::Create, 1, Outcome::Done),
        (2, 1, Step::ReserveStock, 1, Outcome::Unknown),
        (3, 2, Step::ReserveStock, 2, Outcome::Done),
    ];
    assert_eq!(read(0, 9).await, all);
    assert_eq!(read(1, 1).await, all[1..2]);
    assert!(read(3, 9).await.is_empty());
    let full = orders.attempts(id, 1, 2).await.unwrap();
    let facts = |index: usize| (full[index].attempt.took, full[index].attempt.detail.as_deref());
    assert_eq!(facts(0), (Some(Duration::from_micros(1500)), Some("because")));
    assert_eq!((facts(1), full[1].attempt.started_at), ((None, None), at(11)));
}

pub async fn one_bad_commit_spoils_no_other_of_its_batch(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = [created(orders, "a").await, created(orders, "b").await, created(orders, "c").await];
    let mut batch = stored.each_ref().map(reserve);
    batch[1].epoch += 1;
    let before = probe.rows(stored[1].order.id).await;
    let answers = orders.commit(&batch).await;
    assert!(answers[0].is_ok() && is_conflict(&answers[1]) && answers[2].is_ok(), "{answers:?}");
    for index in [0, 2] {
        let rows = probe.rows(stored[index].order.id).await;
        assert_eq!((rows.events.len(), rows.attempts.len()), (2, 2), "written once");
    }
    assert_eq!(probe.rows(stored[1].order.id).await, before);

    let later = stored.each_ref().map(|stored| postpone(stored, Step::ProcessPayment, at(40)));
    let claimed = orders.claim_due(at(15), LEASE, 1).await.unwrap().pop().unwrap().order.id;
    let answers = orders.postpone(&later).await;
    for (one, answer) in later.iter().zip(&answers) {
        assert_eq!(is_conflict(answer), one.id == claimed, "{answers:?}");
    }
}

pub async fn an_empty_batch_has_no_answers(orders: &dyn Orders) {
    assert!(orders.create(&[]).await.is_empty());
    assert!(orders.commit(&[]).await.is_empty());
    assert!(orders.postpone(&[]).await.is_empty());
}

pub async fn an_order_that_does_not_exist_is_not_found_nor_written(orders: &dyn Orders) {
    let stored = created(orders, "k").await;
    let mut stray = reserve(&stored);
    stray.id = new_order(1, "nobody", 0).id;
    assert!(is_conflict(&commit_one(orders, stray.clone()).await));
    assert!(orders.get(stray.id).await.unwrap().is_none());
}

pub async fn commands_about_one_order_in_a_batch_come_one_after_the_other(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    let first = reserve(&stored);
    let moved = Stored { order: first.order.clone(), ..stored.clone() };
    let paid = OrderEvent::PaymentProcessed { reference: "r".into() };
    let second = commit(&moved, Step::ProcessPayment, paid);
    let answers = orders.commit(&[first.clone(), second, first]).await;
    assert!(answers[0].is_ok() && answers[1].is_ok() && is_conflict(&answers[2]), "{answers:?}");
    let rows = probe.rows(stored.order.id).await;
    assert_eq!(rows.events, ["1 OrderCreated", "2 StockReserved", "3 PaymentProcessed"]);
    assert_eq!(rows.attempts.len(), 3);
}

pub async fn an_event_that_cannot_be_stored_takes_its_commit_with_it_and_no_other(
    orders: &dyn Orders,
    probe: &dyn Probe,
) {
    let (bad, good) = (created(orders, "bad").await, created(orders, "good").await);
    // The next version is taken already, as if somebody had written past the row's fence.
    let id = bad.order.id;
    let taken = format!("INSERT INTO order_events VALUES ('{id}', 2, 'StockReserved', '{{}}', 0, NULL, NULL, NULL)");
    probe.execute(&taken).await;
    let before = probe.rows(id).await;
    let alone = commit_one(orders, reserve(&bad)).await;
    assert!(is_conflict(&alone), "{alone:?}");
    assert_eq!(probe.rows(id).await, before);
    let answers = orders.commit(&[reserve(&bad), reserve(&good)]).await;
    assert!(is_conflict(&answers[0]) && answers[1].is_ok(), "{answers:?}");
    assert_eq!(probe.rows(id).await, before);
    assert_eq!(get(orders, good.order.id).await.order.version, 2);
}

pub async fn an_attempt_that_cannot_be_stored_takes_its_commit_with_it(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    let before = probe.rows(stored.order.id).await;
    probe.execute("ALTER TABLE saga_attempts RENAME TO away").await;
    assert!(commit_one(orders, reserve(&stored)).await.is_err());
    assert!(postpone_one(orders, postpone(&stored, Step::ReserveStock, at(99))).await.is_err());
    assert!(orders.create(&[new_order(1, "other", 10)]).await[0].is_err());
    probe.execute("ALTER TABLE away RENAME TO saga_attempts").await;
    assert_eq!(probe.rows(stored.order.id).await, before);
    assert_eq!(probe.texts("id", "orders").await.len(), 1);
    commit_one(orders, reserve(&stored)).await.unwrap();
}

pub async fn a_log_that_breaks_the_rules_is_corrupt_not_repaired(orders: &dyn Orders, probe: &dyn Probe) {
    let id = created(orders, "k").await.order.id;
    for (kind, data) in [("OrderConfirmed", "{}"), ("Rubbish", "{}"), ("StockReserved", "[")] {
        let rubbish = format!("INSERT INTO order_events VALUES ('{id}', 2, '{kind}', '{data}', 0, NULL, NULL, NULL)");
        probe.execute(&rubbish).await;
        assert!(matches!(orders.get(id).await, Err(StoreError::Corrupt(_))), "{kind}");
        probe.execute("DELETE FROM order_events WHERE version = 2").await;
    }
    probe.execute("DELETE FROM order_events").await;
    assert!(matches!(orders.get(id).await, Err(StoreError::Corrupt(_))), "without any event");
}

pub async fn an_order_that_cannot_be_read_keeps_no_other_from_being_claimed(orders: &dyn Orders, probe: &dyn Probe) {
    let (bad, good) = (created(orders, "bad").await.order.id, created(orders, "good").await.order.id);
    probe.execute(&format!("UPDATE order_events SET kind = 'Rubbish' WHERE aggregate = '{bad}'")).await;
    let claimed = orders.claim_due(at(15), LEASE, 9).await.unwrap();
    assert_eq!(claimed.iter().map(|stored| stored.order.id).collect::<Vec<_>>(), [good]);
    assert_eq!(orders.next_due().await.unwrap(), Some(at(20)), "it is looked at again, but not all the time");
}

pub async fn events_carry_the_trace_they_were_made_in_and_the_order_the_one_it_began_in(
    orders: &dyn Orders,
    probe: &dyn Probe,
) {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = Context { trace: trace.parse().ok(), token: None };
    let stored = context.scope(created(orders, "k")).await;
    assert_eq!(stored.traceparent.as_deref(), Some(trace));
    commit_one(orders, reserve(&stored)).await.unwrap();
    assert_eq!(probe.texts("traceparent", "order_events ORDER BY version").await, [trace, "-"]);
    assert_eq!(get(orders, stored.order.id).await.traceparent.as_deref(), Some(trace));
}

pub async fn any_text_that_a_participant_answers_is_stored(orders: &dyn Orders, probe: &dyn Probe) {
    let stored = created(orders, "k").await;
    let words = "it's \"broken\"\\ {1,NULL} ü\n\0";
    let mut reserved = reserve(&stored);
    reserved.attempts[0].detail = Some(words.into());
    commit_one(orders, reserved).await.unwrap();
    let detail = orders.attempts(stored.order.id, 1, 1).await.unwrap().pop().unwrap().attempt.detail.unwrap();
    assert_eq!(detail.trim_end_matches('\0'), words.trim_end_matches('\0'));
    let again = get(orders, stored.order.id).await;
    let paid = OrderEvent::PaymentProcessed { reference: words.into() };
    commit_one(orders, commit(&again, Step::ProcessPayment, paid.clone())).await.unwrap();
    let data = probe.texts("data", &format!("order_events WHERE kind = '{}'", paid.kind())).await.pop().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&data).unwrap()["reference"], words);
}

pub async fn of_many_that_create_the_same_orders_at_once_one_makes_each(orders: &dyn Orders, second: &dyn Orders) {
    let batch: Vec<NewOrder> = (0..12).map(|number| new_order(1, &format!("k{number}"), 10)).collect();
    let backwards: Vec<NewOrder> = batch.iter().rev().cloned().collect();
    let (one, other, third) =
        tokio::join!(orders.create(&batch), second.create(&backwards), orders.create(&batch[3..9]));
    let all = batch.iter().zip(one).chain(backwards.iter().zip(other)).chain(batch[3..9].iter().zip(third));
    let (mut made, mut existed) = (Vec::new(), 0);
    for (asked, answer) in all {
        match answer.unwrap() {
            Created::New(stored) => made.push(stored.order.id),
            Created::Existed { order, fingerprint } => {
                assert_eq!((order.order.id, fingerprint.as_str()), (asked.id, "1x2"));
                existed += 1;
            }
        }
    }
    assert_eq!((made.len(), existed), (12, 18));
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 12);
}

pub async fn of_two_commits_at_once_one_wins_whatever_the_order_of_their_batches(
    orders: &dyn Orders,
    second: &dyn Orders,
) {
    for round in 0..10 {
        let mut batch = Vec::new();
        for number in 0..8 {
            batch.push(reserve(&created(orders, &format!("{round}-{number}")).await));
        }
        let backwards: Vec<Commit> = batch.iter().rev().cloned().collect();
        let (one, mut other) = tokio::join!(orders.commit(&batch), second.commit(&backwards));
        other.reverse();
        for (index, (one, other)) in one.iter().zip(&other).enumerate() {
            assert!(one.is_ok() && is_conflict(other) || is_conflict(one) && other.is_ok(), "{one:?} {other:?}");
            assert_eq!(get(orders, batch[index].id).await.order.version, 2);
            assert_eq!(orders.attempts(batch[index].id, 0, 9).await.unwrap().len(), 2);
        }
    }
}

pub async fn a_cancel_and_the_saga_at_once_have_one_winner(orders: &dyn Orders, second: &dyn Orders) {
    for round in 0..20 {
        let stored = created(orders, &format!("{round}")).await;
        let (aborted, reserved) = (abort(&stored), [reserve(&stored)]);
        let (taken, moved) = tokio::join!(second.take_over(&aborted), orders.commit(&reserved));
        let won = match (&taken, &moved[0]) {
            (Ok(epoch), Err(StoreError::Conflict(_))) => (Status::Cancelling, *epoch),
            (Err(StoreError::Conflict(_)), Ok(())) => (Status::Reserved, stored.epoch),
            both => panic!("{both:?}"),
        };
        let now = get(orders, stored.order.id).await;
        assert_eq!((now.order.status, now.epoch), won);
    }
}

pub async fn two_instances_share_what_is_due_without_claiming_anything_twice(orders: &dyn Orders, second: &dyn Orders) {
    let batch: Vec<NewOrder> = (0..60).map(|number| new_order(1, &format!("k{number}"), 10)).collect();
    assert!(orders.create(&batch).await.iter().all(Result::is_ok));
    let claim = async |orders: &dyn Orders| {
        let mut claimed = Vec::new();
        loop {
            let some = orders.claim_due(at(15), LEASE, 7).await.unwrap();
            if some.is_empty() {
                return claimed;
            }
            assert!(some.iter().all(|stored| stored.epoch == 2));
            claimed.extend(some.into_iter().map(|stored| stored.order.id));
        }
    };
    let (mut claimed, other) = tokio::join!(claim(orders), claim(second));
    claimed.extend(other);
    claimed.sort();
    let mut all: Vec<OrderId> = batch.iter().map(|new| new.id).collect();
    all.sort();
    assert_eq!(claimed, all);
}

pub async fn news_of_an_order_that_is_at_its_end_is_known_for_that(orders: &dyn Orders) {
    let sold = async |key| {
        let stored = created(orders, key).await;
        commit_one(orders, reserve(&stored)).await.unwrap();
        let paid = OrderEvent::PaymentProcessed { reference: "r".into() };
        for (step, event) in
            [(Step::ProcessPayment, paid), (Step::Confirm, OrderEvent::OrderConfirmed { user: Some(user(1)) })]
        {
            commit_one(orders, commit(&get(orders, stored.order.id).await, step, event)).await.unwrap();
        }
        get(orders, stored.order.id).await
    };
    let news = async |stored: &Stored| orders.wake(stored.order.id, Step::CommitStock, at(13)).await.unwrap();

    let confirmed = sold("k").await;
    assert_eq!(news(&confirmed).await, News::NotAwaited, "its units are not sold yet");
    let sale = commit(&confirmed, Step::CommitStock, OrderEvent::StockCommitted {});
    commit_one(orders, Commit { due_at: None, ..sale }).await.unwrap();
    assert_eq!(news(&confirmed).await, News::AfterEnd);

    let cancelling = aborted(orders, "cancelled", 11).await;
    commit_one(orders, release(&cancelling)).await.unwrap();
    let end = OrderEvent::OrderCancelled { user: None, reason: None };
    let released = get(orders, cancelling.order.id).await;
    commit_one(orders, Commit { due_at: None, ..commit(&released, Step::Cancel, end) }).await.unwrap();
    assert_eq!(news(&cancelling).await, News::AfterEnd);

    let asking = waiting_for_operator(orders, "asking").await;
    assert_eq!(news(&asking).await, News::NotAwaited, "it waits for somebody, and is not at its end");
    assert_eq!(orders.next_due().await.unwrap(), None);
}

pub async fn a_postponement_and_a_wake_at_once_are_both_kept(orders: &dyn Orders, second: &dyn Orders) {
    for round in 0..20 {
        let stored = created(orders, &format!("{round}")).await;
        let id = stored.order.id;
        postpone_one(orders, postpone(&stored, Step::ReserveStock, at(60))).await.unwrap();
        let later = [postpone(&stored, Step::ReserveStock, at(50)), reserve_later(&stored)];
        let (one, other, woken) = tokio::join!(
            orders.postpone(&later[..1]),
            second.postpone(&later[1..]),
            second.wake(id, Step::ReserveStock, at(11))
        );
        assert!(one[0].is_ok() && other[0].is_ok() && woken.is_ok(), "{one:?} {other:?} {woken:?}");
        assert_eq!(orders.attempts(id, 0, 9).await.unwrap().len(), 4, "each attempt has a number of its own");
    }
}

fn reserve_later(stored: &Stored) -> Postpone {
    postpone(stored, Step::ReserveStock, at(40))
}
