//! The projection made anew: `orders_shadow`, filled over a connection of its own, which alone knows of it
//! until it is renamed.

use std::sync::Arc;

use async_trait::async_trait;
use eventlog::Event;
use kernel::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Row as _};
use store::StoreError;
use tokio::time::Instant;

use super::{Db, PostgresOrders};
use crate::adapters::outbound::shadow::{self, Projected};
use crate::application::ports::{Disagreement, Folded, Projection, Rebuilt, Shadow};

/// Orders caught up at once.
const CATCH_UP: usize = 500;

/// Whole tables are read here, and joined.
const SESSION: &str = "
    SET statement_timeout = '120s';
    SET enable_seqscan = on; SET enable_hashjoin = on; SET enable_mergejoin = on";

const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('orders_shadow', 0))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended('orders_shadow', 0))";

/// The shadow has the table's storage settings and its privileges too.
const CREATE: &str = "
    DROP TABLE IF EXISTS orders_shadow;
    CREATE TABLE orders_shadow (LIKE orders INCLUDING ALL);
    DO $$
    DECLARE command text;
    BEGIN
        FOR command IN
            SELECT format('ALTER TABLE orders_shadow SET (%s)', array_to_string(reloptions, ', '))
            FROM pg_class WHERE oid = 'orders'::regclass AND reloptions IS NOT NULL
            UNION ALL
            SELECT format('GRANT %s ON orders_shadow TO %s', a.privilege_type,
                          CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
            FROM pg_class, aclexplode(relacl) AS a WHERE pg_class.oid = 'orders'::regclass
        LOOP
            EXECUTE command;
        END LOOP;
    END $$";

const WRITE: &str = "
    INSERT INTO orders_shadow (id, user_id, status, cancel_reason, total_minor, currency, lines, fingerprint, version,
                               stock_committed, created_at, updated_at, due_at, epoch, attempt, unknown, broken,
                               unknown_step, traceparent)
    SELECT f.id, f.user_id, f.status, f.cancel_reason, f.total_minor, f.currency, f.lines, f.fingerprint, f.version,
           f.stock_committed, f.created_at, f.updated_at, CASE WHEN f.is_due THEN coalesce(o.due_at, $15) END,
           coalesce(o.epoch, greatest($15, (SELECT max(epoch) + 1 FROM saga_attempts WHERE order_id = f.id))),
           coalesce(o.attempt, 0), coalesce(o.unknown, 0), coalesce(o.broken, 0), o.unknown_step,
           CASE WHEN o.id IS NULL THEN f.traceparent ELSE o.traceparent END
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
                $9::bigint[], $10::boolean[], $11::bigint[], $12::bigint[], $13::boolean[], $14::text[])
         AS f (id, user_id, status, cancel_reason, total_minor, currency, lines, fingerprint, version,
               stock_committed, created_at, updated_at, is_due, traceparent)
    LEFT JOIN orders AS o ON o.id = f.id
    ON CONFLICT (id) DO UPDATE
    SET (status, cancel_reason, version, stock_committed, updated_at, due_at)
        = (excluded.status, excluded.cancel_reason, excluded.version, excluded.stock_committed, excluded.updated_at,
           excluded.due_at)
    WHERE excluded.version >= orders_shadow.version";

/// The names of each index of the shadow and of its twin: they are defined alike.
const INDICES: &str = "
    SELECT s.indexname, o.indexname FROM pg_indexes AS o
    LEFT JOIN pg_indexes AS s ON s.schemaname = o.schemaname AND s.tablename = 'orders_shadow'
         AND split_part(s.indexdef, ' USING ', 2) = split_part(o.indexdef, ' USING ', 2)
    WHERE o.schemaname = current_schema() AND o.tablename = 'orders'";

#[async_trait]
impl Projection for PostgresOrders {
    async fn begin(&self) -> Result<Box<dyn Shadow>, StoreError> {
        let mut connection = self.db.pool().acquire().await?;
        // Its settings and its lock go with it.
        connection.close_on_drop();
        if !sqlx::query_scalar::<_, bool>(LOCK).fetch_one(&mut *connection).await? {
            return Err(shadow::under_way());
        }
        sqlx::raw_sql(SESSION).execute(&mut *connection).await?;
        sqlx::raw_sql(CREATE).execute(&mut *connection).await?;
        Ok(Box::new(PostgresShadow { db: self.db.clone(), connection }))
    }
}

struct PostgresShadow {
    db: Arc<Db>,
    connection: PoolConnection<Postgres>,
}

#[async_trait]
impl Shadow for PostgresShadow {
    async fn write(&mut self, orders: &[Folded], now: Timestamp) -> Result<(), StoreError> {
        write(&mut self.connection, orders, now).await
    }

    async fn disagreement(&mut self, before: Timestamp) -> Result<Disagreement, StoreError> {
        let query = sqlx::query(shadow::DISAGREEMENT).bind(before.as_micros());
        let row = query.fetch_one(&mut *self.connection).await?;
        Ok(Disagreement { behind: number(&row, 0)?, ahead: number(&row, 1)?, example: row.try_get(2)? })
    }

