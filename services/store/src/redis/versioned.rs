//! Cached values that carry a version, so that an outdated one never comes back: a reader that
//! loaded a value before a change, and is slow to store it, is refused.
//!
//! A key holds `<version> <value>`, or `<version>` alone: a floor, under which nothing is stored. A
//! second key may lead to the first: it holds `@` and the first one's name. All of them expire.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::Script;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Redis;
use crate::error::StoreError;

/// At so many failed invalidations the cache is not asked at all, until everything in it is too old.
const OWED_MAX: usize = 10_000;
/// How often an invalidation that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// One round trip for all keys, whether they hold a value or lead to one.
static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = {}
         for i, key in ipairs(KEYS) do
           local held = redis.call('GET', key)
           if held and string.sub(held, 1, 1) == '@' then held = redis.call('GET', string.sub(held, 2)) end
           found[i] = held
         end
         return found",
    )
});

/// `KEYS`: a key and the one that leads to it (or nothing), for each value; `ARGV`: milliseconds to
/// live, then a version and a value for each.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for i = 1, #KEYS, 2 do
           local version, value = ARGV[i + 1], ARGV[i + 2]
           local held = redis.call('GET', KEYS[i])
           local known = held and tonumber(string.match(held, '^%d+')) or 0
           if tonumber(version) >= known then
             redis.call('SET', KEYS[i], version .. ' ' .. value, 'PX', ARGV[1])
             if KEYS[i + 1] ~= '' then redis.call('SET', KEYS[i + 1], '@' .. KEYS[i], 'PX', ARGV[1]) end
           end
         end",
    )
});

/// `ARGV`: milliseconds to live, then the version for each of `KEYS`.
static OUTDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for i, key in ipairs(KEYS) do
           local held = redis.call('GET', key)
           local known = held and tonumber(string.match(held, '^%d+')) or 0
           if tonumber(ARGV[i + 1]) > known then redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
         end",
    )
});

/// What a key says: the version, and the value unless it is outdated. `None` for what is not ours.
pub fn parse(held: &str) -> Option<(i64, Option<&str>)> {
    match held.split_once(' ') {
        Some((version, value)) => Some((version.parse().ok()?, Some(value))),
        None => Some((held.parse().ok()?, None)),
    }
}

/// A value to remember.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As [`Redis::key`] makes it, like every key here.
    pub key: String,
    /// A second key under which it is found.
    pub alias: Option<String>,
    /// At least 1.
    pub version: i64,
    pub value: String,
}

/// Invalidations that the server has not heard of yet.
#[derive(Default)]
struct Owed {
    versions: BTreeMap<String, i64>,
    /// Set when there are too many of them: until then nothing that it says is believed.
    distrusted_until: Option<Instant>,
}

/// A cache of such values. It cannot fail: a server that cannot be reached makes it an empty one,
/// and what could not be invalidated then is not answered afterwards.
pub struct VersionedCache {
    redis: Arc<Redis>,
    ttl: Duration,
    owed: Mutex<Owed>,
    owing: Notify,
}

impl VersionedCache {
    /// `ttl` is how long a value lives, and for how long an outdated one is refused; with less than a
    /// millisecond nothing is remembered.
    pub fn new(redis: Arc<Redis>, ttl: Duration) -> Self {
        Self { redis, ttl, owed: Mutex::default(), owing: Notify::new() }
    }

    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The version and the value behind each key, in order.
    pub fn get<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Vec<Option<(i64, String)>>> {
        Box::pin(async move {
            let found: Result<Vec<Option<String>>, StoreError> = match keys.is_empty() || !self.is_to_be_asked().await {
                true => Ok(Vec::new()),
                false => self.redis.run(&GET, keys, &[]).await,
            };
            let mut found = found.unwrap_or_default();
            found.resize(keys.len(), None);
            let read = |held: String| parse(&held).and_then(|(version, value)| Some((version, value?.to_owned())));
            found.into_iter().map(|held| held.and_then(read)).collect()
        })
    }

    /// Remembers what is not older than what is known already.
    pub fn put<'a>(&'a self, entries: &'a [Entry]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if entries.is_empty() || !self.is_to_be_asked().await {
                return;
            }
            let mut keys = Vec::with_capacity(entries.len() * 2);
            let mut arguments = vec![self.ttl.as_millis().to_string()];
            for Entry { key, alias, version, value } in entries {
                keys.extend([key.clone(), alias.clone().unwrap_or_default()]);
                arguments.extend([version.to_string(), value.clone()]);
            }
            // What was not remembered is read from the store again.
            let _: Result<(), StoreError> = self.redis.run(&PUT, &keys, &arguments).await;
        })
    }

    /// Forgets what is older than that version of each key, for good. What the server does not hear of
    /// is repeated, and until it has heard of it, nothing is read from it.
    pub fn outdate<'a>(&'a self, versions: &'a [(String, i64)]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if versions.is_empty() || self.send(versions).await.is_ok() {
                return;
            }
            let mut owed = self.owed();
            for (key, version) in versions {
                let known = owed.versions.entry(key.clone()).or_insert(*version);
                *known = (*known).max(*version);
            }
            if owed.versions.len() > OWED_MAX {
                owed.versions.clear();
                owed.distrusted_until = Some(Instant::now() + self.ttl);
            }
            drop(owed);
            self.owing.notify_one();
        })
    }

    /// Repeats failed invalidations until shutdown, so that other readers of the server hear of them
    /// even if nobody asks here.
    pub fn catch_up(self: Arc<Self>, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let settled = self.settle().await;
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = self.owing.notified(), if settled => {}
                    () = tokio::time::sleep(RETRY), if !settled => {}
                }
            }
        })
    }

    async fn is_to_be_asked(&self) -> bool {
        self.ttl >= Duration::from_millis(1)
            && self.settle().await
            && self.owed().distrusted_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Whether nothing is owed any more.
    async fn settle(&self) -> bool {
        let owed: Vec<(String, i64)> =
            self.owed().versions.iter().map(|(key, version)| (key.clone(), *version)).collect();
        if owed.is_empty() {
            return true;
        }
        if self.send(&owed).await.is_err() {
            return false;
        }
        let mut left = self.owed();
        for (key, version) in &owed {
            // Unless a later version has come in meanwhile.
            if left.versions.get(key) == Some(version) {
                left.versions.remove(key);
            }
        }
        left.versions.is_empty()
    }

    async fn send(&self, versions: &[(String, i64)]) -> Result<(), StoreError> {
        let keys: Vec<String> = versions.iter().map(|(key, _)| key.clone()).collect();
        let mut arguments = vec![self.ttl.as_millis().max(1).to_string()];
        arguments.extend(versions.iter().map(|(_, version)| version.to_string()));
        self.redis.run(&OUTDATE, &keys, &arguments).await
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_version_and_its_value_if_it_has_one() {
        assert_eq!(parse("3 {\"name\":\"a b\"}"), Some((3, Some("{\"name\":\"a b\"}"))));
        assert_eq!(parse("9223372036854775807"), Some((i64::MAX, None)));
        assert_eq!(parse("@shop:thing:1"), None);
        assert_eq!(parse("{}"), None);
    }
}
