//! The command line: what it refuses, and with what.

use crate::harness::{Bench, TINY};

#[test]
fn a_typo_is_answered_with_its_place_and_the_nearest_name() {
    let bench = Bench::new(&TINY.replace("    rate: 30", "    rat: 30"));
    for command in
        [vec!["run", "scenario.yaml"], vec!["simulate", "scenario.yaml"], vec!["scenario", "check", "scenario.yaml"]]
    {
        let ended = bench.shopctl(&command).exits(104);
        assert!(ended.stderr().contains("scenario.yaml:19:5"), "{}", ended.stderr());
        assert!(ended.stderr().contains("did you mean `rate`?"), "{}", ended.stderr());
    }
    assert!(!bench.path("reports").exists(), "nothing was started");
}

#[test]
fn an_unknown_setting_is_answered_with_the_nearest_one() {
    let bench = Bench::new(&TINY.replace("acquirer.decline_rate", "acquirer.declin_rate"));
    let ended = bench.shopctl(&["scenario", "check", "scenario.yaml"]).exits(104);
    assert!(ended.stderr().contains("acquirer.decline_rate"), "{}", ended.stderr());
    let ended = bench.shopctl(&["up", "--set", "gateway.rate_limit=5"]).exits(104);
    assert!(ended.stderr().contains("gateway.rate_limit_per_minute"), "{}", ended.stderr());
}

#[test]
fn a_setting_that_contradicts_another_stops_the_shop_from_starting() {
    let bench = Bench::new(TINY);
    let ended = bench.shopctl(&["run", "scenario.yaml", "--set", "shop.settings.order.lease=1s"]).exits(115);
    assert!(ended.stderr().contains("order.lease"), "{}", ended.stderr());
}

#[test]
fn missing_files_and_bad_flags_exit_104() {
    let bench = Bench::new(TINY);
    for arguments in [
        vec!["run", "nowhere.yaml"],
        vec!["run"],
        vec!["run", "scenario.yaml", "--seed", "many"],
        vec!["run", "scenario.yaml", "--set", "seed"],
        vec!["simulate", "."],
        vec!["audit", "--data", "nowhere"],
        vec!["audit"],
        vec!["seed", "scenario.yaml", "--target", "ftp://x"],
        vec!["fly"],
    ] {
        let ended = bench.shopctl(&arguments).exits(104);
        assert!(
            !ended.stderr().is_empty() && !ended.stderr().contains("panicked"),
            "{arguments:?}: {}",
            ended.stderr()
        );
    }
}

#[test]
fn a_shop_that_is_not_there_cannot_be_seeded() {
    let bench = Bench::new(TINY);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = bench.shopctl(&["seed", "scenario.yaml", "--target", &format!("http://{nobody}")]).exits(115);
    assert!(ended.stderr().contains(&nobody.to_string()), "{}", ended.stderr());
}

#[test]
fn lists_and_checks_the_scenarios_that_come_with_it() {
    let bench = Bench::new(TINY);
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let listed = bench.shopctl(&["scenario", "list", scenarios]).exits(0).stdout();
    assert!(
        listed.contains("flash-sale.yaml") && listed.contains("smoke.yaml") && !listed.contains("invalid"),
        "{listed}"
    );
    for name in ["flash-sale", "smoke"] {
        bench.shopctl(&["scenario", "check", &format!("{scenarios}/{name}.yaml")]).exits(0);
    }
}

#[test]
fn the_doctor_finds_this_machine_fit() {
    let said = Bench::new(TINY).shopctl(&["doctor"]).exits(0).stdout();
    assert!(said.contains("SQLite") && said.contains("ready: needs nothing else"), "{said}");
}
