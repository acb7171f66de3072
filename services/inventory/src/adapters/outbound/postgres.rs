//! The books in PostgreSQL, `inventory_db`.
//!
//! A batch is one transaction of few statements: it locks the keys of its commands (in order), reads
//! what is known of them, locks the stock rows (in order), decides each command in memory against the
//! balance that those before it have left, and writes all of it at once. Locks are always taken in that
//! order, so that no two batches wait for each other.
//!
//! [`optimistic`] does the same for one command at a time and without the locks.
//!
//! The locks are what makes decide-then-write atomic; the predicates on `stock` are kept all the same,
//! since they, not the locks, are what forbids overselling.

mod batch;
mod optimistic;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chassis::StoreError;
use chassis::clock::SharedClock;
use chassis::env::Servers;
use chassis::gather::{Failed, Gather, Traced, Writer};
use chassis::metrics::Metrics;
use chassis::postgres::outbox::{self, PostgresOutbox};
use chassis::postgres::{Db, Kept, is_taken, plain};
use kernel::{OrderId, ProductId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use self::batch::{AnyAnswer, AnyCommand, Books, Command, Key, KnownOrder, Move, Writes};
use self::optimistic::Optimistic;
use super::rows::{DATABASE, OUTBOX, corrupt, line, nothing_reserved, read_barrier};
use crate::application::ports::{Answers, CommitOrder, ReleaseOrder, ReserveOrder, RestockProduct, StockStore};
#[cfg(feature = "planted-bugs")]
use crate::config::PlantedBug;
use crate::config::Strategy;
use crate::domain::{Refusal, ReleaseOutcome, ReserveOutcome, Restock, Stock};

pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_initial.sql"),
    include_str!("../../../migrations/postgres/0002_lighter_writes.sql"),
];

// In the order of the hashes, not of the keys: two keys may share one.
const LOCK_KEYS: &str = "SELECT pg_advisory_xact_lock(hash)
    FROM (SELECT DISTINCT hashtextextended(key, 0) AS hash FROM unnest($1::text[]) AS key ORDER BY hash) AS keys";
macro_rules! read_stock {
    ($lock:literal) => {
        concat!(
            "SELECT product_id, available, reserved, sold, version FROM stock
             WHERE product_id = ANY($1) ORDER BY product_id",
            $lock
        )
    };
}
const READ_STOCK: &str = read_stock!("");
const LOCK_STOCK: &str = read_stock!(" FOR UPDATE");
const BARRIERS: &str = "SELECT order_id, operation, outcome,
        (SELECT max(version) FROM inventory_events WHERE aggregate = order_id::text)
    FROM operations WHERE order_id = ANY($1)";
const RESERVATIONS: &str = "SELECT order_id, product_id, quantity FROM reservations
    WHERE order_id = ANY($1) ORDER BY order_id, product_id";
const RESTOCKS: &str = "SELECT restock_id, product_id, quantity FROM restocks WHERE restock_id = ANY($1)";

const WRITE_RESTOCKS: &str = "INSERT INTO restocks (restock_id, product_id, quantity, at)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])";
// A row that does not exist stands at version 0.
const NEW_STOCK: &str = "INSERT INTO stock (product_id, available, reserved, sold, version)
    SELECT product_id, 0, 0, 0, 0 FROM unnest($1::bigint[]) AS product_id ON CONFLICT (product_id) DO NOTHING";

/// All that the orders of a batch write, but their events: keys, new reservations, ended reservations,
/// stock. One statement, since who waits for the stock rows waits for each round trip. Each stock row
/// moves from the version it was read at, or stays where it is. Answers how many rows have moved, and
/// how many reservations ended.
macro_rules! write_orders {
    ($guard:literal) => {
        concat!(
            "WITH keys AS (
                INSERT INTO operations (order_id, operation, outcome, at)
                SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
            ), held AS (
                INSERT INTO reservations (order_id, product_id, quantity, state)
                SELECT * FROM unnest($5::uuid[], $6::bigint[], $7::bigint[], $16::text[])
            ), ended AS (
                UPDATE reservations AS r SET state = e.state
                FROM unnest((SELECT $8::uuid[]), $9::text[]) AS e (order_id, state)
                WHERE r.order_id = e.order_id AND r.state = 'held' RETURNING 1
            ), moved AS (
                UPDATE stock AS s SET available = s.available + m.available, reserved = s.reserved + m.reserved,
                    sold = s.sold + m.sold, version = m.version
                FROM unnest((SELECT $10::bigint[]), $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
                    AS m (product_id, read_version, version, available, reserved, sold)
                WHERE s.product_id = m.product_id AND s.version = m.read_version ",
            $guard,
            " RETURNING 1
            ) SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM ended)"
        )
    };
}
/// Nothing is taken that is not there.
const WRITE_ORDERS: &str = write_orders!(
    "AND (m.available >= 0 OR s.available + m.available >= 0) AND (m.reserved >= 0 OR s.reserved + m.reserved >= 0)"
);
/// PLANTED BUG: takes what is not there.
#[cfg(feature = "planted-bugs")]
const WRITE_ORDERS_UNGUARDED: &str = write_orders!("");

