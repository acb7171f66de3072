//! The bug museum: each exhibit of `sim/museum` shows its bug, shows nothing without it, and is told as it is in
//! `docs/bug-museum.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use experiment::report::Summary;
use scenario::expect::INVARIANTS;
use scenario::known;
use scenario::{Scenario, parse};
use shopctl::campaign::engine::play_untraced;

use crate::harness::Bench;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = "docs/bug-museum.md";
const RUN: &str = "cargo run --release --features planted-bugs -- simulate";

/// A planted bug, what finds it, and where the code is that it is a bug of.
struct Exhibit {
    /// As its file and its setting call it.
    bug: &'static str,
    role: &'static str,
    /// Below `services/`.
    place: &'static str,
    invariant: &'static str,
}

const EXHIBITS: &[Exhibit] = &[
    exhibit("order", "decline-keeps-stock", "order/src/domain/saga.rs", "cancelled_net_zero"),
    exhibit("order", "timeout-means-failed", "order/src/domain/saga.rs", "confirmed_iff_captured"),
    exhibit("order", "compensate-once", "order/src/application/driver.rs", "ledger_matches_payments"),
    exhibit("order", "new-key-on-resume", "order/src/application/driver.rs", "confirmed_iff_captured"),
    exhibit("order", "forget-confirmed", "order/src/application/driver.rs", "nothing_in_flight"),
    exhibit("order", "cancel-confirmed", "order/src/application/orders.rs", "legal_transitions"),
    exhibit("order", "id-per-request", "order/src/application/orders.rs", "answers_hold"),
    exhibit("order", "last-writer-wins", "order/src/adapters/outbound/sqlite.rs", "legal_transitions"),
    exhibit("order", "ignore-epoch", "order/src/adapters/outbound/sqlite.rs", "nothing_in_flight"),
    exhibit("order", "relay-marks-first", "eventlog/src/relay.rs", "stream_matches_events"),
    exhibit("order", "relay-time-cursor", "eventlog/src/outbox/sqlite.rs", "stream_matches_events"),
    exhibit("inventory", "skip-stock-predicate", "inventory/src/adapters/outbound/sqlite.rs", "stock_not_negative"),
    exhibit("inventory", "reserve-again", "inventory/src/domain/order.rs", "stock_conserved"),
    exhibit("inventory", "no-barrier", "inventory/src/domain/order.rs", "cancelled_net_zero"),
    exhibit("payment", "key-per-attempt", "payment/src/application/pay.rs", "ledger_matches_payments"),
    exhibit("payment", "charge-before-intent", "payment/src/application/pay.rs", "confirmed_iff_captured"),
    exhibit("payment", "open-means-unpaid", "payment/src/application/pay.rs", "confirmed_iff_captured"),
    exhibit("acquirer", "charge-after-void", "acquirer/src/domain/charge.rs", "confirmed_iff_captured"),
    exhibit("acquirer", "refund-twice", "acquirer/src/domain/charge.rs", "cancelled_net_zero"),
    exhibit("notification", "acknowledge-first", "eventlog/src/consume.rs", "notified_once"),
];

const fn exhibit(role: &'static str, bug: &'static str, place: &'static str, invariant: &'static str) -> Exhibit {
    Exhibit { bug, role, place, invariant }
}

/// What an exhibit's file says of itself in its head.
struct Found {
    scenario: String,
    scale: String,
    seed: u64,
    /// Faults and journeys that order, before.
    before: (u64, u64),
    /// And after.
    after: (u64, u64),
}

impl Exhibit {
    fn path(&self) -> String {
        format!("sim/museum/{}.yaml", self.bug)
    }

    fn text(&self) -> String {
        fs::read_to_string(format!("{ROOT}/{}", self.path())).unwrap()
    }

    fn setting(&self) -> String {
        format!("{}.planted_bug", self.role)
    }

    fn scenario(&self) -> Scenario {
        let scenario = parse(&self.text(), &self.path(), &[], &known()).unwrap();
        assert_eq!(scenario.shop.settings.get(&self.setting()).map(String::as_str), Some(self.bug));
        scenario
    }

    fn found(&self) -> Found {
        let text = self.text();
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let line = |part: &str| {
            let found = head.iter().find(|line| line.contains(part));
            found.unwrap_or_else(|| panic!("{} does not say `{part}`", self.path()))
        };
        let numbers = |line: &str| -> Vec<u64> {
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
        };
        let by = line("found by seed");
        assert!(by.contains(self.invariant), "{} is of another invariant: {by}", self.path());
        let scenario = by.split_whitespace().find(|word| word.starts_with("scenarios/")).unwrap();
        let left = numbers(line("faults are left"));
        let scale = by.split("--scale ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        Found {
            scale: scale.to_owned(),
            scenario: scenario.trim_end_matches([',', '.', ':']).to_owned(),
            seed: numbers(by.split("found by").nth(1).unwrap())[0],
            before: (left[1], left[3]),
            after: (left[0], left[2]),
        }
    }

    /// The command that shows it.
    fn shown_by(&self) -> String {
        format!("{RUN} {}", self.path())
    }

    /// The command that finds it from scratch.
    fn found_by(&self) -> String {
        let Found { scenario, scale, seed, .. } = self.found();
        let set = format!("shop.settings.{}={}", self.setting(), self.bug);
        format!("{RUN} {scenario} --scale {scale} --seeds 1..{seed} --set {set}")
    }

