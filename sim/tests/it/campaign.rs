//! Many seeds: in processes, with results that add up, histories of what fails, and less of it.

use serde_json::Value;
use tokio::time::{Duration, sleep, timeout};

use scenario::known;
use shopctl::campaign::engine::play;
use shopctl::campaign::play::{Changes, Played, Source};
use shopctl::campaign::results::Results;

use crate::harness::{Bench, PATIENCE, TINY};

const OVERSELLING: &str = "shop.settings.inventory.planted_bug=skip-stock-predicate";
const UNDOING_NOTHING: &str = "shop.settings.order.planted_bug=compensate-nothing";

fn results(bench: &Bench) -> Results {
    let text = std::fs::read_to_string(bench.path("reports/simulations/tiny.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn seeds(bench: &Bench, range: &str, more: &[&str]) -> crate::harness::Ended {
    let arguments = ["simulate", "scenario.yaml", "--scale", "0.2", "--seeds", range];
    bench.shopctl(&[&arguments[..], more].concat())
}

#[test]
fn a_second_call_plays_what_is_missing_and_adds_up() {
    let bench = Bench::new(TINY);
    let said = seeds(&bench, "1..2", &[]).exits(0).stdout();
    assert!(said.contains("2 seeds played now, 2 in all; 0 failed"), "{said}");
    assert!(said.contains("saga paths") && said.contains("  never "), "{said}");
    let said = seeds(&bench, "2..3", &["--jobs", "1"]).exits(0).stdout();
    assert!(said.contains("1 seeds played now, 3 in all"), "{said}");
    let pieces = results(&bench);
    assert_eq!((pieces.played.len(), pieces.coverage.seeds), (3, 3));

    let whole = Bench::new(TINY);
    seeds(&whole, "1..3", &[]).exits(0);
    let whole = results(&whole);
    assert_eq!((whole.coverage, whole.played), (pieces.coverage, pieces.played), "jobs and calls change nothing");

    let ended = seeds(&bench, "1", &["--set", "load.buyers.rate=20"]).exits(0);
    assert!(ended.stderr().contains("(--set changed); it begins anew"), "{}", ended.stderr());
    assert_eq!(results(&bench).played.len(), 1);
}

#[test]
fn a_replay_is_what_the_campaign_played() {
    let bench = Bench::new(TINY);
    let changes = Changes { overrides: Vec::new(), scale: Some(0.2), calm: false, crash_points: false };
    let source = Source::read(&bench.path("scenario.yaml"), &changes, &known()).unwrap();
    let mut drawn = (1..100).map(|seed| source.seeded(seed, &known()).unwrap());
    let scenario = drawn.find(|scenario| !scenario.faults.is_empty()).unwrap();
    let seed = scenario.seed.to_string();
    seeds(&bench, &seed, &[]).exits(0);
    let played = Played::of(&play(&scenario).map_err(|failure| failure.message).unwrap());
    assert_eq!(played.coverage, results(&bench).coverage);
    let said = bench.shopctl(&["simulate", "scenario.yaml", "--scale", "0.2", "--replay", &seed]).exits(0).stdout();
    assert!(said.contains("swarm-"), "the faults that it drew are told: {said}");
    let calm = ["simulate", "scenario.yaml", "--scale", "0.2", "--replay", &seed, "--calm"];
    assert!(!bench.shopctl(&calm).exits(0).stdout().contains("swarm-"));
}

#[test]
fn seeds_in_a_row_crash_at_one_point_after_the_other() {
    let bench = Bench::new(TINY);
    let said = seeds(&bench, "1..8", &["--calm", "--crash-points"]).exits(0).stdout();
    let coverage = results(&bench).coverage;
    let crashed = coverage.points.values().filter(|point| point.crashed > 0).count();
    assert_eq!(coverage.faults["point crash"].planned, 8);
    assert!((2..=8).contains(&crashed), "{crashed} of 8: {said}");

    let replay = ["simulate", "scenario.yaml", "--scale", "0.2", "--replay", "5", "--calm", "--crash-points"];
    assert!(bench.shopctl(&replay).exits(0).stdout().contains("swarm-in-turn-crash"));
    let refused = bench.shopctl(&["simulate", "scenario.yaml", "--crash-points"]).exits(104);
    assert!(refused.stderr().contains("--crash-points needs seeds"), "{}", refused.stderr());
    let anew = seeds(&bench, "1", &["--calm"]).exits(0);
    assert!(anew.stderr().contains("(--crash-points changed); it begins anew"), "{}", anew.stderr());
}

#[test]
fn a_failing_seed_is_told_with_its_history_and_its_replay_fails_alike() {
    let bench = Bench::new(TINY);
    let ended =
        seeds(&bench, "3..4", &["--calm", "--set", UNDOING_NOTHING, "--set", "quiescence_timeout=1s"]).exits(111);
    let results = results(&bench);
    let failed = results.failures.values().next().unwrap();
    let history = failed.history.as_ref().unwrap();
    assert_eq!(history.invariant, "cancelled_net_zero");
    assert!(history.text.lines().count() <= 42, "{}", history.text);
    for told in ["created: PENDING", "acquirer", "decides to abort (declined); nothing to undo", "CANCELLED"] {
        assert!(history.text.contains(told), "`{told}` is not told: {}", history.text);
    }
    let said = ended.stdout();
    let line = said.lines().find(|line| line.starts_with("replay it with: ")).unwrap();
    assert!(line.ends_with("--set 'quiescence_timeout=1s'"), "{line}");
    let command = line.trim_start_matches("replay it with: shopctl ").replace('\'', "");
    let command: Vec<&str> = command.split(' ').collect();
    let again = bench.shopctl(&command).exits(111).stdout();
    assert!(again.contains(&history.text), "{again}");
}

#[test]
fn what_oversells_is_told_by_product() {
    let bench = Bench::new(TINY);
    seeds(&bench, "1..3", &["--set", OVERSELLING]).exits(111);
    let results = results(&bench);
    let history = results.failures.values().find_map(|failed| failed.history.clone()).unwrap();
    assert!(history.text.contains("(LAMP): 8 units came in"), "{}", history.text);
    assert!(history.text.contains(": -1 left") || history.text.contains(": -2 left"), "{}", history.text);
}

/// One of the two is needed to show what a saga that undoes nothing leaves behind.
const FAULTS: &str = "
faults:
  - { name: declined, at: 200ms, for: 1500ms, target: payment-provider, kind: decline_rate, rate: 0.5 }
  - { name: slow, at: 300ms, for: 1s, target: payment-provider, kind: latency, latency: 5ms..10ms }
";

#[test]
fn a_shrunk_scenario_is_small_and_fails_by_itself() {
    let bench = Bench::new(&format!("{}{FAULTS}", TINY.replace("decline_rate: 0.2", "decline_rate: 0")));
    let arguments = ["--calm", "--set", UNDOING_NOTHING, "--set", "quiescence_timeout=1s", "--shrink"];
    let said = seeds(&bench, "3", &arguments).exits(111).stdout();
    assert!(said.contains("1 of 2 faults and 1 of 16 journeys that order still break cancelled_net_zero"), "{said}");
    let file = bench.path("reports/simulations/tiny-3.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("\n    only: [") && text.contains("name: declined") && !text.contains("name: slow"),
        "{text}"
    );
    assert!(
        text.contains("\n# Cancelled") && text.contains("shopctl simulate reports/simulations/tiny-3.yaml"),
        "{text}"
    );
    let path = file.to_string_lossy().into_owned();
    bench.shopctl(&["scenario", "check", &path]).exits(0);
    let again = bench.shopctl(&["simulate", &path]).exits(111).stdout();
    assert!(again.contains("cancelled_net_zero") && again.contains("orders      1 started"), "{again}");
    // Whether a card is declined depends on its key alone, so this bug shows in real time too.
    bench.shopctl(&["run", &path]).exits(111);
}

#[tokio::test]
async fn a_campaign_that_is_interrupted_keeps_what_it_has() {
    let bench = Bench::new(TINY);
    let arguments = ["simulate", "scenario.yaml", "--seeds", "1..100000", "--scale", "0.2", "--jobs", "1"];
    let mut running = bench.spawn(&arguments);
    running.says("100000 of them to play");
    let file = bench.path("reports/simulations/tiny.json");
    let played = || {
        let text = std::fs::read_to_string(&file).ok()?;
        let kept: Value = serde_json::from_str(&text).ok()?;
        kept["played"].as_array().map(Vec::len)
    };
    let kept = async {
        while played().is_none_or(|played| played == 0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, kept).await.expect("results are kept while seeds are played");
    assert_eq!(running.stop_with("-INT"), 105);
    let kept = results(&bench);
    assert!(!kept.played.is_empty() && kept.played.len() < 100_000);
}

#[test]
fn seeds_are_a_range_and_say_so() {
    let bench = Bench::new(TINY);
    for (wrong, said) in [("9..1", "ends before it starts"), ("1..1000001", "at most 1000000"), ("x", "A..B")] {
        let ended = bench.shopctl(&["simulate", "scenario.yaml", "--seeds", wrong]).exits(104);
        assert!(ended.stderr().contains(said), "{}", ended.stderr());
    }
    let ended = bench.shopctl(&["simulate", "scenario.yaml", "--shrink"]).exits(104);
    assert!(ended.stderr().contains("--replay"), "{}", ended.stderr());
}
