//! The closed executors, counted in virtual time, where a journey takes as long as it thinks.

use experiment::report::threshold::Outcome;
use scenario::known;
use scenario::parse;
use shopctl::campaign::engine::play;

use crate::harness::TINY;

/// Plays one group with these keys, whose journeys take a second and a little, and compares how many
/// came to their end.
#[track_caller]
fn makes(keys: &str, journeys: u64) {
    let (head, rest) = TINY.split_once("load:").unwrap();
    let (_, tail) = rest.split_once("expect:").unwrap();
    let load = format!(
        "load:\n  group:\n{keys}    journey:\n      - order: {{ items: [{{ sku: any, quantity: 1 }}] }}\n      - think: 1s\n"
    );
    let tail = tail.replace("order_errors: [rate<0.01]", &format!("iterations: [count=={journeys}]"));
    let scenario = parse(&format!("{head}{load}expect:{tail}"), "closed.yaml", &[], &known()).unwrap();
    let summary = play(&scenario).map_err(|failure| failure.message).unwrap().summary;
    let judged = &summary.thresholds[0];
    assert_eq!(judged.outcome, Outcome::Kept, "{journeys} journeys expected, {:?} made", judged.observed);
    assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
}

#[test]
fn shared_journeys_are_made_once_whoever_makes_them() {
    makes("    executor: shared-iterations\n    vus: 3\n    iterations: 10\n", 10);
}

#[test]
fn journeys_of_ones_own_are_made_by_everyone() {
    makes("    executor: per-vu-iterations\n    vus: 3\n    iterations: 2\n", 6);
}

#[test]
fn no_journey_is_started_after_the_longest_time() {
    makes("    executor: per-vu-iterations\n    vus: 3\n    iterations: 1000\n    max_duration: 1500ms\n", 6);
}

#[test]
fn virtual_users_come_and_go_and_finish_what_they_began() {
    let stages = "{ duration: 2s, target: 3 }, { duration: 2s, target: 3 }, { duration: 2s, target: 0 }";
    // They come at 2/3, 4/3 and 2 s and go at 6, 16/3 and 14/3 s: 6, 4 and 3 journeys can begin.
    makes(&format!("    executor: ramping-vus\n    start_vus: 0\n    stages: [{stages}]\n"), 13);
}

#[test]
fn a_virtual_user_who_is_wanted_again_comes_back() {
    let stages = "{ duration: 1s, target: 2 }, { duration: 0s, target: 0 }, { duration: 3s, target: 0 }, \
                  { duration: 0s, target: 2 }, { duration: 1s, target: 2 }";
    makes(&format!("    executor: ramping-vus\n    start_vus: 2\n    stages: [{stages}]\n"), 4);
}

#[test]
fn of_journeys_that_are_chosen_by_number_no_other_is_made() {
    makes("    executor: shared-iterations\n    vus: 3\n    iterations: 10\n    only: [2, 5, 11]\n", 2);
    makes("    executor: constant-vus\n    vus: 2\n    duration: 3s\n    only: [3]\n", 1);
    makes("    executor: constant-arrival-rate\n    rate: 10\n    duration: 1s\n    max_vus: 1\n    only: [9, 2]\n", 1);
}