    fn row(&self) -> String {
        let Exhibit { bug, role, place, invariant } = self;
        let Found { seed, before, after, .. } = self.found();
        let size = |(faults, journeys): (u64, u64)| format!("{faults} + {journeys}");
        format!("| [{bug}](#{bug}) | {role}: `{place}` | `{invariant}` | {seed} | {} | {} |", size(before), size(after))
    }
}

fn played(exhibit: &Exhibit, scenario: &Scenario) -> Summary {
    match play_untraced(scenario) {
        Ok(simulated) => simulated.summary,
        Err(failure) => panic!("{}: {}", exhibit.bug, failure.message),
    }
}

#[test]
fn every_exhibit_breaks_its_invariant_and_the_page_names_those_that_none_breaks() {
    let mut unbroken: Vec<&str> = INVARIANTS.to_vec();
    for exhibit in EXHIBITS {
        let summary = played(exhibit, &exhibit.scenario());
        unbroken
            .retain(|name| summary.invariants.iter().all(|finding| finding.name != *name || finding.violations == 0));
        let broken =
            summary.invariants.iter().any(|finding| finding.name == exhibit.invariant && finding.violations > 0);
        assert!(broken, "{} does not break {}: {}", exhibit.bug, exhibit.invariant, summary.verdict.because);
        assert_eq!(summary.exit_code, 111, "{}", exhibit.bug);
    }
    let named: Vec<String> = unbroken.iter().map(|name| format!("`{name}`")).collect();
    let line = format!("No exhibit breaks {}.", named.join(", "));
    let page = fs::read_to_string(format!("{ROOT}/{PAGE}")).unwrap();
    assert!(page.lines().any(|other| other == line), "{PAGE} has to say\n{line}");
}

#[test]
fn without_its_bug_every_exhibit_keeps_all_invariants() {
    for exhibit in EXHIBITS {
        let mut scenario = exhibit.scenario();
        scenario.shop.settings.remove(&exhibit.setting());
        let summary = played(exhibit, &scenario);
        let broken: Vec<_> = summary.invariants.iter().filter(|finding| finding.violations > 0).collect();
        assert!(broken.is_empty(), "{}: {broken:?}", exhibit.bug);
        // One order that is cancelled as it should be proves nothing about confirmed ones, and the verdict says so.
        let expected = if summary.orders.confirmed > 0 { 0 } else { 113 };
        assert_eq!(summary.exit_code, expected, "{}: {}", exhibit.bug, summary.verdict.because);
        assert!(summary.orders.started > 0, "{} orders nothing", exhibit.bug);
    }
}

#[test]
fn an_exhibit_is_one_command() {
    let exhibit = &EXHIBITS[0];
    let bench = Bench::new(&exhibit.text());
    let said = bench.shopctl(&["simulate", "scenario.yaml"]).exits(111).stdout();
    assert!(said.contains(exhibit.invariant) && said.contains("replay it with"), "{said}");
}

#[test]
fn what_is_left_of_an_exhibit_is_what_its_head_says() {
    for exhibit in EXHIBITS {
        let (scenario, (faults, journeys)) = (exhibit.scenario(), exhibit.found().after);
        assert_eq!(scenario.faults.len() as u64, faults, "{}", exhibit.bug);
        let chosen = exhibit
            .text()
            .lines()
            .filter(|line| line.trim_start().starts_with("only: ["))
            .fold(0, |sum, line| sum + line.split(',').count() as u64);
        assert_eq!(chosen, journeys, "{}", exhibit.bug);
    }
}

#[test]
fn every_file_of_the_museum_is_an_exhibit_and_the_page_shows_it() {
    let files = fs::read_dir(format!("{ROOT}/sim/museum")).unwrap().map(|entry| entry.unwrap().file_name());
    let files: BTreeSet<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    let exhibits: BTreeSet<String> = EXHIBITS.iter().map(|exhibit| format!("{}.yaml", exhibit.bug)).collect();
    assert_eq!(files, exhibits);
    let page = fs::read_to_string(format!("{ROOT}/{PAGE}")).unwrap();
    for exhibit in EXHIBITS {
        assert!(Path::new(&format!("{ROOT}/services/{}", exhibit.place)).exists(), "{}", exhibit.place);
        let row = exhibit.row();
        assert!(page.lines().any(|line| line == row), "{PAGE} is stale; its table has to say\n{row}");
        let section = page.split(&format!("\n### {}\n", exhibit.bug)).nth(1);
        let section = section.unwrap_or_else(|| panic!("{PAGE} does not show {}", exhibit.bug));
        let section = section.split("\n### ").next().unwrap_or_default();
        for command in [exhibit.shown_by(), exhibit.found_by()] {
            assert!(section.contains(&format!("\n$ {command}\n")), "{PAGE}, {}, has to say\n$ {command}", exhibit.bug);
        }
        let picture = section.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
        assert!((6..=15).contains(&picture.lines().count()), "{}: a picture of 6 to 15 lines", exhibit.bug);
        let widest = picture.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(widest <= 100, "{}: {widest} columns", exhibit.bug);
    }
    let rows = page.lines().filter(|line| line.starts_with("| [")).count();
    assert_eq!(rows, EXHIBITS.len(), "{PAGE} shows what is not in the museum");
}
