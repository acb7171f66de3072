//! Products as rows, in whichever database.

use kernel::{Money, ProductId};
use store::StoreError;

use crate::domain::{Product, Shelf};

/// The name of this service's database.
pub const DATABASE: &str = "product_db";

/// In the order of [`ProductRow`].
pub const COLUMNS: &str = "id, sku, name, category, price_minor, currency, version";

/// What stands in a row of `products` and of `product_list_view`.
pub struct ProductRow {
    pub id: i64,
    pub sku: String,
    pub name: String,
    pub category: String,
    pub price_minor: i64,
    pub currency: String,
    pub version: i64,
}

pub fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("products: {error}"))
}

impl TryFrom<ProductRow> for Product {
    type Error = StoreError;
    fn try_from(row: ProductRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: ProductId(row.id),
            sku: row.sku.parse().map_err(corrupt)?,
            name: row.name.try_into().map_err(corrupt)?,
            category: row.category.try_into().map_err(corrupt)?,
            price: Money::new(row.price_minor, row.currency.parse().map_err(corrupt)?),
            version: row.version,
        })
    }
}

/// A row of the list of categories.
///
/// # Errors
/// When it is none.
pub fn shelf_of(category: String, products: i64) -> Result<Shelf, StoreError> {
    let products = u64::try_from(products).map_err(corrupt)?;
    Ok(Shelf { category: category.try_into().map_err(corrupt)?, products })
}

/// How many rows to read for a page: one more than asked for tells whether there are more.
pub fn rows_of(limit: u32) -> i64 {
    i64::from(limit) + 1
}

/// The page out of those rows, and whether there are more.
pub fn page_of<T>(limit: u32, mut rows: Vec<T>) -> (Vec<T>, bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    (rows, more)
}
