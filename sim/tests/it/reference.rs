//! What is checked in of the scenario format's description is what this build would write.

use std::fs;

use scenario::reference::put_into;

use crate::harness::{Bench, TINY};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn the_schema_for_editors_is_up_to_date() {
    let written = fs::read_to_string(format!("{ROOT}/scenarios/schema.json")).unwrap();
    let told = Bench::new(TINY).shopctl(&["scenario", "schema"]).exits(0).stdout();
    // As values: the order of keys is not what matters.
    let [written, told] = [written, told].map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
    assert!(
        written == told,
        "scenarios/schema.json is stale; renew it with: cargo run -- scenario schema > scenarios/schema.json"
    );
}

#[test]
fn the_reference_for_people_is_up_to_date() {
    let page = fs::read_to_string(format!("{ROOT}/docs/scenarios.md")).unwrap();
    let told = Bench::new(TINY).shopctl(&["scenario", "docs"]).exits(0).stdout();
    assert!(
        put_into(&page, &told).unwrap() == page,
        "docs/scenarios.md is stale; renew it with: cargo run -- scenario docs --into docs/scenarios.md"
    );
}

#[test]
fn every_scenario_that_comes_with_it_names_the_schema_and_is_valid() {
    let bench = Bench::new(TINY);
    let entries = fs::read_dir(format!("{ROOT}/scenarios")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    assert!(files.len() >= 6);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=schema.json\n"), "{}", file.display());
        bench.shopctl(&["scenario", "check", file.to_str().unwrap()]).exits(0);
    }
}

#[test]
fn a_new_scenario_is_one_to_start_from() {
    let bench = Bench::new(TINY);
    for like in ["flash-sale", "payment-outage", "oversell-race", "browse-and-buy", "smoke"] {
        let file = format!("{like}-of-mine.yaml");
        bench.shopctl(&["scenario", "new", "mine", "--like", like, "--out", &file]).exits(0);
        let said = bench.shopctl(&["scenario", "check", &file]).exits(0).stdout();
        assert!(said.contains("mine is valid"), "{said}");
    }
}

#[test]
fn a_new_scenario_goes_where_the_others_are_and_replaces_none() {
    let bench = Bench::new(TINY);
    let nowhere = bench.shopctl(&["scenario", "new", "mine"]).exits(104);
    assert!(nowhere.stderr().contains("there is no such folder"), "{}", nowhere.stderr());
    fs::create_dir(bench.path("scenarios")).unwrap();
    bench.shopctl(&["scenario", "new", "mine"]).exits(0);
    fs::write(bench.path("scenarios/mine.yaml"), "precious").unwrap();
    let again = bench.shopctl(&["scenario", "new", "mine"]).exits(104);
    assert!(again.stderr().contains("this file is there already"), "{}", again.stderr());
    assert_eq!(fs::read_to_string(bench.path("scenarios/mine.yaml")).unwrap(), "precious");
}

#[test]
fn a_name_or_a_model_that_cannot_be_is_refused() {
    let bench = Bench::new(TINY);
    for arguments in [vec!["My Own"], vec![""], vec!["../mine"], vec!["mine", "--like", "zebra"]] {
        let ended = bench.shopctl(&[&["scenario", "new"][..], &arguments].concat()).exits(104);
        assert!(ended.stderr().contains("error: "), "{}", ended.stderr());
    }
}
