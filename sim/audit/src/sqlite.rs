//! The books of the embedded family, read-only.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eventlog::outbox::sqlite as outbox;
use rusqlite::{Connection, OptionalExtension, Row, params};
use store::StoreError;
use store::sqlite::Storage;

use super::books::{
    AcceptedMessage, Books, CacheEntry, InFlight, LedgerLine, Notices, ORPHANS_MAX, OrderBook, OrderRow, Orphans,
    PaymentRow, StockRow, Versioned,
};
use super::rows::all;
use super::{cache, messages};

struct Connections {
    order: Connection,
    payment: Connection,
    inventory: Connection,
    user: Connection,
    acquirer: Connection,
    log: Connection,
    /// The mail and SMS provider's ledger; a shop of an older version had none.
    courier: Option<Connection>,
    /// The products and a copy of the cache, in books that were copied from servers.
    cache: Option<(Connection, Connection)>,
}

/// Reads files, or the memory of a simulation.
pub struct SqliteBooks(Mutex<Connections>);

impl SqliteBooks {
    /// # Errors
    /// When a database is missing.
    pub fn open(storage: &Storage) -> Result<Self, StoreError> {
        let log = storage.open_read_only(eventlog::sqlite::DATABASE)?;
        let courier = match storage.open_read_only(notification::DATABASE) {
            Ok(courier) => Some(courier),
            Err(_) if !notifies(&log)? => None,
            Err(error) => return Err(error),
        };
        Ok(Self(Mutex::new(Connections {
            order: storage.open_read_only(order::DATABASE)?,
            payment: storage.open_read_only(payment::DATABASE)?,
            inventory: storage.open_read_only(inventory::DATABASE)?,
            user: storage.open_read_only(user::DATABASE)?,
            acquirer: storage.open_read_only(acquirer::DATABASE)?,
            log,
            courier,
            cache: match has_cache(storage) {
                true => Some((storage.open_read_only(product::DATABASE)?, storage.open_read_only(cache::DATABASE)?)),
                false => None,
            },
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the books hold a copy of a cache.
fn has_cache(storage: &Storage) -> bool {
    let Storage::Folder(folder) = storage else { return false };
    folder.join(format!("{}.db", cache::DATABASE)).exists()
}

/// Whether a notification service has ever read this log.
fn notifies(log: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM consumers WHERE name = ?1)";
    Ok(log.query_row(sql, [notification::CONSUMER], |row| row.get(0))?)
}

fn order_row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    Ok(OrderRow {
        id: row.get(0)?,
        user_id: row.get(1)?,
        status: row.get(2)?,
        cancel_reason: row.get(3)?,
        total_minor: row.get(4)?,
        currency: row.get(5)?,
        lines: row.get(6)?,
        version: row.get(7)?,
        stock_committed: row.get(8)?,
    })
}

fn product_row(row: &Row<'_>) -> rusqlite::Result<Versioned> {
    let (sku, name, category): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(cache::described(row.get(0)?, &sku, &name, &category, row.get(4)?, &row.get::<_, String>(5)?))
}

impl Connections {
    fn order(&self, row: OrderRow) -> Result<OrderBook, StoreError> {
        let id = row.id.as_str();
        let payment = self
            .payment
            .prepare_cached("SELECT state, user_id, amount_minor, currency FROM payments WHERE order_id = ?1")?
            .query_row([id], |row| {
                Ok(PaymentRow {
                    state: row.get(0)?,
                    user_id: row.get(1)?,
                    amount_minor: row.get(2)?,
                    currency: row.get(3)?,
                })
            })
            .optional()?;
        let ledger = "SELECT kind, amount_minor, currency FROM ledger WHERE key = ?1 ORDER BY sequence";
        let ledger = all(&self.acquirer, ledger, [id], |row| {
            Ok(LedgerLine { kind: row.get(0)?, amount_minor: row.get(1)?, currency: row.get(2)? })
        })?;
        let charge_state = self
            .acquirer
            .prepare_cached("SELECT state FROM charges WHERE key = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let held = "SELECT product_id, quantity, state FROM reservations WHERE order_id = ?1 ORDER BY product_id";
        let reservations = all(&self.inventory, held, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(OrderBook {
            events: outbox::events_of(&self.order, "order_events", id)?,
            stream: messages::of(&self.log, order::STREAM, id)?,
            payment,
            payment_stream: messages::of(&self.log, payment::STREAM, id)?,
            payment_events: outbox::events_of(&self.payment, "payment_events", id)?,
            inventory_stream: messages::of(&self.log, inventory::STREAM, id)?,
            inventory_events: outbox::events_of(&self.inventory, "inventory_events", id)?,
            ledger,
            charge_state,
            reservations,
            notices: self.notices(id)?,
            row,
        })
    }

    fn notices(&self, order: &str) -> Result<Option<Notices>, StoreError> {
        let Some(courier) = &self.courier else { return Ok(None) };
        let sql = "SELECT event_id, channel FROM accepted WHERE order_id = ?1 ORDER BY event_id, channel";
        let accepted =
            all(courier, sql, [order], |row| Ok(AcceptedMessage { event_id: row.get(0)?, channel: row.get(1)? }))?;
        let given_up = messages::given_up(&self.log, order)?;
        Ok(Some(Notices { accepted, given_up }))
    }

    fn has_order(&self, id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM orders WHERE id = ?1)";
        Ok(self.order.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
    }

    /// The first ids that `sql` finds in `connection` and that no order has.
    fn without_order(&self, connection: &Connection, sql: &str, found: &mut Vec<String>) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            if found.len() < ORPHANS_MAX && !self.has_order(&id)? {
                found.push(id);
            }
        }
        Ok(())
    }
}

impl Connections {
    /// Reservations of orders that wait for an operator: they are listed, so they are not forgotten.
    fn held_for_operator(&self) -> Result<u64, StoreError> {
        let listed: Vec<String> =
            all(&self.order, "SELECT id FROM orders WHERE status = 'NEEDS_OPERATOR'", [], |row| row.get(0))?;
        let sql = "SELECT count(*) FROM reservations WHERE order_id = ?1 AND state = 'held'";
        let mut held = 0;
        for id in &listed {
            held += self.inventory.prepare_cached(sql)?.query_row([id], |row| row.get::<_, u64>(0))?;
        }
        Ok(held)
    }
}

fn count(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

#[async_trait]
impl Books for SqliteBooks {
    async fn stock(&self, seeder: &str) -> Result<Vec<StockRow>, StoreError> {
        // One pass over reservations and restocks for all products, not one for each.
        let sql = "WITH held AS (SELECT product_id, sum(quantity) AS units FROM reservations WHERE state = 'held' GROUP BY 1),
                        sold AS (SELECT product_id, sum(quantity) AS units FROM reservations WHERE state = 'sold' GROUP BY 1),
                        came AS (SELECT product_id, sum(quantity) AS units,
                                        sum(iif(restock_id = 'seed-' || ?1 || '-' || product_id, quantity, 0)) AS seeded FROM restocks GROUP BY 1),
                        every AS (SELECT product_id FROM stock UNION SELECT product_id FROM reservations
                                  UNION SELECT product_id FROM restocks)
                   SELECT e.product_id, coalesce(s.available, 0), coalesce(s.reserved, 0), coalesce(s.sold, 0),
                          coalesce(held.units, 0), coalesce(sold.units, 0), coalesce(came.units, 0),
                          coalesce(came.seeded, 0), s.product_id IS NULL
                   FROM every e
                   LEFT JOIN stock s ON s.product_id = e.product_id
                   LEFT JOIN held ON held.product_id = e.product_id
                   LEFT JOIN sold ON sold.product_id = e.product_id
                   LEFT JOIN came ON came.product_id = e.product_id
                   ORDER BY e.product_id";
        all(&self.lock().inventory, sql, [seeder], |row| {
            Ok(StockRow {
                product_id: row.get(0)?,
                available: row.get(1)?,
                reserved: row.get(2)?,
                sold: row.get(3)?,
                held_by_orders: row.get(4)?,
                sold_to_orders: row.get(5)?,
                restocked: row.get(6)?,
                seeded: row.get(7)?,
                missing: row.get(8)?,
            })
        })
    }

    async fn orders(&self, after: &str, most: usize) -> Result<Vec<OrderBook>, StoreError> {
        let books = self.lock();
        let sql = "SELECT id, user_id, status, cancel_reason, total_minor, currency, lines, version, stock_committed
                   FROM orders WHERE id > ?1 ORDER BY id LIMIT ?2";
        let rows = all(&books.order, sql, params![after, most], order_row)?;
        rows.into_iter().map(|row| books.order(row)).collect()
    }

    async fn orphans(&self) -> Result<Orphans, StoreError> {
        let books = self.lock();
        let mut orphans = Orphans::default();
        let sources = [
            (&books.payment, "SELECT order_id FROM payments ORDER BY 1"),
            (&books.acquirer, "SELECT key FROM charges ORDER BY 1"),
            (&books.acquirer, "SELECT DISTINCT key FROM ledger ORDER BY 1"),
            (&books.inventory, "SELECT DISTINCT order_id FROM reservations ORDER BY 1"),
            (&books.order, "SELECT DISTINCT aggregate FROM order_events ORDER BY 1"),
            (&books.log, "SELECT DISTINCT aggregate FROM messages WHERE stream = 'ORDERS' ORDER BY 1"),
            (&books.log, "SELECT DISTINCT aggregate FROM messages WHERE stream = 'PAYMENTS' ORDER BY 1"),
        ];
        for (connection, sql) in sources {
            books.without_order(connection, sql, &mut orphans.ids)?;
        }
        if let Some(courier) = &books.courier {
            books.without_order(courier, "SELECT DISTINCT order_id FROM accepted ORDER BY 1", &mut orphans.told)?;
        }
        Ok(orphans)
    }

    async fn in_flight(&self) -> Result<InFlight, StoreError> {
        let books = self.lock();
        // Causes before effects: what moves on between two questions is then seen by the later one.
        let orders = count(&books.order, "SELECT count(*) FROM orders WHERE due_at IS NOT NULL")?;
        let held = count(&books.inventory, "SELECT count(*) FROM reservations WHERE state = 'held'")?;
        let held_reservations = held.saturating_sub(books.held_for_operator()?);
        let unpublished = |connection: &Connection, table: &str| {
            count(connection, &format!("SELECT count(*) FROM {table} WHERE published_at IS NULL"))
        };
        let unpublished = [
            unpublished(&books.order, "order_events")?,
            unpublished(&books.payment, "payment_events")?,
            unpublished(&books.inventory, "inventory_events")?,
            unpublished(&books.user, "user_events")?,
        ];
        // Sequences have no gap, so that nothing has to be counted one by one.
        let unacknowledged = "SELECT (SELECT count(*) FROM pending) + coalesce(sum(max(0,
                coalesce((SELECT max(sequence) FROM messages m WHERE m.stream = c.stream), 0) - c.delivered)), 0)
            FROM consumers c";
        Ok(InFlight {
            orders,
            unpublished: unpublished.iter().sum(),
            held_reservations,
            unacknowledged: count(&books.log, unacknowledged)?,
        })
    }

    async fn cached(&self) -> Result<Option<Vec<CacheEntry>>, StoreError> {
        let books = self.lock();
        let Some((products, copy)) = &books.cache else { return Ok(None) };
        let entries = cache::copied(copy)?;
        let wanted = cache::Wanted::of(&entries);
        let mut rows = cache::Rows::default();
        let sql = "SELECT version, available, reserved, sold FROM stock WHERE product_id = ?1";
        for id in wanted.stock {
            let found = all(&books.inventory, sql, [id], |row| {
                Ok(cache::units(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.stock.extend(found.into_iter().map(|units| (id, units)));
        }
        for id in wanted.products {
            let sql = "SELECT version, sku, name, category, price_minor, currency FROM products WHERE id = ?1";
            rows.products.extend(all(products, sql, [id], product_row)?.into_iter().map(|product| (id, product)));
        }
        Ok(Some(rows.beside(&entries)))
    }
}