/// The store.
pub struct PostgresStock {
    db: Arc<Db>,
    way: Way,
}

/// How commands are written.
enum Way {
    Together(Gather<StockWriter>),
    Alone(Optimistic),
}

/// Writes batches of commands of all kinds, each in one transaction and decided in its order.
pub struct StockWriter {
    kept: Kept,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

impl PostgresStock {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When that fails.
    pub async fn open(servers: &Servers, metrics: &Metrics) -> Result<Self, StoreError> {
        let db = Arc::new(Db::open(servers, DATABASE, MIGRATIONS, metrics).await?);
        let writer = StockWriter {
            kept: Kept::new(db.clone()),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        };
        let way = Way::Together(Gather::new(writer, db.batch_max(), metrics));
        Ok(Self { db, way })
    }

    /// The same, writing in that way.
    #[must_use]
    pub fn with_strategy(self, strategy: Strategy) -> Self {
        match strategy {
            Strategy::Batched => self,
            Strategy::Optimistic => Self { way: Way::Alone(Optimistic::new(self.db.clone())), ..self },
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub fn with_planted_bug(self, planted_bug: Option<PlantedBug>, metrics: &Metrics) -> Self {
        let writer = StockWriter { kept: Kept::new(self.db.clone()), planted_bug };
        Self { way: Way::Together(Gather::new(writer, self.db.batch_max(), metrics)), ..self }
    }

    /// The outbox that a relay empties.
    pub fn outbox(&self, clock: SharedClock) -> PostgresOutbox {
        PostgresOutbox::new(self.db.clone(), OUTBOX, clock)
    }

    async fn decide<C: Command>(&self, batch: &[C]) -> Answers<C::Outcome> {
        let answer = |answered: Result<Result<AnyAnswer, Refusal>, StoreError>| {
            C::answer(answered??).ok_or_else(|| corrupt("an answer of another kind").into())
        };
        let commands: Vec<AnyCommand> = batch.iter().cloned().map(Into::into).collect();
        let answered = match &self.way {
            Way::Together(gather) => gather.submit_all(commands).await,
            Way::Alone(optimistic) => optimistic.carry_out(commands).await,
        };
        answered.into_iter().map(answer).collect()
    }
}

#[async_trait]
impl Writer for StockWriter {
    type Command = AnyCommand;
    type Answer = Result<AnyAnswer, Refusal>;
    type Key = ();

    fn name(&self) -> &'static str {
        DATABASE
    }

    fn key(&self, _: &AnyCommand) -> Option<()> {
        None
    }

    async fn write(&self, batch: &[Traced<AnyCommand>]) -> Result<Vec<Self::Answer>, Failed> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let mixed = batch.iter().any(|other| other.command.what() != first.command.what());
        let what = if mixed { "stock_batch" } else { first.command.what() };
        let mut tx = self.kept.begin(what).await.map_err(Failed::All)?;
        let mut books = Books::default();
        #[cfg(feature = "planted-bugs")]
        {
            books.planted_bug = self.planted_bug;
        }
        read(&mut tx, batch, Locks::Taken, &mut books).await?;
        let mut decided = Vec::with_capacity(batch.len());
        for Traced { command, trace } in batch {
            let told = books.writes.events.len();
            decided.push(command.decide(&mut books)?);
            for event in books.writes.events.iter_mut().skip(told) {
                event.traceparent.clone_from(trace);
            }
        }
        write(&mut tx, &books).await?;
        tx.commit().await.map_err(Failed::All)?;
        Ok(decided)
    }
}

#[async_trait]
impl StockStore for PostgresStock {
    async fn reserve(&self, batch: &[ReserveOrder]) -> Answers<ReserveOutcome> {
        self.decide(batch).await
    }

    async fn release(&self, batch: &[ReleaseOrder]) -> Answers<ReleaseOutcome> {
        self.decide(batch).await
    }

