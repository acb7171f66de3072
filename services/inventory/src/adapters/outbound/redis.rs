//! The cache and the lock that all instances of the service share.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::rng::{Seeds, Stream};
use kernel::ProductId;
use rand::Rng as _;
use redis::Script;
use store::StoreError;
use store::redis::Redis;
use tokio::time::Instant;

use super::memory::{MemoryLocks, TURN_WAIT_MAX, too_long};
use crate::application::ports::{RestockLock, RestockTurn, StockCache};
use crate::domain::Stock;

/// The pattern that the names of all cached figures match, without what [`Redis::key`] puts before it.
pub const KEYS: &str = "stock:*";

/// The name of a product's figure, likewise.
pub fn key(product_id: ProductId) -> String {
    format!("stock:{product_id}")
}

/// What is stored under such a name: the figures as a JSON object.
///
/// # Errors
/// `Corrupt` when the text is something else.
pub fn parse(text: &str) -> Result<Stock, StoreError> {
    Ok(serde_json::from_str(text)?)
}

/// Sets each key to its figure, unless one of a newer version is there. Arguments: milliseconds to
/// live; then for each key its version and its figure. What cannot be read makes room.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for i, key in ipairs(KEYS) do
             local version, figure = tonumber(ARGV[2 * i]), ARGV[2 * i + 1]
             local held = redis.call('GET', key)
             local is_read, stock = pcall(cjson.decode, held or '')
             local newer = is_read and type(stock) == 'table' and (tonumber(stock.version) or 0) > version
             if not newer then redis.call('SET', key, figure, 'PX', ARGV[1]) end
         end",
    )
});

/// Deletes the key if the token is still ours.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// The cache. Redis forgets an entry by its own clock, and sooner when it runs out of memory.
pub struct RedisStockCache {
    redis: Arc<Redis>,
    ttl: Duration,
}

impl RedisStockCache {
    pub fn new(redis: Arc<Redis>, ttl: Duration) -> Self {
        Self { redis, ttl }
    }
}

#[async_trait]
impl StockCache for RedisStockCache {
    async fn get(&self, product_id: ProductId) -> Option<Stock> {
        if self.ttl.as_millis() == 0 {
            return None;
        }
        let name = self.redis.key(key(product_id));
        // Whoever failed has said so; an unreadable figure is replaced by the next one that is put.
        let text: Option<String> = self.redis.ask(redis::cmd("GET").arg(name)).await.ok()?;
        parse(&text?).ok().filter(|stock| stock.product_id == product_id)
    }

    async fn put(&self, stocks: &[Stock]) {
        if self.ttl.as_millis() == 0 || stocks.is_empty() {
            return;
        }
        let keys: Vec<String> = stocks.iter().map(|stock| self.redis.key(key(stock.product_id))).collect();
        let mut arguments = vec![self.ttl.as_millis().to_string()];
        for stock in stocks {
            let Ok(figure) = serde_json::to_string(stock) else { return };
            arguments.extend([stock.version.to_string(), figure]);
        }
        // A figure that is not put is missed until the next one, or until the old one expires.
        let _: Result<(), StoreError> = self.redis.run(&PUT, &keys, &arguments).await;
    }
}

/// How long a turn lasts whose holder does not come back. Shorter than anybody waits for a turn, so that
/// a killed process makes nobody fail; a restock that takes longer loses its turn, and nothing else.
const LEASE: Duration = Duration::from_millis(1500);
/// How long until one who waits asks again. Only one in each process asks for the same product.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// The lock: a key with a random token for each product that somebody restocks at the moment. Restocks
/// of one process take turns among themselves first.
pub struct RedisLocks {
    local: MemoryLocks,
    redis: Arc<Redis>,
    tokens: Mutex<Stream>,
}

impl RedisLocks {
    pub fn new(redis: Arc<Redis>, seeds: &Seeds) -> Self {
        Self { local: MemoryLocks::default(), redis, tokens: Mutex::new(seeds.stream("restock-tokens")) }
    }

    fn token(&self) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:016x}{:016x}", tokens.next_u64(), tokens.next_u64())
    }
}

#[async_trait]
impl RestockLock for RedisLocks {
    async fn turn(&self, product_id: ProductId) -> Result<RestockTurn, StoreError> {
        let deadline = Instant::now() + TURN_WAIT_MAX;
        let local = self.local.turn(product_id).await?;
        // Made before it is asked for: whoever stops waiting for the answer takes back what he may have got.
        let lease = Lease {
            redis: self.redis.clone(),
            key: self.redis.key(format_args!("restock-lock:{product_id}")),
            token: self.token(),
            local: Some(local),
        };
        let mut ask = redis::cmd("SET");
        ask.arg(&lease.key).arg(&lease.token).arg("NX").arg("PX").arg(LEASE.as_millis() as u64);
        loop {
            match self.redis.ask::<Option<String>>(&ask).await {
                Ok(None) => {}
                // Without an answer there is no lock, and the turn is given all the same.
                Ok(Some(_)) | Err(_) => return Ok(RestockTurn::new(lease)),
            }
            if Instant::now() + ASK_AGAIN > deadline {
                return Err(too_long(product_id));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// A turn, or the wait for one; dropping it gives it up.
struct Lease {
    redis: Arc<Redis>,
    key: String,
    token: String,
    local: Option<RestockTurn>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, and the lease soon will be.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (redis, local) = (self.redis.clone(), self.local.take());
        let (key, token) = (std::mem::take(&mut self.key), std::mem::take(&mut self.token));
        runtime.spawn(async move {
            // If it fails, the key expires.
            let _: Result<i64, StoreError> = redis.run(&RELEASE, &[key], &[token]).await;
            // Who waits in this process finds the key free.
            drop(local);
        });
    }
}
