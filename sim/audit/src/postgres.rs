//! The books of a shop on PostgreSQL and NATS JetStream, read-only.
//!
//! A page of orders is read with one query a table. The event log knows its messages by sequence, not by
//! order: when an audit begins it is copied as a whole, which [`messages`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventlog::jetstream::JetStreamLog;
use eventlog::{Event, EventLog};
use futures_util::TryStreamExt as _;
use kernel::{OrderId, Timestamp};
use rusqlite::Connection;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{PgPool, Row as _};
use store::postgres::{options, plain};
use store::redis::Redis;
use store::{Servers, StoreError};
use tokio::sync::Mutex;

use super::books::{
    AcceptedMessage, Books, CacheEntry, InFlight, LedgerLine, Notices, ORPHANS_MAX, OrderBook, OrderRow, Orphans,
    PaymentRow, StockRow, Versioned,
};
use super::rows::all;
use super::{cache, messages};
use shop::STREAMS;

/// What the server itself sees to: nothing is written, no question is asked for ever, and each is planned for what it
/// asks. A plan that is made once for any page of orders takes a page for a tenth of them.
const GUARDS: [(&str, &str); 3] =
    [("default_transaction_read_only", "on"), ("statement_timeout", "60s"), ("plan_cache_mode", "force_custom_plan")];
/// Connections to each database. Most questions come one after the other.
const POOL: u32 = 2;
/// How long to wait for one of them.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(5);
/// How many ids are compared with the orders at once.
const IDS: usize = 2_000;

/// A small pool for reading the database `name` of a service.
///
/// # Errors
/// One line: the server or the database cannot be reached.
pub async fn open(servers: &Servers, name: &str) -> Result<PgPool, StoreError> {
    let database = servers.database(name);
    let options = options(&servers.postgres)?.application_name("shopctl").options(GUARDS).database(&database);
    let pool = PgPoolOptions::new().max_connections(POOL).acquire_timeout(ACQUIRE_DEADLINE).connect_with(options);
    pool.await.map_err(|error| StoreError::Unavailable(format!("{database}: {}", plain(&error))))
}

/// Reads the databases of all services, and the event log.
pub struct ServerBooks {
    order: PgPool,
    payment: PgPool,
    inventory: PgPool,
    user: PgPool,
    acquirer: PgPool,
    courier: PgPool,
    product: PgPool,
    log: Arc<dyn EventLog>,
    redis: Mutex<Option<Arc<Redis>>>,
    servers: Servers,
    /// The event log as it was when the first page of orders was read.
    copy: Mutex<Option<Connection>>,
}

impl ServerBooks {
    /// # Errors
    /// One line: a server or a database cannot be reached.
    pub async fn open(servers: &Servers) -> Result<Self, StoreError> {
        Self::beside(servers, Arc::new(JetStreamLog::connect(servers, "shopctl").await?)).await
    }

    /// The same with an event log of another kind.
    ///
    /// # Errors
    /// As [`ServerBooks::open`].
    pub async fn beside(servers: &Servers, log: Arc<dyn EventLog>) -> Result<Self, StoreError> {
        Ok(Self {
            order: open(servers, order::DATABASE).await?,
            payment: open(servers, payment::DATABASE).await?,
            inventory: open(servers, inventory::DATABASE).await?,
            user: open(servers, user::DATABASE).await?,
            acquirer: open(servers, acquirer::DATABASE).await?,
            courier: open(servers, notification::DATABASE).await?,
            product: open(servers, product::DATABASE).await?,
            log,
            redis: Mutex::new(None),
            servers: servers.clone(),
            copy: Mutex::new(None),
        })
    }
}

/// Rows of many orders, by order: the first column is the order's id.
async fn by_order<T>(
    pool: &PgPool,
    sql: &'static str,
    ids: &[String],
    read: fn(&PgRow) -> Result<T, sqlx::Error>,
) -> Result<BTreeMap<String, Vec<T>>, StoreError> {
    let mut found: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for row in sqlx::query(sql).bind(ids).fetch_all(pool).await? {
        found.entry(row.try_get(0)?).or_default().push(read(&row)?);
    }
    Ok(found)
}

fn event(row: &PgRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        aggregate: row.try_get(0)?,
        version: row.try_get(1)?,
        kind: row.try_get(2)?,
        data: row.try_get(3)?,
        occurred_at: Timestamp::from_micros(row.try_get(4)?),
        traceparent: row.try_get(5)?,
    })
}

fn order_row(row: &PgRow) -> Result<OrderRow, sqlx::Error> {
    Ok(OrderRow {
        id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        status: row.try_get(2)?,
        cancel_reason: row.try_get(3)?,
        total_minor: row.try_get(4)?,
        currency: row.try_get(5)?,
        lines: row.try_get(6)?,
        version: row.try_get(7)?,
        stock_committed: row.try_get(8)?,
    })
}

