//! What Redis holds of products and their stock, as it stands there, and what that means.

use std::collections::BTreeMap;

use inventory::domain::Stock;
use rusqlite::{Connection, params};
use store::StoreError;
use store::redis::{Redis, versioned};
use tokio::time::Duration;

use super::books::{CACHE_ENTRIES_MAX, CacheEntry, Held, Versioned};
use super::rows::all;

/// How many keys are looked for, and read, in one round trip.
const BATCH: usize = 500;

/// The name of its copy's database.
pub const DATABASE: &str = "cache";
/// The copy.
pub const SCHEMA: &str = "
-- What the cache held when the shop was at rest.
CREATE TABLE entries (
    key TEXT PRIMARY KEY NOT NULL,  -- without the namespace
    value TEXT NOT NULL,
    expires_ms INTEGER              -- NULL: never
) STRICT, WITHOUT ROWID;
";

/// An entry as it stands in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub key: String,
    pub value: String,
    pub expires_ms: Option<i64>,
}

/// Everything that Redis holds under keys that an audit understands.
///
/// # Errors
/// When it does not answer.
pub async fn read(redis: &Redis) -> Result<Vec<Raw>, StoreError> {
    let prefix = redis.key("");
    let mut found = Vec::new();
    for pattern in ["stock:*", "product:*", "product-sku:*"] {
        let mut keys = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut ask = redis::cmd("SCAN");
            ask.arg(cursor).arg("MATCH").arg(redis.key(pattern)).arg("COUNT").arg(BATCH);
            let (next, some): (u64, Vec<String>) = redis.ask(&ask).await?;
            keys.extend(some);
            cursor = next;
            if cursor == 0 || found.len() + keys.len() >= CACHE_ENTRIES_MAX {
                break;
            }
        }
        // A scan may name a key twice.
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(CACHE_ENTRIES_MAX - found.len());
        for keys in keys.chunks(BATCH) {
            found.extend(values(redis, &prefix, keys).await?);
        }
    }
    Ok(found)
}

async fn values(redis: &Redis, prefix: &str, keys: &[String]) -> Result<Vec<Raw>, StoreError> {
    let mut pipeline = redis::pipe();
    for key in keys {
        pipeline.cmd("GET").arg(key).cmd("PTTL").arg(key);
    }
    let answers: Vec<(Option<String>, i64)> = redis.ask_all(&pipeline).await?;
    let raw = |(key, (value, ttl)): (&String, (Option<String>, i64))| {
        let expires_ms = match ttl {
            // It has expired meanwhile.
            -2 => return None,
            ttl if ttl < 0 => None,
            ttl => Some(ttl),
        };
        let key = key.strip_prefix(prefix).unwrap_or(key).to_owned();
        Some(Raw { key, value: value?, expires_ms })
    };
    Ok(keys.iter().zip(answers).filter_map(raw).collect())
}

/// Writes a copy.
pub fn write(copy: &mut Connection, entries: &[Raw]) -> Result<(), StoreError> {
    let tx = copy.transaction()?;
    {
        let mut insert = tx.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3)")?;
        for Raw { key, value, expires_ms } in entries {
            insert.execute(params![key, value, expires_ms])?;
        }
    }
    Ok(tx.commit()?)
}

/// Reads a copy.
pub fn copied(copy: &Connection) -> Result<Vec<Raw>, StoreError> {
    let made: bool =
        copy.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'entries')", [], |row| row.get(0))?;
    if !made {
        return Err(StoreError::Unavailable("it did not answer when the books were copied".into()));
    }
    all(copy, "SELECT key, value, expires_ms FROM entries ORDER BY key", [], |row| {
        Ok(Raw { key: row.get(0)?, value: row.get(1)?, expires_ms: row.get(2)? })
    })
}

/// Ids of what the entries are about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub stock: Vec<i64>,
    pub products: Vec<i64>,
}

impl Wanted {
    pub fn of(entries: &[Raw]) -> Self {
        let mut wanted = Self::default();
        for raw in entries {
            match Key::of(raw) {
                Some(Key::Stock(id)) => wanted.stock.push(id),
                Some(Key::Product(id)) => wanted.products.push(id),
                Some(Key::Sku) | None => {}
            }
        }
        wanted
    }
}

/// What a key is about.
enum Key {
    Stock(i64),
    Product(i64),
    /// It leads to a product.
    Sku,
}

impl Key {
    fn of(raw: &Raw) -> Option<Self> {
        let (kind, rest) = raw.key.split_once(':')?;
        match kind {
            "stock" => Some(Self::Stock(rest.parse().ok()?)),
            "product" => Some(Self::Product(rest.parse().ok()?)),
            "product-sku" => Some(Self::Sku),
            _ => None,
        }
    }
}

/// What the databases say of everything that is cached, read after the cache.
#[derive(Debug, Default)]
pub struct Rows {
    pub stock: BTreeMap<i64, Versioned>,
    pub products: BTreeMap<i64, Versioned>,
}

impl Rows {
    /// What each entry says, beside its row.
    pub fn beside(&self, entries: &[Raw]) -> Vec<CacheEntry> {
        let entry = |raw: &Raw| {
            let expires_in = raw.expires_ms.map(|ms| Duration::from_millis(ms.unsigned_abs()));
            let (held, stored) = self.read(raw);
            CacheEntry { key: raw.key.clone(), expires_in, held, stored }
        };
        entries.iter().map(entry).collect()
    }

    fn read(&self, raw: &Raw) -> (Held, Option<Versioned>) {
        match Key::of(raw) {
            None => (Held::Unreadable, None),
            Some(Key::Sku) if raw.value.starts_with('@') => (Held::Elsewhere, None),
            Some(Key::Sku) => (Held::Unreadable, None),
            Some(Key::Product(id)) => (held_product(raw, id), self.products.get(&id).cloned()),
            Some(Key::Stock(id)) => {
                // There is no row of a product that was never restocked.
                let none = || units(0, 0, 0, 0);
                (held_stock(raw, id), Some(self.stock.get(&id).cloned().unwrap_or_else(none)))
            }
        }
    }
}

fn held_stock(raw: &Raw, id: i64) -> Held {
    match inventory::adapters::outbound::redis::parse(&raw.value) {
        Ok(Stock { product_id, available, reserved, sold, version }) if product_id.0 == id => {
            Held::Value(units(version, available, reserved, sold))
        }
        _ => Held::Unreadable,
    }
}

fn held_product(raw: &Raw, id: i64) -> Held {
    let floor = versioned::parse(&raw.value).map(|(version, _)| version);
    match (product::adapters::outbound::redis::parse(&raw.value), floor) {
        (Ok(Some(product)), _) if product.id.0 == id => {
            let (name, category, price) = (product.name.as_str(), product.category.as_str(), product.price);
            let (sku, currency) = (product.sku.to_string(), price.currency.to_string());
            Held::Value(described(product.version, &sku, name, category, price.minor, &currency))
        }
        (Ok(None), Some(version)) => Held::Floor(version),
        _ => Held::Unreadable,
    }
}

/// Stock in words.
pub fn units(version: i64, available: i64, reserved: i64, sold: i64) -> Versioned {
    Versioned { version, says: format!("{available} available, {reserved} reserved, {sold} sold") }
}

/// A product in words.
pub fn described(version: i64, sku: &str, name: &str, category: &str, minor: i64, currency: &str) -> Versioned {
    Versioned { version, says: format!("{sku} \"{name}\" in \"{category}\" for {minor} {currency} (minor units)") }
}
