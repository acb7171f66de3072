//! The rule about the cache, entry by entry.

use crate::Finding;
use crate::books::{CacheEntry, Held};

/// Why it cannot be asked of every shop.
const IN_THEIR_OWN_MEMORY: &str = "the services of this shop keep their caches in their own memory";

/// The cache converges to the database: what it holds is what the database says or said, and will be
/// gone. An entry of an older version is on its way out.
pub fn converges(entries: Option<&[CacheEntry]>) -> Finding {
    let name = "cache_converges";
    let Some(entries) = entries else { return Finding::not_applicable(name, IN_THEIR_OWN_MEMORY) };
    let mut finding = Finding::new(name);
    for entry in entries {
        finding.check(wrong(entry).map(|what| format!("{}: {what}", entry.key)));
    }
    finding
}

fn wrong(entry: &CacheEntry) -> Option<String> {
    if entry.expires_in.is_none() {
        return Some("never expires".into());
    }
    let (version, says) = match &entry.held {
        Held::Unreadable => return Some("cannot be read".into()),
        Held::Elsewhere => return None,
        Held::Floor(version) => (*version, None),
        Held::Value(value) => (value.version, Some(&value.says)),
    };
    let Some(stored) = &entry.stored else { return Some("the database has no such row".into()) };
    if version < 0 || version > stored.version {
        let now = stored.version;
        return Some(format!("is of version {version}, which the database never had; it is at {now}"));
    }
    let wrong = says.filter(|says| version == stored.version && **says != stored.says)?;
    Some(format!("says {wrong} at version {version}, the database says {}", stored.says))
}

#[cfg(test)]
mod tests {
    use tokio::time::Duration;

    use super::*;
    use crate::books::Versioned;

    fn said(version: i64, says: &str) -> Held {
        Held::Value(Versioned { version, says: says.into() })
    }

    /// A row at version 3, and an entry of it.
    fn entry(held: Held) -> CacheEntry {
        let stored = Versioned { version: 3, says: "5 available".into() };
        CacheEntry { key: "stock:1".into(), expires_in: Some(Duration::from_secs(1)), held, stored: Some(stored) }
    }

    #[track_caller]
    fn broken(entry: CacheEntry, what: &str) {
        let finding = converges(Some(&[entry]));
        assert_eq!((finding.checked, finding.violations), (1, 1));
        assert_eq!(finding.examples, [format!("stock:1: {what}")]);
    }

    #[test]
    fn what_the_row_says_and_what_it_said_before_may_be_cached() {
        for held in [said(3, "5 available"), said(2, "7 available"), Held::Floor(3), Held::Elsewhere] {
            let finding = converges(Some(&[entry(held)]));
            assert_eq!((finding.checked, finding.violations), (1, 0));
        }
    }

    #[test]
    fn what_never_was_is_noticed() {
        broken(entry(said(3, "6 available")), "says 6 available at version 3, the database says 5 available");
        broken(entry(said(4, "5 available")), "is of version 4, which the database never had; it is at 3");
        broken(entry(Held::Floor(4)), "is of version 4, which the database never had; it is at 3");
        broken(entry(said(-1, "")), "is of version -1, which the database never had; it is at 3");
        broken(entry(Held::Unreadable), "cannot be read");
        broken(CacheEntry { stored: None, ..entry(said(1, "")) }, "the database has no such row");
    }

    #[test]
    fn what_never_goes_does_not_converge() {
        broken(CacheEntry { expires_in: None, ..entry(said(2, "")) }, "never expires");
    }

    #[test]
    fn an_empty_cache_has_nothing_to_say_and_one_that_is_nobodys_is_not_asked() {
        let empty = converges(Some(&[]));
        assert_eq!((empty.checked, empty.violations, empty.not_applicable), (0, 0, None));
        assert!(converges(None).not_applicable.is_some());
    }
}
