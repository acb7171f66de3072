//! The service's consumers on JetStream, and what a killed service leaves to the next one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use notification::adapters::streams;
use tokio::time::Instant;

use crate::family::Family;
use crate::people::{address, order, user};
use crate::service::start_on;

/// Slow enough to be killed in the middle.
const SLOW: [(&str, &str); 2] = [("notification.provider_latency", "1s"), ("notification.concurrency", "4")];
/// What a killed service was handling comes again after ten seconds, and a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `scene` in a process of its own, which ends with it as if killed.
fn process(scene: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(scene);
}

async fn until(it_is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !it_is_so().await {
        assert!(Instant::now() < deadline, "it did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_service_killed_in_the_middle_sends_nothing_twice_and_loses_nothing() {
    const ORDERS: u128 = 40;
    let family = Arc::new(Family::new());
    process(async {
        let running = start_on(family.clone(), &SLOW).await;
        for number in 0..ORDERS {
            running.cancelled_order(number, user(number)).await;
        }
        until(async || family.sent().await.len() >= 10).await;
        assert!(family.sent().await.len() < 35, "killed too late to prove anything");
    });
    process(async {
        let running = start_on(family.clone(), &[]).await;
        until(async || {
            let lag = running.log.lag(streams::ORDERS).await.unwrap();
            !lag.is_empty() && lag.iter().all(|consumer| consumer.unacknowledged == 0)
        })
        .await;
        let sent = family.sent().await;
        let expected: BTreeSet<_> = (0..ORDERS)
            .map(|number| (format!("ORDERS/{}/1", order(number)), "email".to_owned(), address(number)))
            .collect();
        assert_eq!(sent.len(), expected.len());
        assert_eq!(sent.into_iter().collect::<BTreeSet<_>>(), expected);
    });
}
