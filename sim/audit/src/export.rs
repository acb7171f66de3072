//! The books of a shop on servers, copied into files of the embedded family's shape: what is asked of a
//! folder, an audit or an order's story, can then be asked of a shop whose servers are gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chassis::clock::SystemClock;
use chassis::metrics::Metrics;
use eventlog::jetstream::JetStreamLog;
use eventlog::sqlite::SqliteEventLog;
use eventlog::{EventLog, sqlite as event_log};
use futures_util::TryStreamExt as _;
use rusqlite::{Connection, params, params_from_iter};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use store::redis::Redis;
use store::sqlite::{Db, Storage};
use store::{Servers, StoreError};

use super::{cache, messages, postgres, rows};
use shop::STREAMS;

/// How many rows are copied at once.
const BATCH: usize = 1_000;
/// How many orders a beginning of an id may stand for.
const ORDERS_MAX: i64 = 100;

/// A database, and its schema in the embedded family.
type Schema = (&'static str, &'static [&'static str]);

/// The databases that know of orders.
const OF_ORDERS: [Schema; 5] = [
    (order::DATABASE, order::adapters::outbound::sqlite::MIGRATIONS),
    (payment::DATABASE, &payment::adapters::outbound::sqlite::MIGRATIONS),
    (inventory::DATABASE, inventory::adapters::outbound::sqlite::MIGRATIONS),
    (acquirer::DATABASE, &acquirer::adapters::outbound::sqlite::MIGRATIONS),
    (notification::DATABASE, &notification::adapters::outbound::sqlite::MIGRATIONS),
];

/// The others.
const OTHERS: [Schema; 2] = [
    (user::DATABASE, &user::adapters::outbound::sqlite::MIGRATIONS),
    (product::DATABASE, &product::adapters::outbound::sqlite::MIGRATIONS),
];

/// Copies all databases, the event log with its consumers' positions, and what the cache holds into
/// `folder`, which must hold no books yet.
///
/// # Errors
/// One line: what could not be read or written.
pub async fn export(servers: &Servers, folder: &Path) -> Result<(), String> {
    everything(servers, &Storage::Folder(folder.to_owned())).await.map_err(|error| said(&error))
}

/// Copies the orders whose id begins with `begins`, the first hundred, and everything about them but their
/// messages in the event log.
///
/// # Errors
/// As [`export`].
pub async fn export_orders(servers: &Servers, begins: &str, folder: &Path) -> Result<(), String> {
    let storage = Storage::Folder(folder.to_owned());
    some_orders(servers, begins, &storage).await.map_err(|error| said(&error))
}

fn said(error: &StoreError) -> String {
    format!("the books could not be copied: {error}")
}

async fn everything(servers: &Servers, storage: &Storage) -> Result<(), StoreError> {
    for schema in OF_ORDERS.into_iter().chain(OTHERS) {
        copy_database(servers, storage, schema, None).await?;
    }
    copy_log(&JetStreamLog::connect(servers, "shopctl").await?, storage).await?;
    copy_cache(servers, storage).await
}

async fn some_orders(servers: &Servers, begins: &str, storage: &Storage) -> Result<(), StoreError> {
    let orders = postgres::open(servers, order::DATABASE).await?;
    let sql = "SELECT id::text FROM orders WHERE starts_with(id::text, $1) ORDER BY id LIMIT $2";
    let begins = begins.to_ascii_lowercase();
    let ids: Vec<String> = sqlx::query_scalar(sql).bind(begins).bind(ORDERS_MAX).fetch_all(&orders).await?;
    for schema in OF_ORDERS {
        copy_database(servers, storage, schema, Some(&ids)).await?;
    }
    Ok(())
}

async fn copy_database(
    servers: &Servers,
    storage: &Storage,
    (name, migrations): Schema,
    orders: Option<&[String]>,
) -> Result<(), StoreError> {
    let from = postgres::open(servers, name).await?;
    drop(Db::open(storage, name, migrations, &Metrics::new("export"))?);
    let mut to = storage.open(name)?;
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let tables: Vec<String> = rows::all(&to, tables, [], |row| row.get(0))?;
    for table in tables {
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        let columns: Vec<String> = rows::all(&to, &sql, [], |row| row.get(0))?;
        let copied = match select(&from, &table, &columns, orders.is_some()).await? {
            Some(select) => copy_table(&from, &mut to, &table, &columns, &select, orders).await,
            None => Ok(()),
        };
        copied.map_err(|error| StoreError::Unavailable(format!("{name}, table {table}: {error}")))?;
    }
    Ok(())
}

/// The statement that reads a table with all values as text, which the columns of the copy turn into
/// what they are; `None` if only orders are wanted and the table is not about orders.
async fn select(from: &PgPool, table: &str, columns: &[String], orders: bool) -> Result<Option<String>, StoreError> {
    let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns
               WHERE table_schema = current_schema() AND table_name = $1";
    let types: Vec<(String, String)> = sqlx::query_as(sql).bind(table).fetch_all(from).await?;
    let types: BTreeMap<String, String> = types.into_iter().collect();
    let mut values = Vec::new();
    for column in columns {
        values.push(match types.get(column).map(String::as_str) {
            Some("boolean") => format!("\"{column}\"::int::text"),
            Some(_) => format!("\"{column}\"::text"),
            None => return Err(StoreError::Corrupt(format!("{table} has no column {column}"))),
        });
    }
    let select = format!("SELECT {} FROM \"{table}\"", values.join(", "));
    if !orders {
        return Ok(Some(select));
    }
    let names_order = |column: &&str| match table {
        "orders" => *column == "id",
        _ => ["order_id", "aggregate", "key"].contains(column),
    };
    Ok(columns.iter().map(String::as_str).find(names_order).map(|column| {
        let cast = if types.get(column).is_some_and(|kind| kind == "uuid") { "::uuid[]" } else { "" };
        format!("{select} WHERE \"{column}\" = ANY($1{cast})")
    }))
}

async fn copy_table(
    from: &PgPool,
    to: &mut Connection,
    table: &str,
    columns: &[String],
    select: &str,
    orders: Option<&[String]>,
) -> Result<(), StoreError> {
    let quoted: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    let insert =
        format!("INSERT INTO \"{table}\" ({}) VALUES ({})", quoted.join(", "), vec!["?"; columns.len()].join(", "));
    let query = sqlx::query(AssertSqlSafe(select));
    let query = match orders {
        Some(ids) => query.bind(ids),
        None => query,
    };
    let mut rows = query.fetch(from).try_chunks(BATCH);
    while let Some(batch) = rows.try_next().await.map_err(|error| error.1)? {
        write(to, &insert, &batch)?;
    }
    Ok(())
}

fn write(to: &mut Connection, insert: &str, batch: &[PgRow]) -> Result<(), StoreError> {
    let tx = to.transaction()?;
    {
        let mut insert = tx.prepare_cached(insert)?;
        for row in batch {
            let values: Vec<Option<&str>> =
                (0..row.len()).map(|column| row.try_get(column)).collect::<Result<_, _>>()?;
            insert.execute(params_from_iter(values))?;
        }
    }
    Ok(tx.commit()?)
}

async fn copy_log(log: &dyn EventLog, storage: &Storage) -> Result<(), StoreError> {
    // Makes the tables.
    drop(SqliteEventLog::open(storage, Arc::new(SystemClock))?);
    let mut copy = storage.open(event_log::DATABASE)?;
    for stream in STREAMS {
        let last = messages::copy_stream(log, stream, &mut copy).await?;
        for lag in log.lag(stream).await? {
            // Which messages are not acknowledged is not told, only how many: in the copy, the last ones.
            let delivered = last - i64::try_from(lag.unacknowledged).unwrap_or(i64::MAX);
            let sql = "INSERT INTO consumers (stream, name, delivered) VALUES (?1, ?2, ?3)";
            copy.execute(sql, params![stream.name(), lag.consumer, delivered])?;
        }
    }
    Ok(())
}

/// A cache that does not answer leaves a copy without a table: an audit says then that it has not seen it.
async fn copy_cache(servers: &Servers, storage: &Storage) -> Result<(), StoreError> {
    let mut copy = storage.open(cache::DATABASE)?;
    let read = async { cache::read(&Redis::connect(servers).await?).await };
    match read.await {
        Ok(entries) => {
            copy.execute_batch(cache::SCHEMA)?;
            cache::write(&mut copy, &entries)
        }
        Err(error) => {
            tracing::warn!(%error, "the cache is not copied");
            Ok(())
        }
    }
}