fn payment_row(row: &PgRow) -> Result<PaymentRow, sqlx::Error> {
    Ok(PaymentRow {
        state: row.try_get(1)?,
        user_id: row.try_get(2)?,
        amount_minor: row.try_get(3)?,
        currency: row.try_get(4)?,
    })
}

fn stock_row(row: &PgRow) -> Result<StockRow, sqlx::Error> {
    Ok(StockRow {
        product_id: row.try_get(0)?,
        available: row.try_get(1)?,
        reserved: row.try_get(2)?,
        sold: row.try_get(3)?,
        held_by_orders: row.try_get(4)?,
        sold_to_orders: row.try_get(5)?,
        restocked: row.try_get(6)?,
        seeded: row.try_get(7)?,
        missing: row.try_get(8)?,
    })
}

fn product_row(row: &PgRow) -> Result<Versioned, sqlx::Error> {
    let (sku, name, category): (&str, &str, &str) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    Ok(cache::described(row.try_get(1)?, sku, name, category, row.try_get(5)?, row.try_get(6)?))
}

/// What stands in the databases about a page of orders, each by order.
struct Page {
    events: BTreeMap<String, Vec<Event>>,
    payments: BTreeMap<String, Vec<PaymentRow>>,
    payment_events: BTreeMap<String, Vec<Event>>,
    inventory_events: BTreeMap<String, Vec<Event>>,
    reservations: BTreeMap<String, Vec<(i64, i64, String)>>,
    ledger: BTreeMap<String, Vec<LedgerLine>>,
    charges: BTreeMap<String, Vec<String>>,
    accepted: BTreeMap<String, Vec<AcceptedMessage>>,
}

