//! Rows of SQLite books.

use rusqlite::{Connection, Row};
use store::StoreError;

/// Every row that `sql` finds, as `read` takes it.
///
/// # Errors
/// When the database cannot be read, or `read` cannot take a row.
pub fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
