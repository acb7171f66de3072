//! Products and their list view in PostgreSQL.
//!
//! A batch locks what it is about (SKUs that are to be given, rows that are to change), reads it,
//! is decided in memory in its order, and writes each table in one statement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{ProductId, Sku, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::StoreError;
use store::postgres::{Db, Tx, is_taken};

use super::rows::{COLUMNS, ProductRow, page_of, rows_of, shelf_of};
use crate::application::ports::{ProductKey, ProductList, ProductStore, SkuTaken, Stale};
use crate::domain::{Draft, Product, Search, Shelf};

/// Its schema, one step after the other.
pub const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_initial.sql")];

pub struct PostgresProducts {
    db: Arc<Db>,
}

impl PostgresProducts {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db }
    }
}

fn product_of(row: &PgRow) -> Result<Product, StoreError> {
    ProductRow {
        id: row.try_get(0)?,
        sku: row.try_get(1)?,
        name: row.try_get(2)?,
        category: row.try_get(3)?,
        price_minor: row.try_get(4)?,
        currency: row.try_get(5)?,
        version: row.try_get(6)?,
    }
    .try_into()
}

/// A refusal that the locks should have prevented: somebody writes without them.
fn refused(error: sqlx::Error) -> StoreError {
    match is_taken(&error) {
        true => StoreError::Conflict("a product of that SKU was added meanwhile".into()),
        false => error.into(),
    }
}

/// Locks these SKUs, given or not, until the transaction ends; answers whose they are.
async fn lock_skus(tx: &mut Tx<'_>, skus: &BTreeSet<&str>) -> Result<BTreeMap<String, ProductId>, StoreError> {
    // In one order for everybody, or two batches wait for each other for ever.
    let skus: Vec<&str> = skus.iter().copied().collect();
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended(sku, 0)) FROM unnest($1::text[]) AS sku")
        .bind(&skus)
        .execute(&mut **tx)
        .await?;
    // A statement sees what was committed when it began: after the locks were granted.
    let rows = sqlx::query("SELECT sku, id FROM products WHERE sku = ANY($1) AND NOT deleted")
        .bind(&skus)
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, ProductId(row.try_get(1)?)))).collect()
}

/// Locks those of the products that are sold; answers their versions.
async fn lock_products(tx: &mut Tx<'_>, ids: &[ProductId]) -> Result<BTreeMap<ProductId, i64>, StoreError> {
    let rows =
        sqlx::query("SELECT id, version FROM products WHERE id = ANY($1) AND NOT deleted ORDER BY id FOR UPDATE")
            .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await?;
    rows.iter().map(|row| Ok((ProductId(row.try_get(0)?), row.try_get(1)?))).collect()
}

/// Writes the rows of the list view that stand for `products`.
async fn show(tx: &mut Tx<'_>, products: &[&Product]) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO product_list_view ({COLUMNS}, search_text, category_folded)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[],
                              $8::text[], $9::text[])
         ON CONFLICT (id) DO UPDATE
         SET name = excluded.name, category = excluded.category, price_minor = excluded.price_minor,
             currency = excluded.currency, version = excluded.version, search_text = excluded.search_text,
             category_folded = excluded.category_folded"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(products.iter().map(|product| product.id.0).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.sku.as_str()).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.name.as_str()).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.category.as_str()).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.price.minor).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.price.currency.as_str()).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.version).collect::<Vec<_>>())
        .bind(products.iter().map(|product| Search::text_of(product)).collect::<Vec<_>>())
        .bind(products.iter().map(|product| product.category.folded()).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Inserts products at version 1, with ascending ids in their order; answers the ids.
async fn insert(tx: &mut Tx<'_>, drafts: &[&Draft], now: Timestamp) -> Result<Vec<ProductId>, StoreError> {
    let rows = sqlx::query(
        "INSERT INTO products (sku, name, category, price_minor, currency, version, created_at, updated_at)
         SELECT sku, name, category, price_minor, currency, 1, $6, $6
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) WITH ORDINALITY
              AS draft (sku, name, category, price_minor, currency, place)
         ORDER BY place
         RETURNING id",
    )
    .bind(drafts.iter().map(|draft| draft.sku.as_str()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.name.as_str()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.category.as_str()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.price.minor).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| draft.price.currency.as_str()).collect::<Vec<_>>())
    .bind(now.as_micros())
    .fetch_all(&mut **tx)
    .await
    .map_err(refused)?;
    let mut ids: Vec<ProductId> =
        rows.iter().map(|row| row.try_get(0).map(ProductId)).collect::<Result<_, sqlx::Error>>()?;
    ids.sort_unstable();
    Ok(ids)
}