impl Page {
    async fn read(books: &ServerBooks, ids: &[String]) -> Result<Self, StoreError> {
        let events = "SELECT aggregate, version, kind, data, occurred_at, traceparent
                      FROM order_events WHERE aggregate = ANY($1) ORDER BY aggregate, version";
        let payment_events = "SELECT aggregate, version, kind, data, occurred_at, traceparent
                              FROM payment_events WHERE aggregate = ANY($1) ORDER BY aggregate, version";
        let inventory_events = "SELECT aggregate, version, kind, data, occurred_at, traceparent
                                FROM inventory_events WHERE aggregate = ANY($1) ORDER BY aggregate, version";
        let payments = "SELECT order_id::text, state, user_id::text, amount_minor, currency
                        FROM payments WHERE order_id = ANY($1::uuid[])";
        let reservations = "SELECT order_id::text, product_id, quantity, state
                            FROM reservations WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, product_id";
        let ledger = "SELECT key, kind, amount_minor, currency FROM ledger WHERE key = ANY($1) ORDER BY sequence";
        let charges = "SELECT key, state FROM charges WHERE key = ANY($1)";
        let accepted = "SELECT order_id::text, event_id, channel
                        FROM accepted WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, event_id, channel";
        Ok(Self {
            events: by_order(&books.order, events, ids, event).await?,
            payments: by_order(&books.payment, payments, ids, payment_row).await?,
            payment_events: by_order(&books.payment, payment_events, ids, event).await?,
            inventory_events: by_order(&books.inventory, inventory_events, ids, event).await?,
            reservations: by_order(&books.inventory, reservations, ids, |row| {
                Ok((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
            })
            .await?,
            ledger: by_order(&books.acquirer, ledger, ids, |row| {
                Ok(LedgerLine { kind: row.try_get(1)?, amount_minor: row.try_get(2)?, currency: row.try_get(3)? })
            })
            .await?,
            charges: by_order(&books.acquirer, charges, ids, |row| row.try_get(1)).await?,
            accepted: by_order(&books.courier, accepted, ids, |row| {
                Ok(AcceptedMessage { event_id: row.try_get(1)?, channel: row.try_get(2)? })
            })
            .await?,
        })
    }

    fn book(&mut self, row: OrderRow, log: &Connection) -> Result<OrderBook, StoreError> {
        let id = row.id.as_str();
        Ok(OrderBook {
            events: self.events.remove(id).unwrap_or_default(),
            stream: messages::of(log, order::STREAM, id)?,
            payment: self.payments.remove(id).and_then(|mut rows| rows.pop()),
            payment_events: self.payment_events.remove(id).unwrap_or_default(),
            payment_stream: messages::of(log, payment::STREAM, id)?,
            inventory_events: self.inventory_events.remove(id).unwrap_or_default(),
            inventory_stream: messages::of(log, inventory::STREAM, id)?,
            ledger: self.ledger.remove(id).unwrap_or_default(),
            charge_state: self.charges.remove(id).and_then(|mut rows| rows.pop()),
            reservations: self.reservations.remove(id).unwrap_or_default(),
            notices: Some(Notices {
                accepted: self.accepted.remove(id).unwrap_or_default(),
                given_up: messages::given_up(log, id)?,
            }),
            row,
        })
    }
}

impl ServerBooks {
    async fn order_rows(&self, after: &str, most: usize) -> Result<Vec<OrderRow>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        // By the column, in whose order the index stands; `id` alone would be the text that is selected.
        let rows = if after.is_empty() {
            let sql = "SELECT id::text, user_id::text, status, cancel_reason, total_minor, currency, lines, version,
                              stock_committed FROM orders ORDER BY orders.id LIMIT $1";
            sqlx::query(sql).bind(most).fetch_all(&self.order).await?
        } else {
            let sql = "SELECT id::text, user_id::text, status, cancel_reason, total_minor, currency, lines, version,
                              stock_committed FROM orders WHERE id > $2::uuid ORDER BY orders.id LIMIT $1";
            sqlx::query(sql).bind(most).bind(after).fetch_all(&self.order).await?
        };
        Ok(rows.iter().map(order_row).collect::<Result<_, _>>()?)
    }

    /// Those of the ids that no order has, into `found`.
    async fn without_order(&self, ids: &[String], found: &mut Vec<String>) -> Result<(), StoreError> {
        let is_one = |id: &&String| id.parse::<OrderId>().is_ok_and(|parsed| parsed.to_string() == **id);
        let could_be: Vec<&String> = ids.iter().filter(is_one).collect();
        let sql = "SELECT id::text FROM orders WHERE id = ANY($1::uuid[])";
        let known: Vec<String> = sqlx::query_scalar(sql).bind(could_be).fetch_all(&self.order).await?;
        let known: BTreeSet<String> = known.into_iter().collect();
        let missing = ids.iter().filter(|id| !known.contains(*id));
        found.extend(missing.take(ORPHANS_MAX.saturating_sub(found.len())).cloned());
        Ok(())
    }

    /// The ids that `sql` finds in `pool` and that no order has, into `found`.
    async fn strays(&self, pool: &PgPool, sql: &'static str, found: &mut Vec<String>) -> Result<(), StoreError> {
        let mut chunks = sqlx::query_scalar::<_, String>(sql).fetch(pool).try_chunks(IDS);
        while let Some(ids) = chunks.try_next().await.map_err(|error| error.1)? {
            self.without_order(&ids, found).await?;
        }
        Ok(())
    }

    /// Reservations of orders that wait for an operator: they are listed, so they are not forgotten.
    async fn held_for_operator(&self) -> Result<u64, StoreError> {
        let listed = "SELECT id::text FROM orders WHERE status = 'NEEDS_OPERATOR'";
        let listed: Vec<String> = sqlx::query_scalar(listed).fetch_all(&self.order).await?;
        if listed.is_empty() {
            return Ok(0);
        }
        let sql = "SELECT count(*) FROM reservations WHERE order_id = ANY($1::uuid[]) AND state = 'held'";
        let held: i64 = sqlx::query_scalar(sql).bind(listed).fetch_one(&self.inventory).await?;
        Ok(held.unsigned_abs())
    }

    /// Connected when it is asked for the first time: a shop's books are open without its cache.
    async fn redis(&self) -> Result<Arc<Redis>, StoreError> {
        let mut connected = self.redis.lock().await;
        let redis = match connected.take() {
            Some(redis) => redis,
            None => Arc::new(Redis::connect(&self.servers).await?),
        };
        Ok(connected.insert(redis).clone())
    }

    async fn unacknowledged(&self) -> Result<u64, StoreError> {
        let mut waiting = 0;
        for stream in STREAMS {
            waiting += self.log.lag(stream).await?.iter().map(|lag| lag.unacknowledged).sum::<u64>();
        }
        Ok(waiting)
    }
}

async fn count(pool: &PgPool, sql: &'static str) -> Result<u64, StoreError> {
    let counted: i64 = sqlx::query_scalar(sql).fetch_one(pool).await?;
    Ok(counted.unsigned_abs())
}

#[async_trait]
impl Books for ServerBooks {
    async fn stock(&self, seeder: &str) -> Result<Vec<StockRow>, StoreError> {
        let sql = "WITH taken AS (SELECT product_id, sum(quantity) FILTER (WHERE state = 'held') AS held,
                                         sum(quantity) FILTER (WHERE state = 'sold') AS sold
                                  FROM reservations GROUP BY product_id),
                        came AS (SELECT product_id, sum(quantity) AS units,
                                        sum(quantity) FILTER (WHERE restock_id = 'seed-' || $1 || '-' || product_id) AS seeded
                                 FROM restocks GROUP BY product_id)
                   SELECT product_id, coalesce(s.available, 0), coalesce(s.reserved, 0), coalesce(s.sold, 0),
                          coalesce(taken.held, 0)::bigint, coalesce(taken.sold, 0)::bigint,
                          coalesce(came.units, 0)::bigint, coalesce(came.seeded, 0)::bigint, s.version IS NULL
                   FROM stock s FULL JOIN taken USING (product_id) FULL JOIN came USING (product_id)
                   ORDER BY product_id";
        let rows = sqlx::query(sql).bind(seeder).fetch_all(&self.inventory).await?;
        Ok(rows.iter().map(stock_row).collect::<Result<_, _>>()?)
    }

