//! What a reader is told about a file that is not right, from the outside in.

use proptest::prelude::*;

use super::*;
use load::Executor;

const FLASH_SALE: &str = include_str!("../../../scenarios/flash-sale.yaml");
const PAYMENT_OUTAGE: &str = include_str!("../../../scenarios/payment-outage.yaml");
const SMOKE: &str = include_str!("../../../scenarios/smoke.yaml");

pub(super) const GOOD: &str = "version: 1
name: x
shop: { users: 1, catalog: { generate: 1, stock: 1 } }
load: { g: { executor: constant-vus, vus: 1, duration: 1s, journey: [ view: any ] } }
";

/// Something that has nothing to do with payments.
static FRIDGE: chassis::chaos::Target = chassis::chaos::Target {
    name: "fridge",
    role: "kitchen",
    kinds: &[chassis::chaos::Kind { name: "open", meaning: "it stays open", parameters: &[] }],
};

/// Settings as the services of the real build would know them.
pub(super) fn settings() -> Known {
    let names = ["acquirer.decline_rate", "acquirer.latency", "gateway.rate_limit_per_minute"];
    let check = |name: &str, value: &str| match name {
        "acquirer.decline_rate" => chassis::settings::share(value).map(|_| ()),
        "acquirer.latency" => value.parse::<chassis::settings::DurationRange>().map(|_| ()),
        _ => value.parse::<u32>().map(|_| ()).map_err(|error| error.to_string()),
    };
    Known {
        names: names.map(str::to_owned).to_vec(),
        check: Box::new(check),
        targets: vec![&acquirer::FAULTS, &payment::FAULTS, &FRIDGE],
    }
}

pub(super) fn parsed(source: &str) -> Scenario {
    parse(source, "x.yaml", &[], &settings()).unwrap()
}

/// Reads `source` and expects exactly these errors: `line:column` (empty for the file as a whole) and
/// a part of the message.
#[track_caller]
pub(super) fn check(source: &str, expected: &[(&str, &str)]) {
    let errors = parse(source, "x.yaml", &[], &settings()).expect_err("this scenario is not right");
    let found: Vec<_> = errors.errors.iter().map(|error| (place(error), error.message.as_str())).collect();
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|((at, said), (place, part))| at == place && said.contains(part));
    let source: String = source.chars().take(2000).collect();
    assert!(fits, "expected {expected:#?}\nfound {found:#?}\nin\n{source}");
}

fn place(error: &ScenarioError) -> String {
    error.spot.map(|spot| format!("{}:{}", spot.line, spot.column)).unwrap_or_default()
}

pub(super) fn overridden(source: &str, overrides: &[(&str, &str)]) -> Result<Scenario, ScenarioErrors> {
    let overrides: Vec<_> = overrides.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    parse(source, "x.yaml", &overrides, &settings())
}

#[test]
fn the_flash_sale_is_two_thousand_buyers_in_ten_seconds() {
    let scenario = parsed(FLASH_SALE);
    assert_eq!((scenario.name.as_str(), scenario.seed, scenario.shop.users), ("flash-sale", 42, 2000));
    let Executor::Arrivals(plan) = &scenario.load[0].executor else { panic!("an open load") };
    assert_eq!((plan.total(), plan.max_vus, scenario.duration()), (2000, 1000, Duration::from_secs(10)));
    assert_eq!(scenario.expect.thresholds.len(), 3);
    assert_eq!(scenario.shop.settings["acquirer.latency"], "5ms..30ms");
}

#[test]
fn the_smoke_test_is_short_and_has_two_groups() {
    let scenario = parsed(SMOKE);
    assert_eq!((scenario.load.len(), scenario.duration()), (2, Duration::from_secs(10)));
}

