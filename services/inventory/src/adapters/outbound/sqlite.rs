//! The books in SQLite, `inventory_db`. There is one writer, so that no two commands ever overlap, and those
//! that come together share a transaction; the predicates on `stock` are kept all the
//! same, since they, not the circumstances, are what forbids overselling.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::metrics::Metrics;
use eventlog::outbox::sqlite::{self as outbox, SqliteOutbox};
use kernel::{OrderId, ProductId, Quantity, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::{Db, Storage};

use super::rows::{DATABASE, OUTBOX, barrier, corrupt, line, no_row, nothing_reserved, outbox_row, read_barrier};
use crate::application::ports::{Answer, Answers, CommitOrder, ReleaseOrder, ReserveOrder, RestockProduct, StockStore};
#[cfg(feature = "planted-bugs")]
use crate::config::PlantedBug;
use crate::config::Strategy;
use crate::domain::{
    Line, OrderStock, Refusal, ReleaseOutcome, ReserveOutcome, Restock, Stock, StockError, StockEvent,
};

pub const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/sqlite/0001_initial.sql")];

// Each moves ?1 units of product ?2 from version ?3, or changes nothing and answers no row.
const RESERVE: &str = "UPDATE stock SET available = available - ?1, reserved = reserved + ?1, version = version + 1
    WHERE product_id = ?2 AND version = ?3 AND available >= ?1
    RETURNING product_id, available, reserved, sold, version";
const RELEASE: &str = "UPDATE stock SET available = available + ?1, reserved = reserved - ?1, version = version + 1
    WHERE product_id = ?2 AND version = ?3 AND reserved >= ?1
    RETURNING product_id, available, reserved, sold, version";
const COMMIT: &str = "UPDATE stock SET reserved = reserved - ?1, sold = sold + ?1, version = version + 1
    WHERE product_id = ?2 AND version = ?3 AND reserved >= ?1
    RETURNING product_id, available, reserved, sold, version";
// A row that does not exist stands at version 0.
const RESTOCK: &str = "INSERT INTO stock (available, product_id, reserved, sold, version) VALUES (?1, ?2, 0, 0, 1)
    ON CONFLICT (product_id) DO UPDATE SET available = available + excluded.available, version = version + 1
    WHERE version = ?3
    RETURNING product_id, available, reserved, sold, version";

/// Outside, a failure of storage, which undoes the transaction; inside, the domain's refusal, which
/// does not.
type Decided<T> = Result<Result<Answer<T>, Refusal>, StoreError>;

/// The store.
pub struct SqliteStock {
    db: Arc<Db>,
    strategy: Strategy,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

impl SqliteStock {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(storage: &Storage, metrics: &Metrics) -> Result<Self, StoreError> {
        let db = Arc::new(Db::open(storage, DATABASE, MIGRATIONS, metrics)?);
        Ok(Self {
            db,
            strategy: Strategy::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        })
    }

    /// The same, writing in that way.
    #[must_use]
    pub fn with_strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    #[cfg(feature = "planted-bugs")]
    pub fn with_planted_bug(self, planted_bug: Option<PlantedBug>) -> Self {
        Self { planted_bug, ..self }
    }

    /// PLANTED BUG: pretends that there are units enough, and does not ask the database either.
    #[cfg(feature = "planted-bugs")]
    fn planted(
        &self,
        mut stock: BTreeMap<ProductId, Stock>,
        sql: &'static str,
    ) -> (BTreeMap<ProductId, Stock>, &'static str) {
        const UNGUARDED: &str =
            "UPDATE stock SET available = available - ?1, reserved = reserved + ?1, version = version + 1
             WHERE product_id = ?2 AND version = ?3 RETURNING product_id, available, reserved, sold, version";
        match self.planted_bug {
            Some(PlantedBug::SkipStockPredicate) => {
                stock.values_mut().for_each(|stock| stock.available = Stock::UNITS_MAX);
                (stock, UNGUARDED)
            }
            _ => (stock, sql),
        }
    }

    /// PLANTED BUG: what is held is forgotten, so that a repetition holds it anew.
    #[cfg(feature = "planted-bugs")]
    fn forgets(&self, tx: &Connection, order: OrderStock) -> Result<OrderStock, StoreError> {
        let is_held = order.reserve == Some(ReserveOutcome::Reserved) && order.release.is_none() && !order.committed;
        if self.planted_bug != Some(PlantedBug::ReserveAgain) || !is_held {
            return Ok(order);
        }
        let id = order.order_id.to_string();
        tx.execute("DELETE FROM operations WHERE order_id = ?1 AND operation = 'reserve'", [&id])?;
        tx.execute("DELETE FROM reservations WHERE order_id = ?1", [&id])?;
        Ok(OrderStock::new(order.order_id))
    }

    /// PLANTED BUG: there is nothing to release, so there is nothing to write either.
    #[cfg(feature = "planted-bugs")]
    fn ignores(&self, tx: &Connection, command: &ReleaseOrder) -> Result<bool, StoreError> {
        let unblocked = self.planted_bug == Some(PlantedBug::NoBarrier);
        Ok(unblocked && load_order(tx, command.order_id)?.reserve.is_none())
    }

    /// The outbox that a relay empties.
    pub fn outbox(&self, clock: SharedClock) -> SqliteOutbox {
        SqliteOutbox::new(self.db.clone(), OUTBOX, clock)
    }

    async fn write<T: Send>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        match self.strategy {
            Strategy::Batched => self.db.write(what, work).await,
            // There is one writer: nobody can be faster.
            Strategy::Optimistic => self.db.write_alone(what, work),
        }
    }

    /// Decides a batch in one transaction, in its order. If that fails, each command is decided by itself, so
    /// that one bad row harms one order.
    async fn decide<C: Sync, T: Send>(
        &self,
        what: &'static str,
        batch: &[C],
        decide: impl Fn(&Connection, &C) -> Decided<T> + Send + Sync,
    ) -> Answers<T> {
        if batch.is_empty() {
            return Vec::new();
        }
        let all = |tx: &Connection| batch.iter().map(|command| decide(tx, command)).collect::<Result<Vec<_>, _>>();
        match self.write(what, all).await {
            Ok(answers) => return answers.into_iter().map(|decided| decided.map_err(Into::into)).collect(),
            Err(error) if batch.len() <= 1 => return batch.iter().map(|_| Err(error.clone().into())).collect(),
            Err(error) => tracing::warn!(what, %error, commands = batch.len(), "a batch failed and is retried singly"),
        }
        let mut answers = Vec::with_capacity(batch.len());
        for command in batch {
            let decided = self.write(what, |tx| decide(tx, command)).await;
            answers.push(decided.map_err(Into::into).and_then(|decided| decided.map_err(Into::into)));
        }
        answers
    }

    fn reserve_one(&self, tx: &Connection, command: &ReserveOrder) -> Decided<ReserveOutcome> {
        let order = load_order(tx, command.order_id)?;
        #[cfg(feature = "planted-bugs")]
        let order = self.forgets(tx, order)?;
        let (stock, sql) = (load_stocks(tx, command.lines.as_slice())?, RESERVE);
        #[cfg(feature = "planted-bugs")]
        let (stock, sql) = self.planted(stock, sql);
        let decision = match order.reserve(&command.lines, &stock) {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut changed = Vec::new();
        if let Some(event) = &decision.event {
            write_barrier(tx, command.order_id, event, command.at)?;
            if let StockEvent::Reserved { lines, .. } = event {
                changed = move_lines(tx, sql, lines, &stock)?;
                hold(tx, command.order_id, lines)?;
            }
            write_event(tx, event, command.at)?;
        }
        Ok(Ok(Answer { outcome: decision.answer, changed }))
    }
}

fn release_one(tx: &Connection, command: &ReleaseOrder) -> Decided<ReleaseOutcome> {
    let decision = match load_order(tx, command.order_id)?.release() {
        Ok(decision) => decision,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut changed = Vec::new();
    if let Some(event) = &decision.event {
        write_barrier(tx, command.order_id, event, command.at)?;
        if let StockEvent::Released { lines, .. } = event {
            changed = give_up(tx, command.order_id, lines, RELEASE, "released", Stock::release)?;
        }
        write_event(tx, event, command.at)?;
    }
    Ok(Ok(Answer { outcome: decision.answer, changed }))
}

fn commit_one(tx: &Connection, command: &CommitOrder) -> Decided<()> {
    let decision = match load_order(tx, command.order_id)?.commit() {
        Ok(decision) => decision,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut changed = Vec::new();
    if let Some(event) = &decision.event {
        write_barrier(tx, command.order_id, event, command.at)?;
        if let StockEvent::Committed { lines, .. } = event {
            changed = give_up(tx, command.order_id, lines, COMMIT, "sold", Stock::commit)?;
        }
        write_event(tx, event, command.at)?;
    }
    Ok(Ok(Answer { outcome: (), changed }))
}

fn restock_one(tx: &Connection, command: &RestockProduct) -> Decided<Stock> {
    let Restock { id, product_id, quantity } = &command.restock;
    let stock = load_stock(tx, *product_id)?.unwrap_or(Stock::none(*product_id));
    let mut earlier = tx.prepare_cached("SELECT product_id, quantity FROM restocks WHERE restock_id = ?1")?;
    let earlier: Option<(i64, u32)> =
        earlier.query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match earlier {
        Some(same) if same == (product_id.0, quantity.get()) => {
            return Ok(Ok(Answer { outcome: stock, changed: Vec::new() }));
        }
        Some(_) => return Ok(Err(Refusal::OtherRestock(id.clone()))),
        None => {}
    }
    if let Err(full) = stock.restock(*quantity) {
        return Ok(Err(Refusal::Full(full)));
    }
    let after = move_units(tx, RESTOCK, stock, *quantity)?;
    tx.prepare_cached("INSERT INTO restocks (restock_id, product_id, quantity, at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.as_str(), product_id.0, quantity.get(), command.at.as_micros()])?;
    write_event(tx, &StockEvent::restocked(&command.restock), command.at)?;
    Ok(Ok(Answer { outcome: after, changed: vec![after] }))
}

#[async_trait]
impl StockStore for SqliteStock {
    async fn reserve(&self, batch: &[ReserveOrder]) -> Answers<ReserveOutcome> {
        self.decide("reserve", batch, |tx, command| self.reserve_one(tx, command)).await
    }

    async fn release(&self, batch: &[ReleaseOrder]) -> Answers<ReleaseOutcome> {
        self.decide("release", batch, |tx, command| {
            #[cfg(feature = "planted-bugs")]
            if self.ignores(tx, command)? {
                return Ok(Ok(Answer { outcome: ReleaseOutcome::Nothing, changed: Vec::new() }));
            }
            release_one(tx, command)
        })
        .await
    }

    async fn commit(&self, batch: &[CommitOrder]) -> Answers<()> {
        self.decide("commit", batch, commit_one).await
    }

    async fn restock(&self, batch: &[RestockProduct]) -> Answers<Stock> {
        self.decide("restock", batch, restock_one).await
    }

    async fn stock(&self, product_id: ProductId) -> Result<Option<Stock>, StoreError> {
        self.db.read(|connection| load_stock(connection, product_id))
    }
}

fn stock_of(row: &Row<'_>) -> rusqlite::Result<Stock> {
    Ok(Stock {
        product_id: ProductId(row.get(0)?),
        available: row.get(1)?,
        reserved: row.get(2)?,
        sold: row.get(3)?,
        version: row.get(4)?,
    })
}

fn load_stock(connection: &Connection, product_id: ProductId) -> Result<Option<Stock>, StoreError> {
    let sql = "SELECT product_id, available, reserved, sold, version FROM stock WHERE product_id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([product_id.0], stock_of).optional()?)
}

/// The stock of these lines' products, as far as they have any.
fn load_stocks(tx: &Connection, lines: &[Line]) -> Result<BTreeMap<ProductId, Stock>, StoreError> {
    let mut stocks = BTreeMap::new();
    for line in lines {
        if let Some(stock) = load_stock(tx, line.product_id)? {
            stocks.insert(line.product_id, stock);
        }
    }
    Ok(stocks)
}

/// The order's barrier, and what it reserved.
fn load_order(tx: &Connection, order_id: OrderId) -> Result<OrderStock, StoreError> {
    let mut order = OrderStock::new(order_id);
    let mut operations = tx.prepare_cached("SELECT operation, outcome FROM operations WHERE order_id = ?1")?;
    let mut rows = operations.query([order_id.to_string()])?;
    while let Some(row) = rows.next()? {
        let (operation, outcome): (String, String) = (row.get(0)?, row.get(1)?);
        read_barrier(&mut order, &operation, &outcome)?;
    }
    if order.reserve == Some(ReserveOutcome::Reserved) {
        order.lines = load_lines(tx, order_id)?;
        if order.lines.is_empty() {
            return Err(nothing_reserved(order_id));
        }
    }
    Ok(order)
}

fn load_lines(tx: &Connection, order_id: OrderId) -> Result<Vec<Line>, StoreError> {
    let sql = "SELECT product_id, quantity FROM reservations WHERE order_id = ?1 ORDER BY product_id";
    let mut statement = tx.prepare_cached(sql)?;
    let rows: Vec<(i64, i64)> =
        statement.query_map([order_id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    rows.into_iter().map(|(product_id, units)| line(product_id, units)).collect()
}

/// The idempotency key. It exists already only if the barrier was not asked first: a bug, and no
/// reason to do the work twice.
fn write_barrier(tx: &Connection, order_id: OrderId, event: &StockEvent, at: Timestamp) -> Result<(), StoreError> {
    for (operation, outcome) in barrier(event) {
        tx.prepare_cached("INSERT INTO operations (order_id, operation, outcome, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![order_id.to_string(), operation, outcome, at.as_micros()])?;
    }
    Ok(())
}

fn write_event(tx: &Connection, event: &StockEvent, at: Timestamp) -> Result<(), StoreError> {
    let version = outbox::next_version(tx, OUTBOX, &event.aggregate())?;
    outbox::append(tx, OUTBOX, &[outbox_row(event, version, at)?])
}

/// Moves units from the version that was read; that nothing moved means that somebody else wrote.
fn move_units(tx: &Connection, sql: &str, from: Stock, quantity: Quantity) -> Result<Stock, StoreError> {
    let moved = tx
        .prepare_cached(sql)?
        .query_row(params![quantity.get(), from.product_id.0, from.version], stock_of)
        .optional()?;
    moved.ok_or_else(|| StoreError::Conflict(format!("product {} is past version {}", from.product_id, from.version)))
}

/// Moves each line's units, in the order of the lines, which is that of product ids.
fn move_lines(
    tx: &Connection,
    sql: &str,
    lines: &[Line],
    stock: &BTreeMap<ProductId, Stock>,
) -> Result<Vec<Stock>, StoreError> {
    let mut changed = Vec::with_capacity(lines.len());
    for line in lines {
        let from = stock.get(&line.product_id).ok_or_else(|| no_row(line.product_id))?;
        changed.push(move_units(tx, sql, *from, line.quantity)?);
    }
    Ok(changed)
}

fn hold(tx: &Connection, order_id: OrderId, lines: &[Line]) -> Result<(), StoreError> {
    let sql = "INSERT INTO reservations (order_id, product_id, quantity, state) VALUES (?1, ?2, ?3, 'held')";
    let mut insert = tx.prepare_cached(sql)?;
    for line in lines {
        insert.execute(params![order_id.to_string(), line.product_id.0, line.quantity.get()])?;
    }
    Ok(())
}

/// Ends the order's reservation: `sql` moves the units on, `state` says where to.
fn give_up(
    tx: &Connection,
    order_id: OrderId,
    lines: &[Line],
    sql: &str,
    state: &str,
    check: fn(Stock, Quantity) -> Result<Stock, StockError>,
) -> Result<Vec<Stock>, StoreError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let stock = load_stocks(tx, lines)?;
    for line in lines {
        let held = stock.get(&line.product_id).ok_or_else(|| no_row(line.product_id))?;
        check(*held, line.quantity).map_err(corrupt)?;
    }
    let changed = move_lines(tx, sql, lines, &stock)?;
    let ended = tx
        .prepare_cached("UPDATE reservations SET state = ?2 WHERE order_id = ?1 AND state = 'held'")?
        .execute(params![order_id.to_string(), state])?;
    match ended == lines.len() {
        true => Ok(changed),
        false => Err(corrupt(format!("order {order_id} held {ended} of {} lines", lines.len()))),
    }
}