    async fn orders(&self, after: &str, most: usize) -> Result<Vec<OrderBook>, StoreError> {
        let mut copy = self.copy.lock().await;
        let log = match copy.take().filter(|_| !after.is_empty()) {
            Some(log) => log,
            None => messages::copy(&*self.log).await?,
        };
        let log = copy.insert(log);
        let rows = self.order_rows(after, most).await?;
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let mut page = Page::read(self, &ids).await?;
        rows.into_iter().map(|row| page.book(row, log)).collect()
    }

    async fn orphans(&self) -> Result<Orphans, StoreError> {
        let mut orphans = Orphans::default();
        let sources = [
            (&self.payment, "SELECT order_id::text FROM payments ORDER BY 1"),
            (&self.acquirer, "SELECT key FROM charges ORDER BY 1"),
            (&self.acquirer, "SELECT DISTINCT key FROM ledger ORDER BY 1"),
            (&self.inventory, "SELECT DISTINCT order_id::text FROM reservations ORDER BY 1"),
            (&self.order, "SELECT DISTINCT aggregate FROM order_events ORDER BY 1"),
        ];
        for (pool, sql) in sources {
            self.strays(pool, sql, &mut orphans.ids).await?;
        }
        self.strays(&self.courier, "SELECT DISTINCT order_id::text FROM accepted ORDER BY 1", &mut orphans.told)
            .await?;
        let mut copy = self.copy.lock().await;
        let log = match copy.take() {
            Some(log) => log,
            None => messages::copy(&*self.log).await?,
        };
        for stream in [order::STREAM, payment::STREAM] {
            let sql = "SELECT DISTINCT aggregate FROM messages WHERE stream = ?1 ORDER BY 1";
            let aggregates: Vec<String> = all(&log, sql, [stream.name()], |row| row.get(0))?;
            for ids in aggregates.chunks(IDS) {
                self.without_order(ids, &mut orphans.ids).await?;
            }
        }
        *copy = Some(log);
        Ok(orphans)
    }

    async fn in_flight(&self) -> Result<InFlight, StoreError> {
        // Causes before effects: what moves on between two questions is then seen by the later one.
        let orders = count(&self.order, "SELECT count(*) FROM orders WHERE due_at IS NOT NULL").await?;
        let held = count(&self.inventory, "SELECT count(*) FROM reservations WHERE state = 'held'").await?;
        let held_reservations = match held {
            0 => 0,
            held => held.saturating_sub(self.held_for_operator().await?),
        };
        let sources = [
            (&self.order, "SELECT count(*) FROM order_events WHERE published_at IS NULL"),
            (&self.payment, "SELECT count(*) FROM payment_events WHERE published_at IS NULL"),
            (&self.inventory, "SELECT count(*) FROM inventory_events WHERE published_at IS NULL"),
            (&self.user, "SELECT count(*) FROM user_events WHERE published_at IS NULL"),
        ];
        let mut unpublished = 0;
        for (pool, sql) in sources {
            unpublished += count(pool, sql).await?;
        }
        Ok(InFlight { orders, unpublished, held_reservations, unacknowledged: self.unacknowledged().await? })
    }

    async fn cached(&self) -> Result<Option<Vec<CacheEntry>>, StoreError> {
        let entries = cache::read(&*self.redis().await?).await?;
        let wanted = cache::Wanted::of(&entries);
        let mut rows = cache::Rows::default();
        let sql = "SELECT product_id, version, available, reserved, sold FROM stock WHERE product_id = ANY($1)";
        for row in sqlx::query(sql).bind(wanted.stock).fetch_all(&self.inventory).await? {
            let units = cache::units(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            rows.stock.insert(row.try_get(0)?, units);
        }
        let sql = "SELECT id, version, sku, name, category, price_minor, currency FROM products WHERE id = ANY($1)";
        for row in sqlx::query(sql).bind(wanted.products).fetch_all(&self.product).await? {
            rows.products.insert(row.try_get(0)?, product_row(&row)?);
        }
        Ok(Some(rows.beside(&entries)))
    }
}