#[test]
fn what_is_not_written_has_its_default() {
    let scenario = parsed(GOOD);
    assert_eq!((scenario.seed, scenario.about.as_str(), scenario.warmup), (1, "", Duration::ZERO));
    assert_eq!(
        (scenario.graceful_stop, scenario.quiescence_timeout),
        (Duration::from_secs(10), Duration::from_secs(30))
    );
    assert_eq!(scenario.origin, "x.yaml");
}

#[test]
fn an_error_reads_like_a_compilers() {
    let source = format!("{GOOD}graceful_stp: 4s\n");
    let said = parse(&source, "scenarios/x.yaml", &[], &settings()).unwrap_err().to_string();
    let expected = "error: scenarios/x.yaml:5:1: unknown key `graceful_stp`, did you mean `graceful_stop`?
  |
5 | graceful_stp: 4s
  | ^^^^^^^^^^^^";
    assert_eq!(said, expected);
}

#[test]
fn all_errors_of_a_stage_are_told_in_the_files_order() {
    check(
        "version: 1\nname: X\nseed: -1\nwarmup: 5\nload: {}\n",
        &[
            ("1:1", "the scenario needs `shop`"),
            ("2:7", "`name` is 1 to 48 of a-z, 0-9 and `-`, not `X`"),
            ("3:7", "`seed` is a whole number from 0 on, not `-1`"),
            ("4:9", "`warmup` is a duration"),
        ],
    );
    check(
        &format!("{GOOD}sed: 1\nabout: [ a ]\nexpct: 1\n"),
        &[("5:1", "did you mean `seed`?"), ("6:8", "a list stands here"), ("7:1", "did you mean `expect`?")],
    );
}

#[test]
fn the_version_is_said_and_known() {
    check(
        &GOOD.replace("version: 1", "version: 2\nkey: x"),
        &[("1:10", "version `2` is not known; this build reads version 1")],
    );
    check(&GOOD.replace("version: 1", "seed: 1"), &[("1:1", "the scenario needs `version`")]);
}

#[test]
fn top_level_values_are_what_they_should_be() {
    for (line, place, message) in [
        ("seed: 18446744073709551616", "5:7", "`seed` is a whole number"),
        ("seed: 1.5", "5:7", "`seed` is a whole number"),
        ("seed: { a: 1 }", "5:7", "`seed` is a single value; a map stands here"),
        ("warmup: 1s", "5:9", "`warmup` is 1s, but the load is over after 1s"),
        ("graceful_stop: 11m", "5:16", "`graceful_stop` is a duration from 0s to 10m, not `11m`"),
        ("quiescence_timeout: soon", "5:21", "not `soon`"),
        ("faults: outage", "5:9", "`faults` is a list"),
        ("faults: [ outage ]", "5:11", "an item of `faults` is a map of keys"),
        ("expect: [ a ]", "5:9", "`expect` is a map of keys; a list stands here"),
        ("zebra: 1", "5:1", "unknown key `zebra`"),
        ("\"a`, expected `b\": 1", "5:1", "unknown key `a`, expected `b`"),
    ] {
        check(&format!("{GOOD}{line}\n"), &[(place, message)]);
    }
    assert!(parse(&format!("{GOOD}faults: []\nexpect:\n"), "x", &[], &settings()).is_ok());
}

#[test]
fn what_yaml_allows_and_a_scenario_does_not_is_refused() {
    for (source, place, message) in [
        (format!("{GOOD}name: y\n"), "5:1", "`name` is written twice; the first is on line 2"),
        (GOOD.replace("users: 1,", "users: 1, users: 1,"), "3:19", "`users` is written twice"),
        (format!("{GOOD}about: &a x\n"), "5:8", "anchors"),
        (format!("{GOOD}about: *a\n"), "5:8", "anchors"),
        (format!("{GOOD}about: !!str x\n"), "5:8", "tags"),
        (format!("{GOOD}---\nversion: 1\n"), "5:1", "a second document"),
        (format!("{GOOD}? [ a ]\n: b\n"), "5:3", "keys are plain words"),
        (format!("{GOOD}expect:\n\tinvariants: all\n"), "6:1", "a tab in the indentation"),
        (format!("{GOOD}about: {}\n", "[".repeat(40)), "5:40", "nested more than 32 deep"),
        (format!("{GOOD}about: [{}]\n", "a,".repeat(60_000)), "5:99945", "more than 50000 keys and values"),
        ("[ 1 ]".to_owned(), "1:1", "a scenario is a map of keys"),
        ("hello".to_owned(), "1:1", "a scenario is a map of keys"),
    ] {
        check(&source, &[(place, message)]);
    }
}