async fn write(tx: &mut Tx<'_>, products: &[&Product], now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE products
         SET name = new.name, category = new.category, price_minor = new.price_minor, currency = new.currency,
             version = new.version, updated_at = $7
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])
              AS new (id, name, category, price_minor, currency, version)
         WHERE products.id = new.id",
    )
    .bind(products.iter().map(|product| product.id.0).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.name.as_str()).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.category.as_str()).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.price.minor).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.price.currency.as_str()).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.version).collect::<Vec<_>>())
    .bind(now.as_micros())
    .execute(&mut **tx)
    .await?;
    show(tx, products).await
}

async fn remove(tx: &mut Tx<'_>, ids: &BTreeSet<i64>, now: Timestamp) -> Result<(), StoreError> {
    let ids: Vec<i64> = ids.iter().copied().collect();
    sqlx::query("UPDATE products SET deleted = true, version = version + 1, updated_at = $2 WHERE id = ANY($1)")
        .bind(&ids)
        .bind(now.as_micros())
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM product_list_view WHERE id = ANY($1)").bind(&ids).execute(&mut **tx).await?;
    Ok(())
}

#[async_trait]
impl ProductStore for PostgresProducts {
    async fn add(&self, batch: &[Draft], now: Timestamp) -> Result<Vec<Result<Product, SkuTaken>>, StoreError> {
        let mut tx = self.db.begin("create_product").await?;
        let skus = batch.iter().map(|draft| draft.sku.as_str()).collect();
        let mut owners = lock_skus(&mut tx, &skus).await?;
        let mut seen = BTreeSet::new();
        let is_new = |draft: &&Draft| !owners.contains_key(draft.sku.as_str()) && seen.insert(draft.sku.clone());
        let new: Vec<&Draft> = batch.iter().filter(is_new).collect();
        let mut added = BTreeMap::new();
        if !new.is_empty() {
            for (draft, id) in new.iter().zip(insert(&mut tx, &new, now).await?) {
                let Draft { sku, name, category, price } = (*draft).clone();
                added.insert(sku.clone(), Product { id, sku, name, category, price, version: 1 });
            }
            show(&mut tx, &added.values().collect::<Vec<_>>()).await?;
            tx.commit().await?;
        }
        owners.extend(added.values().map(|product| (product.sku.as_str().to_owned(), product.id)));
        let answer = |draft: &Draft| match (added.remove(&draft.sku), owners.get(draft.sku.as_str())) {
            (Some(product), _) => Ok(Ok(product)),
            (None, Some(existing)) => Ok(Err(SkuTaken { existing: *existing })),
            (None, None) => Err(StoreError::Corrupt("products: an inserted row was not answered".into())),
        };
        batch.iter().map(answer).collect()
    }

    async fn update(&self, batch: &[Product], now: Timestamp) -> Result<Vec<Result<(), Stale>>, StoreError> {
        let mut tx = self.db.begin("update_product").await?;
        let ids: Vec<ProductId> = batch.iter().map(|product| product.id).collect();
        let mut versions = lock_products(&mut tx, &ids).await?;
        // Several changes of one product leave its last state.
        let mut changed: BTreeMap<ProductId, &Product> = BTreeMap::new();
        let mut answers = Vec::with_capacity(batch.len());
        for product in batch {
            let version = versions.get_mut(&product.id).filter(|version| **version == product.version - 1);
            answers.push(match version {
                Some(version) => {
                    *version = product.version;
                    changed.insert(product.id, product);
                    Ok(())
                }
                None => Err(Stale),
            });
        }
        if !changed.is_empty() {
            write(&mut tx, &changed.into_values().collect::<Vec<_>>(), now).await?;
            tx.commit().await?;
        }
        Ok(answers)
    }

