//! The same seed gives the same run, to the byte.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scenario::{known, parse};
use shopctl::campaign::engine::{Simulated, play, play_untraced};
use shopctl::campaign::play::{Changes, Source};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use world::trace::TraceLayer;

use crate::harness::{Bench, SMALL, TINY};

fn simulated(seed: u64) -> Simulated {
    let scenario = parse(TINY, "tiny.yaml", &[("seed".to_owned(), seed.to_string())], &known()).unwrap();
    play(&scenario).map_err(|failure| failure.message).unwrap()
}

/// Seed 7, which is played once for all tests that compare it with another one.
static SEVEN: LazyLock<Simulated> = LazyLock::new(|| simulated(7));

/// The small scenario with this bug, twice.
fn twice_with(bug: &str) -> [Simulated; 2] {
    let bug = ("shop.settings.order.planted_bug".to_owned(), bug.to_owned());
    let scenario = parse(SMALL, "small.yaml", &[bug], &known()).unwrap();
    [(); 2].map(|()| play(&scenario).map_err(|failure| failure.message).unwrap())
}

/// Where two traces part, for a message that helps.
fn first_difference(left: &str, right: &str) -> Option<String> {
    if left == right {
        return None;
    }
    let pairs = left.lines().zip(right.lines()).enumerate();
    let parted = pairs.into_iter().find(|(_, (left, right))| left != right);
    Some(parted.map_or("one is longer".into(), |(line, (left, right))| format!("line {}:\n{left}\n{right}", line + 1)))
}

#[test]
fn a_seed_played_twice_in_one_process_leaves_the_same_trace() {
    let (first, second) = (&*SEVEN, simulated(7));
    assert_eq!(first_difference(&first.trace, &second.trace), None);
    assert_eq!(first.record, second.record);
    assert_eq!(first.summary.exit_code, 0, "{:?}", first.summary.verdict);
    for what in [
        "rpc received service=order",
        "commit store=order_db",
        "event stream=ORDERS",
        "event stream=PAYMENTS",
        "commit store=courier_db",
    ] {
        assert!(first.trace.contains(what), "the trace has no {what}");
    }
}

#[test]
fn another_seed_leaves_another_trace() {
    let (seven, eight) = (&*SEVEN, simulated(8));
    assert_ne!(seven.trace, eight.trace);
    assert_eq!((seven.summary.exit_code, eight.summary.exit_code), (0, 0));
}

#[test]
fn a_seed_played_in_two_processes_leaves_the_same_trace() {
    let bench = Bench::new(TINY);
    let traced = |how: [&str; 2]| {
        bench.shopctl(&["simulate", "scenario.yaml", how[0], how[1], "--trace", "trace.txt"]).exits(0);
        std::fs::read_to_string(bench.path("trace.txt")).unwrap()
    };
    let calm = traced(["--set", "seed=7"]);
    assert_eq!(first_difference(&calm, &SEVEN.trace), None, "that process and this one");
    let swarmed = traced(["--replay", "7"]);
    assert_eq!(first_difference(&swarmed, &traced(["--replay", "7"])), None, "with the faults that the seed draws");
    assert!(first_difference(&swarmed, &calm).is_some(), "the seed draws no fault");
}

#[test]
fn a_seed_with_the_faults_that_it_draws_leaves_the_same_trace_too() {
    let bench = Bench::new(TINY);
    let changes = Changes { overrides: Vec::new(), scale: Some(0.5), calm: false, crash_points: false };
    let source = Source::read(&bench.path("scenario.yaml"), &changes, &known()).unwrap();
    let drawn = (1..100).map(|seed| source.seeded(seed, &known()).unwrap());
    for scenario in drawn.filter(|scenario| !scenario.faults.is_empty()).take(1) {
        let seed = scenario.seed;
        let [first, second] = [(); 2].map(|()| play(&scenario).map_err(|failure| failure.message).unwrap());
        assert_eq!(first_difference(&first.trace, &second.trace), None, "seed {seed}");
        assert_eq!(first.record, second.record);
    }
}

/// Inventory stands still, so that the order service gives calls up whose answers come all at once, and late.
const STANDS_STILL: &str = "
version: 1
name: still
about: late answers to calls that were given up
seed: 5
shop:
  users: 80
  catalog: { generate: 2, stock: 1000 }
  settings: { order.step_timeout: 1s }
load:
  buyers:
    executor: constant-vus
    vus: 8
    duration: 4s
    journey: [ order: { items: [{ sku: any, quantity: 1 }] } ]
faults: [{ name: still, at: 1s, for: 2600ms, target: process:inventory, kind: pause }]
expect: { late_journeys: 1 }
";

/// Holds the simulation up now and then, in real time: what a busy machine does.
struct Stalls {
    /// The next one, in milliseconds of the simulation's time.
    next_ms: AtomicU64,
}

impl<S: Subscriber> Layer<S> for Stalls {
    #[expect(clippy::disallowed_methods, reason = "the machine's time has to pass, and no other")]
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        let now_ms = turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_millis() as u64);
        if now_ms >= self.next_ms.load(Ordering::Relaxed) {
            self.next_ms.store(now_ms + 300, Ordering::Relaxed);
            // Longer than HTTP/2 remembers a stream that was given up, if it looks at the machine's clock.
            std::thread::sleep(Duration::from_millis(1_100));
        }
    }
}

#[test]
fn a_machine_that_stalls_leaves_the_same_trace() {
    let scenario = parse(STANDS_STILL, "still.yaml", &[], &known()).unwrap();
    let traced = |first_ms: u64| {
        let (trace, stalls) = (TraceLayer::default(), Stalls { next_ms: first_ms.into() });
        let subscriber = tracing_subscriber::registry().with(trace.clone()).with(stalls);
        let played = tracing::subscriber::with_default(subscriber, || play_untraced(&scenario));
        played.map_err(|failure| failure.message).unwrap();
        trace.take()
    };
    let [never, stalled] = [u64::MAX, 1_500].map(traced);
    assert!(never.contains("rpc received service=order"));
    assert_eq!(first_difference(&never, &stalled), None);
}

#[test]
fn the_order_of_a_hash_map_shows_in_a_repetition() {
    let [first, second] = twice_with("hash-order");
    assert!(first_difference(&first.trace, &second.trace).is_some());
}

#[test]
fn a_look_at_the_machine_s_clock_shows_in_a_repetition() {
    let [first, second] = twice_with("system-clock");
    assert!(first_difference(&first.trace, &second.trace).is_some());
}

#[test]
fn latency_is_not_judged_in_virtual_time() {
    let scenario = TINY.replace("order_errors: [rate<0.01]", "order_duration: [p(95)<1us]");
    let bench = Bench::new(&scenario);
    let ended = bench.shopctl(&["simulate", "scenario.yaml"]).exits(0);
    assert!(ended.stdout().contains("not judged in virtual time"), "{}", ended.stdout());
}
