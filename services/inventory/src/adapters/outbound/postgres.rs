//! The books in PostgreSQL, `inventory_db`.
//!
//! A batch is two statements: one reads what is known of its commands and of their products, then each
//! command is decided in memory against the balance that those before it have left, and the other writes
//! all of it, if every row is still as it was read and no key is taken. Who writes alone is never refused.
//!
//! Where somebody else was faster (another instance), and where a product gets its first row, it is a
//! transaction: it locks the keys of the commands (in order), reads, locks the stock rows (in order),
//! reads once more, decides, and writes. Locks are always taken in that order, so that no two batches wait for each other.
//!
//! [`optimistic`] does it for one command at a time and without the locks.
//!
//! However it is decided, the predicates on `stock` are what forbids overselling.

mod batch;
mod optimistic;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chassis::clock::SharedClock;
use chassis::metrics::Metrics;
use eventlog::Event;
use eventlog::outbox::postgres::PostgresOutbox;
use kernel::{OrderId, ProductId, Timestamp};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _};
use store::gather::{Failed, Gather, Traced, Writer};
use store::postgres::{Db, Kept, failed, is_taken, plain};
use store::{Servers, StoreError};
use uuid::Uuid;

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
    include_str!("../../../migrations/postgres/0003_written_at_once.sql"),
];

// In the order of the hashes, not of the keys: two keys may share one.
const LOCK_KEYS: &str = "SELECT pg_advisory_xact_lock(hash)
    FROM (SELECT DISTINCT hashtextextended(key, 0) AS hash FROM unnest($1::text[]) AS key ORDER BY hash) AS keys";
const LOCK_STOCK: &str = "SELECT 1 FROM stock WHERE product_id = ANY($1) ORDER BY product_id FOR UPDATE";
/// What is known of orders, what they have reserved, and the stock of those products and of the ones that are asked
/// for besides, as they stood at one moment.
const LOOK: &str = "
    WITH known AS (
        SELECT order_id, operation, outcome,
               (SELECT max(version) FROM inventory_events WHERE aggregate = order_id::text) AS version
        FROM operations WHERE order_id = ANY($1)
    ), lines AS (
        SELECT order_id, product_id, quantity FROM reservations WHERE order_id IN (SELECT order_id FROM known)
    )
    SELECT 'operation', order_id, operation, outcome, version, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint
    FROM known
    UNION ALL
    (SELECT 'line', order_id, NULL, NULL, product_id, quantity, NULL, NULL, NULL FROM lines ORDER BY order_id, product_id)
    UNION ALL
    SELECT 'stock', NULL, NULL, NULL, product_id, available, reserved, sold, version FROM stock
    WHERE product_id = ANY(ARRAY(SELECT unnest($2::bigint[]) UNION SELECT product_id FROM lines))";
const RESTOCKS: &str = "SELECT restock_id, product_id, quantity FROM restocks WHERE restock_id = ANY($1)";

const WRITE_RESTOCKS: &str = "INSERT INTO restocks (restock_id, product_id, quantity, at)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])";
// A row that does not exist stands at version 0.
const NEW_STOCK: &str = "INSERT INTO stock (product_id, available, reserved, sold, version)
    SELECT product_id, 0, 0, 0, 0 FROM unnest($1::bigint[]) AS product_id ON CONFLICT (product_id) DO NOTHING";

/// All that the orders of a batch write: keys, new reservations, ended reservations, stock, events. One
/// statement, since who waits for the stock rows waits for each round trip. Each stock row moves from the
/// version it was read at; if one has moved already, or a reservation that is to end is not held any more,
/// all of it is refused.
macro_rules! write_orders {
    ($guard:literal) => {
        concat!(
            "WITH keys AS (
                INSERT INTO operations (order_id, operation, outcome, at)
                SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
            ), held AS (
                INSERT INTO reservations (order_id, product_id, quantity, state)
                SELECT * FROM unnest($5::uuid[], $6::bigint[], $7::bigint[], $16::text[])
            ), told AS (
                INSERT INTO inventory_events (aggregate, version, kind, data, occurred_at, traceparent)
                SELECT * FROM unnest($19::text[], $20::bigint[], $21::text[], $22::text[], $23::bigint[], $24::text[])
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
            ), counted AS (
                SELECT (SELECT count(*) FROM moved) AS moved, (SELECT count(*) FROM ended) AS ended
            )
            SELECT CASE WHEN moved <> $17 THEN refuse_moved(moved, $17)
                        WHEN ended <> $18 THEN refuse_ended(ended, $18) END FROM counted"
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

/// What one command of a batch is answered.
type Decided = Result<AnyAnswer, Refusal>;

/// How often a batch that was overtaken is written under locks. Somebody who locks nothing can be faster even then,
/// about keys and states that no lock on a row holds.
const LOCKED_MAX: u32 = 3;

/// SQLSTATE of a refusal: a stock row has moved on.
const MOVED: &str = "SH001";
/// SQLSTATE of a refusal: a reservation is not held any more.
const ENDED: &str = "SH002";

/// Writes batches of commands of all kinds, decided in their order.
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
    type Answer = Decided;
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
        // A restock has keys and rows that no order has.
        let restocks = batch.iter().any(|traced| matches!(traced.command, AnyCommand::Restock(_)));
        let mut written = match restocks {
            true => self.write_locked(batch, what).await,
            false => self.write_at_once(batch, what).await,
        };
        for _ in 0..LOCKED_MAX {
            match written {
                // Somebody else was faster.
                Err(Failed::OneOfThem(StoreError::Conflict(_))) => written = self.write_locked(batch, what).await,
                _ => break,
            }
        }
        written
    }
}