#[test]
fn a_syntax_error_has_a_place() {
    let errors = parse(&format!("{GOOD}about: {{ a: 1\n"), "x.yaml", &[], &settings()).unwrap_err();
    assert!(errors.errors[0].spot.is_some_and(|spot| spot.line >= 5), "{errors}");
    assert!(errors.to_string().contains("not valid YAML"), "{errors}");
}

#[test]
fn what_is_no_scenario_at_all_is_told_so() {
    check("", &[("", "the file is empty")]);
    check("# only a comment\n\n", &[("", "the file is empty")]);
    check("a: \u{0}b\n", &[("", "line 1 holds the control character U+0000")]);
    check(&"# much\n".repeat(200_000), &[("", "larger than 1024 KiB")]);
    check("---\n...\n", &[("2:1", "a scenario is a map of keys")]);
}

#[test]
fn files_that_cannot_be_read_are_told_why() {
    let folder = std::env::temp_dir();
    let read = |path: &Path| super::load(path, &[], &settings()).unwrap_err().to_string();
    assert!(read(&folder).contains("this is a folder"));
    assert!(read(&folder.join("no-such-scenario.yaml")).contains("no such file"));
    let binary = folder.join(format!("shopctl-scenario-{}.yaml", std::process::id()));
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    let said = read(&binary);
    std::fs::remove_file(&binary).unwrap();
    assert!(said.contains("not a text file: byte 0 is not UTF-8"), "{said}");
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_fine() {
    let source = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    assert_eq!(parsed(&source).name, "x");
    check(&format!("{source}sed: 1\r\n"), &[("5:1", "unknown key `sed`")]);
}

#[test]
fn overrides_change_what_the_file_says() {
    let changes = [
        ("seed", "7"),
        ("load.buyers.max_vus", "10"),
        ("load.buyers.stages.0.target", "5"),
        ("shop.settings.acquirer.decline_rate", "0.10"),
        ("shop.catalog.items.0.stock", "1"),
        ("expect.thresholds", "{ orders: [ 'count>1' ] }"),
    ];
    let scenario = overridden(FLASH_SALE, &changes).unwrap();
    assert_eq!((scenario.seed, scenario.shop.catalog.items[0].stock), (7, 1));
    assert_eq!(scenario.shop.settings["acquirer.decline_rate"], "0.10");
    assert_eq!(scenario.expect.thresholds.len(), 1);
    let Executor::Arrivals(plan) = &scenario.load[0].executor else { panic!("an open load") };
    assert_eq!((plan.max_vus, plan.stages[0].target_per_s as u32), (10, 5));
    assert_ne!(scenario.hash, parsed(FLASH_SALE).hash);
}

#[test]
fn what_a_service_repeats_of_a_file_reaches_no_terminal_as_a_control_character() {
    let source = PAYMENT_OUTAGE.replace("acquirer.latency: 5ms..20ms", "acquirer.latency: 5\tms..20ms");
    let told = parse(&source, "x.yaml", &[], &settings()).expect_err("5\tms is no duration").to_string();
    assert!(told.contains("`5 ms` is not a duration"), "{told:?}");
}

#[test]
fn an_error_of_an_override_names_the_override() {
    for (path, value, message) in [
        ("seed", "x", "`seed` is a whole number"),
        ("load.g.max_vu", "10", "unknown key `max_vu`, did you mean `max_vus`?"),
        ("load.h.vus", "10", "the load has no group `h`; it has `g`"),
        ("shop.settings.acquirer.decline_rat", "1", "did you mean `acquirer.decline_rate`?"),
        ("shop.settings.acquirer.decline_rate", "2", "is not a share"),
        ("expect", "{ invariants: [ x ] }", "unknown invariant `x`"),
        ("version", "3", "version `3` is not known"),
        ("name", "", "the scenario needs `name`"),
    ] {
        let errors = overridden(GOOD, &[(path, value)]).unwrap_err();
        let said = errors.to_string();
        assert!(said.contains(message) && errors.errors.len() == 1, "{said}");
        assert!(said.starts_with(&format!("error: --set {path}={value}: ")), "{said}");
    }
}

#[test]
fn the_hash_tells_scenarios_apart_and_stays_the_same() {
    assert_eq!(parsed(GOOD).hash, parsed(GOOD).hash);
    assert_ne!(parsed(GOOD).hash, parsed(&format!("{GOOD}# changed\n")).hash);
    // FNV-1a of nothing and one zero byte: as published.
    assert_eq!(hash("", &[]), "af63bd4c8601b7df");
}

/// A random change to a text: a line dropped, doubled or moved, a character put in, a stretch cut.
fn mutated(text: &str, changes: &[(u8, usize, usize, char)]) -> String {
    let mut text = text.to_owned();
    for &(kind, a, b, character) in changes {
        let mut lines: Vec<&str> = text.lines().collect();
        let (from, to) = (a % lines.len().max(1), b % lines.len().max(1));
        let mut characters: Vec<char> = text.chars().collect();
        let place = a % characters.len().max(1);
        text = match kind % 5 {
            0 if !lines.is_empty() => {
                lines.remove(from);
                lines.join("\n")
            }
            1 if !lines.is_empty() => {
                lines.insert(to, lines[from]);
                lines.join("\n")
            }
            2 if !lines.is_empty() => {
                lines.swap(from, to);
                lines.join("\n")
            }
            3 => {
                characters.insert(place, character);
                characters.into_iter().collect()
            }
            _ => {
                let end = (place + b % 20).min(characters.len());
                characters.drain(place.min(end)..end);
                characters.into_iter().collect()
            }
        };
    }
    text
}

/// Whatever is said must have a place within the text.
fn judge_any(source: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = parse(source, "x.yaml", &[], &settings()) {
        prop_assert!(!errors.errors.is_empty());
        prop_assert!(errors.to_string().lines().all(|line| !line.chars().any(char::is_control)));
        let lines = source.lines().count() + 1;
        prop_assert!(errors.errors.iter().all(|error| error.spot.is_none_or(|spot| (1..=lines).contains(&spot.line))));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(source in "(?s).{0,200}") {
        judge_any(&source)?;
    }

    #[test]
    fn no_text_of_yaml_characters_makes_it_panic(source in "[-a: \\[\\]{},#&*!|>'\"%@?~0\n\t]{0,60}") {
        judge_any(&source)?;
    }

    #[test]
    fn no_change_to_a_scenario_makes_it_panic(
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>(), prop::sample::select("-a: []{},#&*!|>'\"%@?~0\n\t".chars().collect::<Vec<_>>())), 1..5),
    ) {
        judge_any(&mutated(FLASH_SALE, &changes))?;
        judge_any(&mutated(PAYMENT_OUTAGE, &changes))?;
    }

    #[test]
    fn no_override_makes_it_panic(path in "[a-z.0-9]{0,20}|(load\\.shoppers|faults\\.acquirer-down)\\.[a-z.0-9]{0,12}", value in "(?s).{0,30}") {
        let _ = parse(PAYMENT_OUTAGE, "x.yaml", &[(path, value)], &settings());
    }
}