    async fn commit(&self, batch: &[CommitOrder]) -> Answers<()> {
        self.decide(batch).await
    }

    async fn restock(&self, batch: &[RestockProduct]) -> Answers<Stock> {
        self.decide(batch).await
    }

    async fn stock(&self, product_id: ProductId) -> Result<Option<Stock>, StoreError> {
        let sql = "SELECT product_id, available, reserved, sold, version FROM stock WHERE product_id = $1";
        let row = sqlx::query(sql).bind(product_id.0).fetch_optional(self.db.pool()).await?;
        Ok(row.as_ref().map(stock_of).transpose()?)
    }
}

fn stock_of(row: &PgRow) -> Result<Stock, sqlx::Error> {
    Ok(Stock {
        product_id: ProductId(row.try_get(0)?),
        available: row.try_get(1)?,
        reserved: row.try_get(2)?,
        sold: row.try_get(3)?,
        version: row.try_get(4)?,
    })
}

/// Whether what is read stays so until it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    Taken,
    /// It may change meanwhile; then writing finds another version, or a key that is taken.
    Left,
}

/// Locks and reads all that the batch is decided on. Each statement sees what was committed before it
/// began, so what is read under a lock is read by a later statement than the one that waited for it.
async fn read(
    tx: &mut PgConnection,
    batch: &[Traced<AnyCommand>],
    locks: Locks,
    books: &mut Books,
) -> Result<(), StoreError> {
    let keys: BTreeSet<Key> = batch.iter().flat_map(|traced| traced.command.keys()).collect();
    if locks == Locks::Taken {
        let texts: Vec<String> = keys.iter().map(Key::to_string).collect();
        sqlx::query(LOCK_KEYS).bind(texts).execute(&mut *tx).await?;
    }
    read_orders(tx, &keys, books).await?;
    read_restocks(tx, &keys, books).await?;
    // Last, and for as short a time as can be: everybody wants the rows of a hot product.
    let products: BTreeSet<i64> =
        batch.iter().flat_map(|traced| traced.command.products(books)).map(|product_id| product_id.0).collect();
    if !products.is_empty() {
        let products: Vec<i64> = products.into_iter().collect();
        let sql = if locks == Locks::Taken { LOCK_STOCK } else { READ_STOCK };
        let rows = sqlx::query(sql).bind(products).fetch_all(&mut *tx).await?;
        books.read_stock(rows.iter().map(stock_of).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(())
}

async fn read_orders(tx: &mut PgConnection, keys: &BTreeSet<Key>, books: &mut Books) -> Result<(), StoreError> {
    let id = |key: &Key| if let Key::Order(id) = key { Some(*id.as_uuid()) } else { None };
    let ids: Vec<_> = keys.iter().filter_map(id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for row in sqlx::query(BARRIERS).bind(&ids).fetch_all(&mut *tx).await? {
        let order_id = OrderId::from_uuid(row.try_get(0)?);
        let known = books.orders.entry(order_id).or_insert(KnownOrder::new(order_id));
        read_barrier(&mut known.order, row.try_get(1)?, row.try_get(2)?)?;
        known.version = row.try_get::<Option<i64>, _>(3)?.unwrap_or_default();
    }
    let reserved = |known: &KnownOrder| known.order.reserve == Some(ReserveOutcome::Reserved);
    if !books.orders.values().any(reserved) {
        return Ok(());
    }
    for row in sqlx::query(RESERVATIONS).bind(&ids).fetch_all(&mut *tx).await? {
        let order_id = OrderId::from_uuid(row.try_get(0)?);
        let known = books.orders.get_mut(&order_id).filter(|known| reserved(known));
        let known = known.ok_or_else(|| corrupt(format!("order {order_id} has lines and never reserved")))?;
        known.order.lines.push(line(row.try_get(1)?, row.try_get(2)?)?);
    }
    let mut empty = books.orders.iter().filter(|(_, known)| reserved(known) && known.order.lines.is_empty());
    empty.next().map_or(Ok(()), |(order_id, _)| Err(nothing_reserved(*order_id)))
}

async fn read_restocks(tx: &mut PgConnection, keys: &BTreeSet<Key>, books: &mut Books) -> Result<(), StoreError> {
    let id = |key: &Key| if let Key::Restock(id) = key { Some(id.to_string()) } else { None };
    let ids: Vec<String> = keys.iter().filter_map(id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for row in sqlx::query(RESTOCKS).bind(&ids).fetch_all(&mut *tx).await? {
        let id: &str = row.try_get(0)?;
        let earlier = (ProductId(row.try_get(1)?), row.try_get(2)?);
        books.restocks.insert(id.parse().map_err(corrupt)?, earlier);
    }
    Ok(())
}

/// Writes what was decided.
async fn write(tx: &mut PgConnection, books: &Books) -> Result<(), StoreError> {
    let moves = books.moves();
    write_news(tx, books, &moves).await?;
    // Last, and for as short a time as can be: everybody wants the rows of a hot product.
    write_orders(tx, books, &books.writes, &moves).await
}

/// Events, restocks, and rows for products that had none.
async fn write_news(tx: &mut PgConnection, books: &Books, moves: &[Move]) -> Result<(), StoreError> {
    outbox::append(tx, OUTBOX, &books.writes.events).await?;
    write_restocks(tx, &books.writes.restocks).await?;
    write_new_stock(tx, moves).await
}

async fn write_new_stock(tx: &mut PgConnection, moves: &[Move]) -> Result<(), StoreError> {
    let new: Vec<i64> = moves.iter().filter(|row| row.from.version == 0).map(|row| row.from.product_id.0).collect();
    if !new.is_empty() {
        sqlx::query(NEW_STOCK).bind(new).execute(tx).await?;
    }
    Ok(())
}

/// Keys, reservations and stock, in one statement. `Conflict` if a product is not where it was read.
async fn write_orders(
    tx: &mut PgConnection,
    #[cfg_attr(not(feature = "planted-bugs"), expect(unused_variables))] books: &Books,
    writes: &Writes,
    moves: &[Move],
) -> Result<(), StoreError> {
    if moves.is_empty() && writes.operations.is_empty() {
        return Ok(());
    }
    let sql = WRITE_ORDERS;
    #[cfg(feature = "planted-bugs")]
    let sql = if books.planted_bug == Some(PlantedBug::SkipStockPredicate) { WRITE_ORDERS_UNGUARDED } else { sql };
    let column = |of: fn(&Move) -> i64| moves.iter().map(of).collect::<Vec<i64>>();
    let written = sqlx::query_as(sql)
        .bind(writes.operations.iter().map(|row| *row.0.as_uuid()).collect::<Vec<_>>())
        .bind(writes.operations.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(writes.operations.iter().map(|row| row.2.as_str()).collect::<Vec<_>>())
        .bind(writes.operations.iter().map(|row| row.3.as_micros()).collect::<Vec<_>>())
        .bind(writes.held.iter().map(|row| *row.0.as_uuid()).collect::<Vec<_>>())
        .bind(writes.held.iter().map(|row| row.1.product_id.0).collect::<Vec<_>>())
        .bind(writes.held.iter().map(|row| i64::from(row.1.quantity.get())).collect::<Vec<_>>())
        .bind(writes.ended.iter().map(|row| *row.0.as_uuid()).collect::<Vec<_>>())
        .bind(writes.ended.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(column(|row| row.from.product_id.0))
        .bind(column(|row| row.from.version))
        .bind(column(|row| row.to.version))
        .bind(column(|row| row.to.available - row.from.available))
        .bind(column(|row| row.to.reserved - row.from.reserved))
        .bind(column(|row| row.to.sold - row.from.sold))
        .bind(writes.held.iter().map(|row| row.2).collect::<Vec<_>>())
        .fetch_one(tx)
        .await;
    let (moved, ended): (i64, i64) = written.map_err(taken)?;
    if moved != moves.len() as i64 {
        return Err(StoreError::Conflict(format!("{moved} of {} products are where they were read", moves.len())));
    }
    match ended == writes.lines_ended as i64 {
        true => Ok(()),
        false => Err(corrupt(format!("{ended} of {} reserved lines were held", writes.lines_ended))),
    }
}

async fn write_restocks(tx: &mut PgConnection, rows: &[(Restock, Timestamp)]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(WRITE_RESTOCKS)
        .bind(rows.iter().map(|(restock, _)| restock.id.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(restock, _)| restock.product_id.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|(restock, _)| i64::from(restock.quantity.get())).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, at)| at.as_micros()).collect::<Vec<_>>())
        .execute(tx)
        .await
        .map(drop)
        .map_err(taken)
}

/// A key that is taken was not there when the barrier was read: a bug, and no reason to do work twice.
fn taken(error: sqlx::Error) -> StoreError {
    match is_taken(&error) {
        true => StoreError::Conflict(plain(&error)),
        false => error.into(),
    }
}