impl StockWriter {
    fn books(&self) -> Books {
        #[cfg(feature = "planted-bugs")]
        return Books::with_planted_bug(self.planted_bug);
        #[cfg(not(feature = "planted-bugs"))]
        Books::default()
    }

    /// `Conflict`, and nothing is written, when what was read was not so any more.
    async fn write_at_once(&self, batch: &[Traced<AnyCommand>], what: &'static str) -> Result<Vec<Decided>, Failed> {
        let mut books = self.books();
        let (keys, products) = (keys(batch), products(batch, &books));
        let ids = order_ids(&keys);
        let rows = self.kept.read(|| sqlx::query(LOOK).bind(&ids).bind(&products)).await.map_err(Failed::All)?;
        take_in(&rows, &mut books)?;
        let decided = decide(batch, &mut books)?;
        let moves = books.moves();
        if books.writes.operations.is_empty() && books.writes.events.is_empty() && moves.is_empty() {
            return Ok(decided);
        }
        self.kept.write(what, written(&books, &books.writes, &moves)).await.map_err(refused_at_once)?;
        Ok(decided)
    }

    async fn write_locked(&self, batch: &[Traced<AnyCommand>], what: &'static str) -> Result<Vec<Decided>, Failed> {
        let mut tx = self.kept.begin(what).await.map_err(Failed::All)?;
        let mut books = self.books();
        read(&mut tx, batch, Locks::Taken, &mut books).await?;
        let decided = decide(batch, &mut books)?;
        write(&mut tx, &books).await?;
        tx.commit().await.map_err(Failed::All)?;
        Ok(decided)
    }
}

/// Each command in its turn, its events under its own trace.
fn decide(batch: &[Traced<AnyCommand>], books: &mut Books) -> Result<Vec<Decided>, StoreError> {
    let mut decided = Vec::with_capacity(batch.len());
    for Traced { command, trace } in batch {
        let told = books.writes.events.len();
        decided.push(command.decide(books)?);
        for event in books.writes.events.iter_mut().skip(told) {
            event.traceparent.clone_from(trace);
        }
    }
    // Two batches that write the same new keys meet them in the same order, and one waits for the other.
    books.writes.sort();
    Ok(decided)
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
        Ok(row.as_ref().map(|row| stock_of(row, 0)).transpose()?)
    }
}

/// Five columns from the `first` on.
fn stock_of(row: &PgRow, first: usize) -> Result<Stock, sqlx::Error> {
    Ok(Stock {
        product_id: ProductId(row.try_get(first)?),
        available: row.try_get(first + 1)?,
        reserved: row.try_get(first + 2)?,
        sold: row.try_get(first + 3)?,
        version: row.try_get(first + 4)?,
    })
}

/// Whether what is read stays so until it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    Taken,
    /// It may change meanwhile; then writing finds another version, or a key that is taken.
    Left,
}

fn keys(batch: &[Traced<AnyCommand>]) -> BTreeSet<Key> {
    batch.iter().flat_map(|traced| traced.command.keys()).collect()
}

/// The products that the batch may move, going by what is known, in their order.
fn products(batch: &[Traced<AnyCommand>], books: &Books) -> Vec<i64> {
    let products = batch.iter().flat_map(|traced| traced.command.products(books)).map(|product_id| product_id.0);
    products.collect::<BTreeSet<i64>>().into_iter().collect()
}

fn order_ids(keys: &BTreeSet<Key>) -> Vec<Uuid> {
    let id = |key: &Key| if let Key::Order(id) = key { Some(*id.as_uuid()) } else { None };
    keys.iter().filter_map(id).collect()
}

/// Locks and reads all that the batch is decided on. Each statement sees what was committed before it
/// began, so what is read under a lock is read by a later statement than the one that waited for it.
async fn read(
    tx: &mut PgConnection,
    batch: &[Traced<AnyCommand>],
    locks: Locks,
    books: &mut Books,
) -> Result<(), StoreError> {
    let keys = keys(batch);
    if locks == Locks::Taken {
        let texts: Vec<String> = keys.iter().map(Key::to_string).collect();
        sqlx::query(LOCK_KEYS).bind(texts).execute(&mut *tx).await?;
    }
    // Before the stock: a repetition is told of stock that has its units.
    read_restocks(tx, &keys, books).await?;
    let (ids, wanted) = (order_ids(&keys), products(batch, books));
    let look = || sqlx::query(LOOK).bind(&ids).bind(&wanted);
    take_in(&look().fetch_all(&mut *tx).await?, books)?;
    // Last, and for as short a time as can be: everybody wants the rows of a hot product.
    let products = products(batch, books);
    if locks == Locks::Taken && !products.is_empty() {
        sqlx::query(LOCK_STOCK).bind(products).execute(&mut *tx).await?;
        // Whoever was waited for may have ended one of these orders without asking for its key. From here on nobody
        // does, since whoever ends an order moves its stock.
        books.orders.clear();
        take_in(&look().fetch_all(&mut *tx).await?, books)?;
    }
    Ok(())
}

