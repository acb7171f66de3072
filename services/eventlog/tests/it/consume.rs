//! A handler over a durable consumer: how many messages are under way, what is acknowledged, and what
//! comes again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eventlog::consume::{Handler, Rejection, run, run_concurrently};
use eventlog::{Consumer, ConsumerSettings, DEAD_LETTERS, EventLog, Message};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::contract::{STREAM, put};
use crate::world::{World, soon};

/// How long the handler takes for each message.
const TAKES: Duration = Duration::from_millis(10);

/// Counts deliveries; refuses the first ones of what it is told to.
#[derive(Default)]
struct Slow {
    refuses: BTreeMap<&'static str, u32>,
    never_takes: Option<&'static str>,
    breaks_down_at_first: Option<&'static str>,
    deliveries: Mutex<BTreeMap<String, u32>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, message: &Message) -> Result<(), Rejection> {
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(TAKES).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let aggregate = message.event.aggregate.as_str();
        *self.deliveries.lock().unwrap().entry(aggregate.to_owned()).or_default() += 1;
        assert!(self.breaks_down_at_first != Some(aggregate) || message.deliveries > 1, "as planned");
        match self.refuses.get(aggregate) {
            _ if self.never_takes == Some(aggregate) => Err(Rejection::Never("never".into())),
            Some(times) if message.deliveries <= *times => Err(Rejection::Again("not yet".into())),
            _ => Ok(()),
        }
    }
}

impl Slow {
    fn handled(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }

    fn deliveries_of(&self, aggregate: &str) -> u32 {
        self.deliveries.lock().unwrap().get(aggregate).copied().unwrap_or_default()
    }
}

async fn consumer(log: &dyn EventLog) -> Box<dyn Consumer> {
    let settings = ConsumerSettings { name: "slow", ack_wait: Duration::from_secs(5), deliveries_max: 100, kinds: &[] };
    log.consumer(STREAM, settings).await.unwrap()
}

async fn filled(world: &World, count: usize) -> Arc<dyn EventLog> {
    let log = world.log();
    for number in 0..count {
        put(&*log, &format!("a{number}"), 1, 0).await.unwrap();
    }
    log
}

/// Feeds until `enough`, then stops gently; answers how long that took.
async fn fed(log: &dyn EventLog, handler: &Arc<Slow>, most: usize, enough: impl Fn(&Slow) -> bool) -> Duration {
    let (shutdown, started) = (CancellationToken::new(), Instant::now());
    let running = run_concurrently(consumer(log).await, handler.clone(), most, shutdown.clone());
    let stop = async {
        while !enough(handler) {
            tokio::time::sleep(TAKES / 2).await;
        }
        shutdown.cancel();
    };
    soon("the handler", async { tokio::join!(running, stop) }).await;
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn as_many_messages_are_under_way_as_allowed_and_no_more() {
    for (most, longest) in [(1, 1010), (8, 160), (64, 60), (200, 60)] {
        let world = World::new();
        let log = filled(&world, 100).await;
        let slow = Arc::new(Slow::default());
        let took = fed(&*log, &slow, most, |slow| slow.handled() == 100).await;
        assert_eq!(slow.most.load(Ordering::Relaxed), most.min(100));
        assert!(took <= Duration::from_millis(longest), "{most} at once took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_handled_is_acknowledged_and_never_comes_again() {
    let world = World::new();
    let log = filled(&world, 100).await;
    let slow = Arc::new(Slow::default());
    fed(&*log, &slow, 16, |slow| slow.handled() == 100).await;
    assert!(slow.deliveries.lock().unwrap().values().all(|deliveries| *deliveries == 1));
    let mut again = consumer(&*log).await;
    let came = tokio::time::timeout(Duration::from_secs(60), again.next(1)).await;
    assert!(came.is_err(), "{came:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_comes_again_until_it_is_taken_and_nothing_else_does() {
    let world = World::new();
    let log = filled(&world, 10).await;
    let slow = Arc::new(Slow { refuses: BTreeMap::from([("a3", 2)]), ..Slow::default() });
    fed(&*log, &slow, 4, |slow| slow.deliveries_of("a3") == 3).await;
    assert_eq!(slow.deliveries.lock().unwrap().values().sum::<u32>(), 12);
}

#[tokio::test(start_paused = true)]
async fn what_will_never_be_taken_is_parked_at_its_first_delivery() {
    let world = World::new();
    let log = filled(&world, 10).await;
    let slow = Arc::new(Slow { refuses: BTreeMap::from([("a5", 2)]), never_takes: Some("a3"), ..Slow::default() });
    fed(&*log, &slow, 4, |slow| slow.deliveries_of("a5") == 3).await;
    assert_eq!(slow.deliveries.lock().unwrap().values().sum::<u32>(), 12, "a3 came once");
    let letter = log.last(DEAD_LETTERS, "THINGS.slow.a3/1").await.unwrap();
    assert!(letter.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_breaks_down_over_a_message_gets_it_again_later() {
    let world = World::new();
    let log = filled(&world, 10).await;
    let slow = Arc::new(Slow { breaks_down_at_first: Some("a3"), ..Slow::default() });
    fed(&*log, &slow, 4, |slow| slow.deliveries_of("a3") == 2).await;
    assert_eq!(slow.deliveries.lock().unwrap().values().sum::<u32>(), 11);
}

#[tokio::test(start_paused = true)]
async fn one_after_the_other_is_one_at_a_time() {
    let world = World::new();
    let log = filled(&world, 20).await;
    let (slow, shutdown) = (Slow::default(), CancellationToken::new());
    let stop = async {
        while slow.handled() < 20 {
            tokio::time::sleep(TAKES).await;
        }
        shutdown.cancel();
    };
    let running = run(consumer(&*log).await, &slow, shutdown.clone());
    soon("the handler", async { tokio::join!(running, stop) }).await;
    assert_eq!(slow.most.load(Ordering::Relaxed), 1);
}
