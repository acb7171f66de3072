//! A bounded in-process map whose entries expire: the embedded stand-in for a cache server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kernel::Timestamp;

/// Key → value with an expiry each. At `capacity` the entry that expires first makes room.
#[derive(Debug)]
pub struct ExpiringMap<K, V> {
    capacity: usize,
    entries: BTreeMap<K, (Timestamp, V)>,
    by_expiry: BTreeSet<(Timestamp, K)>,
}

impl<K: Ord + Clone, V> ExpiringMap<K, V> {
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: BTreeMap::new(), by_expiry: BTreeSet::new() }
    }

    pub fn get(&mut self, key: &K, now: Timestamp) -> Option<&V> {
        self.drop_expired(now);
        self.entries.get(key).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        self.drop_expired(now);
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub fn insert(&mut self, key: K, value: V, ttl: Duration, now: Timestamp) {
        self.drop_expired(now);
        self.remove(&key);
        if self.entries.len() >= self.capacity
            && let Some((_, soonest)) = self.by_expiry.pop_first()
        {
            self.entries.remove(&soonest);
        }
        let expires = now.plus(ttl);
        self.by_expiry.insert((expires, key.clone()));
        self.entries.insert(key, (expires, value));
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (expires, value) = self.entries.remove(key)?;
        self.by_expiry.remove(&(expires, key.clone()));
        Some(value)
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_expiry.clear();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn drop_expired(&mut self, now: Timestamp) {
        while self.by_expiry.first().is_some_and(|(expires, _)| *expires <= now) {
            if let Some((_, key)) = self.by_expiry.pop_first() {
                self.entries.remove(&key);
            }
        }
    }
}

/// A bounded cache of values that carry a version, into which an outdated one never comes back: a
/// reader that loaded a value before a change, and is slow to store it, is refused.
#[derive(Debug)]
pub struct VersionedMap<K, V> {
    values: ExpiringMap<K, (i64, V)>,
    /// The lowest version that may be stored, for as long as a value would live.
    floors: ExpiringMap<K, i64>,
}

impl<K: Ord + Clone, V> VersionedMap<K, V> {
    pub fn new(capacity: usize) -> Self {
        Self { values: ExpiringMap::new(capacity), floors: ExpiringMap::new(capacity) }
    }

    pub fn get(&mut self, key: &K, now: Timestamp) -> Option<&V> {
        self.values.get(key, now).map(|(_, value)| value)
    }

    /// Stores a value unless a later version is known of; says whether it did.
    pub fn put(&mut self, key: K, version: i64, value: V, ttl: Duration, now: Timestamp) -> bool {
        let floor = self.floors.get(&key, now).copied().unwrap_or(i64::MIN);
        let held = self.values.get(&key, now).map_or(i64::MIN, |(held, _)| *held);
        if version < floor.max(held) {
            return false;
        }
        self.values.insert(key, (version, value), ttl, now);
        true
    }

    /// Drops what is older than `version`, and refuses it for the next `ttl`; answers what was dropped.
    pub fn outdate(&mut self, key: K, version: i64, ttl: Duration, now: Timestamp) -> Option<V> {
        let floor = self.floors.get(&key, now).map_or(version, |floor| version.max(*floor));
        let outdated = self.values.get(&key, now).is_some_and(|(held, _)| *held < floor);
        let dropped = if outdated { self.values.remove(&key) } else { None };
        self.floors.insert(key, floor, ttl, now);
        dropped.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn an_entry_is_gone_when_its_time_is_up() {
        let mut map = ExpiringMap::new(10);
        map.insert("a", 1, Duration::from_secs(5), at(0));
        assert_eq!(map.get(&"a", at(4)), Some(&1));
        assert_eq!(map.get(&"a", at(5)), None);
        assert!(map.is_empty());
    }

    #[test]
    fn never_grows_beyond_its_capacity() {
        let mut map = ExpiringMap::new(2);
        for (key, ttl) in [("a", 30), ("b", 10), ("c", 20)] {
            map.insert(key, ttl, Duration::from_secs(ttl), at(0));
        }
        assert_eq!(map.len(), 2);
        assert_eq!(map.get(&"b", at(1)), None, "the first to expire made room");
    }

    #[test]
    fn a_renewed_entry_keeps_its_new_expiry() {
        let mut map = ExpiringMap::new(2);
        map.insert("a", 1, Duration::from_secs(1), at(0));
        map.insert("a", 2, Duration::from_secs(9), at(0));
        assert_eq!(map.get(&"a", at(5)), Some(&2));
    }

    #[test]
    fn an_outdated_value_does_not_come_back_until_it_would_have_expired() {
        let mut map = VersionedMap::new(2);
        let ttl = Duration::from_secs(5);
        assert!(map.put("a", 1, "old", ttl, at(0)));
        assert_eq!(map.outdate("a", 2, ttl, at(1)), Some("old"));
        assert!(!map.put("a", 1, "old", ttl, at(2)));
        assert_eq!(map.get(&"a", at(2)), None);
        assert!(map.put("a", 2, "new", ttl, at(3)));
        assert_eq!(map.outdate("a", 2, ttl, at(3)), None);
        assert!(!map.put("a", 1, "old", ttl, at(4)));
        assert_eq!(map.get(&"a", at(7)), Some(&"new"));
    }
}