/// What [`LOOK`] has seen.
fn take_in(rows: &[PgRow], books: &mut Books) -> Result<(), StoreError> {
    let mut stock = Vec::new();
    for row in rows {
        let order_id = || row.try_get(1).map(OrderId::from_uuid);
        match row.try_get(0)? {
            "operation" => {
                let order_id = order_id()?;
                let known = books.orders.entry(order_id).or_insert(KnownOrder::new(order_id));
                read_barrier(&mut known.order, row.try_get(2)?, row.try_get(3)?)?;
                known.version = row.try_get::<Option<i64>, _>(4)?.unwrap_or_default();
            }
            "line" => {
                let order_id = order_id()?;
                let known = books.orders.get_mut(&order_id).filter(|known| has_reserved(known));
                let known = known.ok_or_else(|| corrupt(format!("order {order_id} has lines and never reserved")))?;
                known.order.lines.push(line(row.try_get(4)?, row.try_get(5)?)?);
            }
            _ => stock.push(stock_of(row, 4)?),
        }
    }
    books.read_stock(stock);
    let mut empty = books.orders.iter().filter(|(_, known)| has_reserved(known) && known.order.lines.is_empty());
    empty.next().map_or(Ok(()), |(order_id, _)| Err(nothing_reserved(*order_id)))
}

fn has_reserved(known: &KnownOrder) -> bool {
    known.order.reserve == Some(ReserveOutcome::Reserved)
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
    write_restocks(tx, &books.writes.restocks).await?;
    write_new_stock(tx, &moves).await?;
    // Last, and for as short a time as can be: everybody wants the rows of a hot product.
    write_orders(tx, books, &books.writes, &moves).await
}

async fn write_new_stock(tx: &mut PgConnection, moves: &[Move]) -> Result<(), StoreError> {
    let new: Vec<i64> = moves.iter().filter(|row| row.from.version == 0).map(|row| row.from.product_id.0).collect();
    if !new.is_empty() {
        sqlx::query(NEW_STOCK).bind(new).execute(tx).await?;
    }
    Ok(())
}

/// Keys, reservations, stock and events, in one statement. `Conflict` if a product is not where it was read.
async fn write_orders(tx: &mut PgConnection, books: &Books, writes: &Writes, moves: &[Move]) -> Result<(), StoreError> {
    if moves.is_empty() && writes.operations.is_empty() && writes.events.is_empty() {
        return Ok(());
    }
    written(books, writes, moves).execute(tx).await.map(drop).map_err(refused)
}

/// The statement that writes them.
fn written<'q>(
    #[cfg_attr(not(feature = "planted-bugs"), expect(unused_variables))] books: &Books,
    writes: &'q Writes,
    moves: &[Move],
) -> Query<'q, Postgres, PgArguments> {
    let sql = WRITE_ORDERS;
    #[cfg(feature = "planted-bugs")]
    let sql = if books.planted_bug == Some(PlantedBug::SkipStockPredicate) { WRITE_ORDERS_UNGUARDED } else { sql };
    let column = |of: fn(&Move) -> i64| moves.iter().map(of).collect::<Vec<i64>>();
    let events = &writes.events;
    let text = |of: fn(&Event) -> &str| events.iter().map(of).collect::<Vec<&str>>();
    sqlx::query(sql)
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
        .bind(moves.len() as i64)
        .bind(writes.lines_ended as i64)
        .bind(text(|event| &event.aggregate))
        .bind(events.iter().map(|event| event.version).collect::<Vec<_>>())
        .bind(text(|event| &event.kind))
        .bind(text(|event| &event.data))
        .bind(events.iter().map(|event| event.occurred_at.as_micros()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.traceparent.as_deref()).collect::<Vec<_>>())
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
        .map_err(refused)
}

/// What a refusal of [`WRITE_ORDERS`] means under locks: somebody who takes none was faster about a key or a row. That a
/// reservation is not held, whose stock is locked, is a contradiction in the books.
fn refused(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        Some(MOVED) => StoreError::Conflict(plain(&error)),
        Some(ENDED) => corrupt(plain(&error)),
        _ if is_taken(&error) => StoreError::Conflict(plain(&error)),
        _ => error.into(),
    }
}

/// What it means for a batch without locks: somebody else was faster, or the failure is that of any statement.
fn refused_at_once(error: sqlx::Error) -> Failed {
    match code(&error).as_deref() {
        Some(MOVED | ENDED) => Failed::OneOfThem(StoreError::Conflict(plain(&error))),
        _ => failed(error),
    }
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(|refused| refused.code())
}
