//! The same seed gives the same run, to the byte.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Holds the simulation up, once, in real time: what a busy machine does.
struct Stall {
    /// In the simulation's time.
    at: Duration,
    done: AtomicBool,
}

impl<S: Subscriber> Layer<S> for Stall {
    #[expect(clippy::disallowed_methods, reason = "the machine's time has to pass, and no other")]
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        let late = turmoil::sim_elapsed().is_some_and(|elapsed| elapsed >= self.at);
        if late && !self.done.swap(true, Ordering::Relaxed) {
            // Longer than HTTP/2 remembers a stream that its caller has given up, if it looks at the machine's clock.
            std::thread::sleep(Duration::from_millis(1_500));
        }
    }
}

#[test]
fn a_machine_that_stalls_leaves_the_same_trace() {
    let pause = "faults: [{ name: still, at: 1s, for: 9s, target: process:inventory, kind: pause }]\nexpect:";
    let text = TINY.replace("duration: 2s", "duration: 12s").replace("rate: 30", "rate: 6").replace("expect:", pause);
    let scenario = parse(&text, "still.yaml", &[], &known()).unwrap();
    let traced = |stall_at: u64| {
        let (trace, stall) = (TraceLayer::default(), Stall { at: Duration::from_secs(stall_at), done: false.into() });
        let subscriber = tracing_subscriber::registry().with(trace.clone()).with(stall);
        let played = tracing::subscriber::with_default(subscriber, || play_untraced(&scenario));
        played.map_err(|failure| failure.message).unwrap();
        trace.take()
    };
    // Just before the late answers come.
    let [never, stalled] = [traced(u64::MAX), traced(9)];
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
