//! The swarm: what a seed draws, played by the real services, keeps every invariant and plays the same twice.

use std::collections::BTreeSet;

use scenario::known;
use scenario::parse;
use shop::fault::points::points;
use shopctl::campaign::engine::{Simulated, play};
use shopctl::campaign::swarm::draw;

use crate::harness::SMALL;

fn swarmed(seed: u64) -> Simulated {
    let overrides = [("seed".to_owned(), seed.to_string())];
    let mut scenario = parse(SMALL, "small.yaml", &overrides, &known()).unwrap();
    scenario.faults.extend(draw(&scenario, seed));
    play(&scenario).map_err(|failure| failure.message).unwrap()
}

#[test]
fn a_seed_with_its_swarm_leaves_the_same_trace_twice() {
    for seed in [5, 18] {
        let (first, second) = (swarmed(seed), swarmed(seed));
        assert!(!first.summary.faults.is_empty());
        assert!(first.trace == second.trace, "the traces of seed {seed} differ");
        assert_eq!((first.record, first.points), (second.record, second.points));
    }
}

#[test]
fn no_swarm_breaks_an_invariant_and_no_run_passes_a_point_that_nobody_knows() {
    let known: BTreeSet<&str> = points().iter().map(|point| point.name.as_str()).collect();
    for seed in 20..25 {
        let played = swarmed(seed);
        let broken: Vec<_> = played.summary.invariants.iter().filter(|finding| finding.violations > 0).collect();
        assert!(broken.is_empty(), "seed {seed}: {broken:?}");
        assert!(!matches!(played.summary.exit_code, 111 | 114 | 115), "{seed}: {:?}", played.summary.verdict);
        let strange: Vec<_> = played.points.keys().filter(|name| !known.contains(name.as_str())).collect();
        assert!(strange.is_empty(), "add to sim/src/fault/points.rs: {strange:?}");
    }
}
