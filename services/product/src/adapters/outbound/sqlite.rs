//! Products and their list view in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{ProductId, Sku, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use store::StoreError;
use store::sqlite::Db;

use super::rows::{COLUMNS, ProductRow, page_of, rows_of, shelf_of};
use crate::application::ports::{ProductKey, ProductList, ProductStore, SkuTaken, Stale};
use crate::domain::{Draft, Product, Search, Shelf};

/// Its schema, one step after the other.
pub const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/sqlite/0001_initial.sql")];

pub struct SqliteProducts {
    db: Arc<Db>,
}

impl SqliteProducts {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db }
    }
}

fn product_of(row: &Row<'_>) -> Result<Product, StoreError> {
    ProductRow {
        id: row.get(0)?,
        sku: row.get(1)?,
        name: row.get(2)?,
        category: row.get(3)?,
        price_minor: row.get(4)?,
        currency: row.get(5)?,
        version: row.get(6)?,
    }
    .try_into()
}

fn find(connection: &Connection, key: &ProductKey) -> Result<Option<Product>, StoreError> {
    let (column, value) = match key {
        ProductKey::Id(id) => ("id", Value::from(id.0)),
        ProductKey::Sku(sku) => ("sku", Value::from(sku.as_str().to_owned())),
    };
    let sql = format!("SELECT {COLUMNS} FROM products WHERE {column} = ?1 AND deleted = 0");
    connection.prepare_cached(&sql)?.query_row([value], |row| Ok(product_of(row))).optional()?.transpose()
}

fn id_of(connection: &Connection, sku: &Sku) -> Result<Option<ProductId>, StoreError> {
    Ok(find(connection, &ProductKey::Sku(sku.clone()))?.map(|product| product.id))
}

/// Writes the row of the list view that stands for `product`.
fn show(tx: &Connection, product: &Product) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT OR REPLACE INTO product_list_view ({COLUMNS}, search_text, category_folded)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    );
    tx.prepare_cached(&sql)?.execute(params![
        product.id.0,
        product.sku.as_str(),
        product.name.as_str(),
        product.category.as_str(),
        product.price.minor,
        product.price.currency.as_str(),
        product.version,
        Search::text_of(product),
        product.category.folded(),
    ])?;
    Ok(())
}

/// The outer error undoes the batch; the inner one refuses this product before anything is written.
fn add(tx: &Connection, draft: &Draft, now: Timestamp) -> Result<Result<Product, SkuTaken>, StoreError> {
    if let Some(existing) = id_of(tx, &draft.sku)? {
        return Ok(Err(SkuTaken { existing }));
    }
    let sql = "INSERT INTO products (sku, name, category, price_minor, currency, version, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6)";
    tx.prepare_cached(sql)?.execute(params![
        draft.sku.as_str(),
        draft.name.as_str(),
        draft.category.as_str(),
        draft.price.minor,
        draft.price.currency.as_str(),
        now.as_micros(),
    ])?;
    let Draft { sku, name, category, price } = draft.clone();
    let product = Product { id: ProductId(tx.last_insert_rowid()), sku, name, category, price, version: 1 };
    show(tx, &product)?;
    Ok(Ok(product))
}

fn update(tx: &Connection, product: &Product, now: Timestamp) -> Result<Result<(), Stale>, StoreError> {
    let sql = "UPDATE products
               SET name = ?3, category = ?4, price_minor = ?5, currency = ?6, version = ?7, updated_at = ?8
               WHERE id = ?1 AND version = ?2 AND deleted = 0";
    let changed = tx.prepare_cached(sql)?.execute(params![
        product.id.0,
        product.version - 1,
        product.name.as_str(),
        product.category.as_str(),
        product.price.minor,
        product.price.currency.as_str(),
        product.version,
        now.as_micros(),
    ])?;
    if changed == 0 {
        return Ok(Err(Stale));
    }
    show(tx, product)?;
    Ok(Ok(()))
}

fn delete(tx: &Connection, id: ProductId, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE products SET deleted = 1, version = version + 1, updated_at = ?2 WHERE id = ?1 AND deleted = 0";
    let changed = tx.prepare_cached(sql)?.execute(params![id.0, now.as_micros()])?;
    tx.prepare_cached("DELETE FROM product_list_view WHERE id = ?1")?.execute([id.0])?;
    Ok(changed > 0)
}

#[async_trait]
impl ProductStore for SqliteProducts {
    async fn add(&self, batch: &[Draft], now: Timestamp) -> Result<Vec<Result<Product, SkuTaken>>, StoreError> {
        self.db.write_alone("create_product", |tx| batch.iter().map(|draft| add(tx, draft, now)).collect())
    }

    async fn update(&self, batch: &[Product], now: Timestamp) -> Result<Vec<Result<(), Stale>>, StoreError> {
        self.db.write_alone("update_product", |tx| batch.iter().map(|product| update(tx, product, now)).collect())
    }

    async fn delete(&self, batch: &[ProductId], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.db.write_alone("delete_product", |tx| batch.iter().map(|id| delete(tx, *id, now)).collect())
    }

    async fn find(&self, keys: &[ProductKey]) -> Result<Vec<Option<Product>>, StoreError> {
        self.db.read(|connection| keys.iter().map(|key| find(connection, key)).collect())
    }
}

#[async_trait]
impl ProductList for SqliteProducts {
    async fn search(&self, search: &Search) -> Result<(Vec<Product>, bool), StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM product_list_view WHERE id > ?");
        let mut values = vec![Value::from(search.after.0)];
        if let Some(category) = &search.category {
            sql.push_str(" AND category_folded = ?");
            values.push(category.folded().into());
        }
        for word in &search.words {
            // Not LIKE: a bound pattern would make SQLite prepare the statement anew at every call.
            sql.push_str(" AND instr(search_text, ?) > 0");
            values.push(word.clone().into());
        }
        // Written out for the same reason.
        sql.push_str(&format!(" ORDER BY id LIMIT {}", rows_of(search.limit)));
        let products = self.db.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), |row| Ok(product_of(row)))?;
            rows.map(|row| row.map_err(StoreError::from)?).collect::<Result<_, StoreError>>()
        })?;
        Ok(page_of(search.limit, products))
    }

    async fn categories(&self, after: &str, limit: u32) -> Result<(Vec<Shelf>, bool), StoreError> {
        let sql = "SELECT min(category), count(*) FROM product_list_view
                   WHERE category_folded > ?1 GROUP BY category_folded ORDER BY category_folded LIMIT ?2";
        let shelves = self.db.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![after, rows_of(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let shelf = |row: rusqlite::Result<(String, i64)>| row.map(|(name, products)| shelf_of(name, products))?;
            rows.map(shelf).collect::<Result<Vec<_>, StoreError>>()
        })?;
        Ok(page_of(limit, shelves))
    }
}
