//! What every [`IdempotencyKeys`] owes its callers.

use std::sync::Arc;

use kernel::OrderId;
use order::application::ports::IdempotencyKeys;

use crate::harness::{PATIENCE, user, within};

fn id(key: &str) -> OrderId {
    OrderId::derive("shop", user(1), key)
}

/// `$open` makes one that remembers as long as it is told.
macro_rules! every_key {
    ($open:expr) => {
        $crate::contract::cases!(keys, $open(std::time::Duration::from_secs(60)).await, keys, (keys):
            a_key_is_new_once,
            of_many_that_use_a_key_at_once_one_is_the_first,
        );
        $crate::contract::cases!(keys, $open(std::time::Duration::from_millis(300)).await, keys, (keys):
            a_key_is_forgotten_in_the_end_however_often_it_is_used,
        );
    };
}
pub(crate) use every_key;

pub async fn a_key_is_new_once(keys: Arc<dyn IdempotencyKeys>) {
    assert!(!keys.used(id("a")).await);
    assert!(keys.used(id("a")).await && keys.used(id("a")).await);
    assert!(!keys.used(id("b")).await, "each by itself");
}

pub async fn of_many_that_use_a_key_at_once_one_is_the_first(keys: Arc<dyn IdempotencyKeys>) {
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let keys = keys.clone();
        asking.spawn(async move { keys.used(id("k")).await });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|used| !**used).count(), 1);
}

pub async fn a_key_is_forgotten_in_the_end_however_often_it_is_used(keys: Arc<dyn IdempotencyKeys>) {
    assert!(!keys.used(id("k")).await);
    // Forgotten, and used anew; on a machine that stands still in between it may be forgotten once more.
    within(PATIENCE, async || (!keys.used(id("k")).await && keys.used(id("k")).await).then_some(())).await;
}