    async fn swap(mut self: Box<Self>, sequence: i64, now: Timestamp) -> Result<Rebuilt, StoreError> {
        let started = Instant::now();
        let mut tx = self.connection.begin().await?;
        // From here on whoever writes or reads orders waits.
        sqlx::raw_sql("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").execute(&mut *tx).await?;
        let moved: Vec<String> = sqlx::query_scalar(shadow::MOVED).bind(sequence).fetch_all(&mut *tx).await?;
        for ids in moved.chunks(CATCH_UP) {
            let orders = stored(&mut tx, ids).await?;
            write(&mut tx, &orders, now).await?;
        }
        sqlx::query(shadow::REFRESH).bind(now.as_micros()).execute(&mut *tx).await?;
        let row = sqlx::query(shadow::COMPARE).fetch_one(&mut *tx).await?;
        let rebuilt = Rebuilt {
            orders: number(&row, 0)?,
            missing: number(&row, 1)?,
            differing: number(&row, 2)?,
            stray: number(&row, 3)?,
        };
        rename(&mut tx).await?;
        tx.commit().await?;
        self.db.wrote("swap_orders", started);
        // The planner knows nothing of the new table yet. It is in its place whatever becomes of this.
        if let Err(error) = sqlx::raw_sql("ANALYZE orders").execute(&mut *self.connection).await {
            tracing::warn!(%error, "the new table of orders is not analysed");
        }
        if let Err(error) = self.unlock().await {
            tracing::warn!(%error, "the next rebuild waits until this connection is closed");
        }
        Ok(rebuilt)
    }

    async fn discard(mut self: Box<Self>) -> Result<(), StoreError> {
        sqlx::raw_sql("DROP TABLE orders_shadow").execute(&mut *self.connection).await?;
        self.unlock().await
    }
}

impl PostgresShadow {
    /// Lets the next rebuild begin at once: a connection is closed behind our back.
    async fn unlock(&mut self) -> Result<(), StoreError> {
        sqlx::raw_sql(UNLOCK).execute(&mut *self.connection).await?;
        Ok(())
    }
}

/// PostgreSQL's sums are of any size.
fn number(row: &PgRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    Ok(number.unsigned_abs())
}

async fn write(connection: &mut PgConnection, orders: &[Folded], now: Timestamp) -> Result<(), StoreError> {
    if orders.is_empty() {
        return Ok(());
    }
    let rows: Vec<Projected> = orders.iter().map(Projected::of).collect::<Result<_, _>>()?;
    fn column<'a, T>(rows: &'a [Projected], of: impl Fn(&'a Projected) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    sqlx::query(WRITE)
        .bind(column(&rows, |row| *row.id.as_uuid()))
        .bind(column(&rows, |row| *row.user.as_uuid()))
        .bind(column(&rows, |row| row.status))
        .bind(column(&rows, |row| row.cancel_reason))
        .bind(column(&rows, |row| row.total_minor))
        .bind(column(&rows, |row| row.currency.as_str()))
        .bind(column(&rows, |row| row.lines.as_str()))
        .bind(column(&rows, |row| row.fingerprint.as_str()))
        .bind(column(&rows, |row| row.version))
        .bind(column(&rows, |row| row.stock_committed))
        .bind(column(&rows, |row| row.created_at))
        .bind(column(&rows, |row| row.updated_at))
        .bind(column(&rows, |row| row.is_due))
        .bind(column(&rows, |row| row.traceparent.as_deref()))
        .bind(now.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// These orders as the store's own events make them.
async fn stored(connection: &mut PgConnection, ids: &[String]) -> Result<Vec<Folded>, StoreError> {
    let sql = "SELECT aggregate, version, kind, data, occurred_at, traceparent FROM order_events
               WHERE aggregate = ANY($1) ORDER BY aggregate, version";
    let rows = sqlx::query(sql).bind(ids).fetch_all(connection).await?;
    let events = rows.iter().map(|row| {
        Ok(Event {
            aggregate: row.try_get(0)?,
            version: row.try_get(1)?,
            kind: row.try_get(2)?,
            data: row.try_get(3)?,
            occurred_at: Timestamp::from_micros(row.try_get(4)?),
            traceparent: row.try_get(5)?,
        })
    });
    let events: Vec<Event> = events.collect::<Result<_, sqlx::Error>>()?;
    shadow::folded(&events)
}

/// The shadow takes the name of the table, its indices the names of the table's.
async fn rename(connection: &mut PgConnection) -> Result<(), StoreError> {
    let indices = sqlx::query_as::<_, (Option<String>, String)>(INDICES).fetch_all(&mut *connection).await?;
    sqlx::raw_sql("DROP TABLE orders; ALTER TABLE orders_shadow RENAME TO orders").execute(&mut *connection).await?;
    for (shadow, index) in indices {
        let Some(shadow) = shadow else {
            return Err(StoreError::Corrupt(format!("the shadow of orders has nothing like the index {index}")));
        };
        let quoted = |name: &str| name.replace('"', "\"\"");
        // Names cannot be parameters; these are the database's own.
        let sql = format!("ALTER INDEX \"{}\" RENAME TO \"{}\"", quoted(&shadow), quoted(&index));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    Ok(())
}