    async fn delete(&self, batch: &[ProductId], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let mut tx = self.db.begin("delete_product").await?;
        let sold = lock_products(&mut tx, batch).await?;
        let mut deleted = BTreeSet::new();
        let answers = batch.iter().map(|id| sold.contains_key(id) && deleted.insert(id.0)).collect();
        if !deleted.is_empty() {
            remove(&mut tx, &deleted, now).await?;
            tx.commit().await?;
        }
        Ok(answers)
    }

    async fn find(&self, keys: &[ProductKey]) -> Result<Vec<Option<Product>>, StoreError> {
        let ids = keys.iter().filter_map(|key| if let ProductKey::Id(id) = key { Some(id.0) } else { None });
        let skus = keys.iter().filter_map(|key| if let ProductKey::Sku(sku) = key { Some(sku.as_str()) } else { None });
        let sql = format!("SELECT {COLUMNS} FROM products WHERE (id = ANY($1) OR sku = ANY($2)) AND NOT deleted");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(ids.collect::<Vec<_>>())
            .bind(skus.collect::<Vec<_>>())
            .fetch_all(self.db.pool())
            .await?;
        let products: Vec<Product> = rows.iter().map(product_of).collect::<Result<_, _>>()?;
        let by_id: BTreeMap<ProductId, &Product> = products.iter().map(|product| (product.id, product)).collect();
        let by_sku: BTreeMap<&Sku, &Product> = products.iter().map(|product| (&product.sku, product)).collect();
        let found = keys.iter().map(|key| match key {
            ProductKey::Id(id) => by_id.get(id),
            ProductKey::Sku(sku) => by_sku.get(sku),
        });
        Ok(found.map(|product| product.map(|product| (*product).clone())).collect())
    }
}

#[async_trait]
impl ProductList for PostgresProducts {
    async fn search(&self, search: &Search) -> Result<(Vec<Product>, bool), StoreError> {
        // PostgreSQL has no text with a NUL in it: nothing that is stored contains one.
        if search.words.iter().any(|word| word.contains('\0')) {
            return Ok((Vec::new(), false));
        }
        // Two statements, so that each has a plan of its own.
        let in_category = if search.category.is_some() { "AND category_folded = $4" } else { "" };
        let sql = format!(
            "SELECT {COLUMNS} FROM product_list_view
             WHERE id > $1 {in_category}
               AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS word WHERE strpos(search_text, word) = 0)
             ORDER BY id LIMIT $3"
        );
        let mut query =
            sqlx::query(AssertSqlSafe(sql)).bind(search.after.0).bind(&search.words).bind(rows_of(search.limit));
        if let Some(category) = &search.category {
            query = query.bind(category.folded());
        }
        let rows = query.fetch_all(self.db.pool()).await?;
        let products = rows.iter().map(product_of).collect::<Result<_, _>>()?;
        Ok(page_of(search.limit, products))
    }

    async fn categories(&self, after: &str, limit: u32) -> Result<(Vec<Shelf>, bool), StoreError> {
        // By bytes, whatever the database's own order of letters is.
        let rows = sqlx::query(
            "SELECT min(category COLLATE \"C\"), count(*) FROM product_list_view
             WHERE category_folded COLLATE \"C\" > $1
             GROUP BY category_folded ORDER BY category_folded COLLATE \"C\" LIMIT $2",
        )
        .bind(after)
        .bind(rows_of(limit))
        .fetch_all(self.db.pool())
        .await?;
        let shelf = |row: &PgRow| shelf_of(row.try_get(0)?, row.try_get(1)?);
        Ok(page_of(limit, rows.iter().map(shelf).collect::<Result<_, StoreError>>()?))
    }
}
