//! The command line: what it refuses, and with what.

use std::io::{Read as _, Write as _};

use scenario::known;
use scenario::parse;
use shopctl::campaign::engine::play_untraced;

use crate::harness::{Bench, NOBODY, PATIENT, TINY, unhurried};

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
    let ended = bench.shopctl(&["seed", "scenario.yaml", "--target", &format!("http://{NOBODY}")]).exits(115);
    assert!(ended.stderr().contains(NOBODY), "{}", ended.stderr());
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

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_load() {
    let bench = Bench::new(TINY);
    let ended = bench.shopctl(&["run", "scenario.yaml", "-o", "json=nowhere/x.json"]).exits(104);
    assert!(ended.stderr().contains("nowhere/x.json"), "{}", ended.stderr());
    bench.shopctl(&["simulate", "scenario.yaml", "--trace", "nowhere/x.txt"]).exits(104);
    bench.shopctl(&["run", "scenario.yaml", "--picture", "1s=nowhere/x.svg"]).exits(104);
    bench.shopctl(&["run", "scenario.yaml", "scenario.yaml", "--picture", "1s=x.svg"]).exits(104);
    assert!(!bench.path("reports").exists());
}

#[test]
fn a_second_shop_or_an_audit_does_not_get_a_folder_that_a_shop_uses() {
    let bench = Bench::new(TINY);
    let mut first = bench.spawn(&["up", "--data", "data", "--listen", "127.0.0.1:0"]);
    first.says("fill it with");
    let second = bench.shopctl(&["up", "--data", "data", "--listen", "127.0.0.1:0"]).exits(115);
    assert!(second.stderr().contains("a shop is running on this folder"), "{}", second.stderr());
    let audit = bench.shopctl(&["audit", "--data", "data"]).exits(104);
    assert!(audit.stderr().contains("a shop is running on this folder"), "{}", audit.stderr());
}

#[test]
fn journeys_that_outlast_the_graceful_stop_are_interrupted_and_the_verdict_stands() {
    let source = TINY.replace("      - retry_same_key", "      - think: 30s\n      - retry_same_key");
    let scenario = parse(&source, "thinking.yaml", &[("graceful_stop".into(), "3s".into())], &known()).unwrap();
    let summary = play_untraced(&scenario).map_err(|failure| failure.message).unwrap().summary;
    assert_eq!(summary.exit_code, 0, "{:?}", summary.verdict);
    assert_eq!(summary.generator.interrupted, 60);
    assert_eq!(summary.http["order"].count, 80);
    assert!(!summary.http.contains_key("retry"), "nobody got beyond thinking");
}

#[test]
fn the_seed_document_s_commands_work_as_written() {
    let bench = Bench::new(TINY);
    let mut shop = bench.spawn(&["up", "--listen", "127.0.0.1:0", "--set", PATIENT]);
    let gateway = shop.says("the shop is up").rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    bench.shopctl(&["seed", "scenario.yaml", "--target", &format!("http://{gateway}")]).exits(0);
    let post = |path: &str, token: Option<&str>, body: &str| curl_d(&gateway, path, token, body);
    let person = r#"{"email":"test@example.com","password":"123456"}"#;
    assert_eq!(post("users/register", None, person)["user"]["email"], "test@example.com");
    let session = post("users/login", None, person);
    let token = session["token"].as_str();
    let order = post("orders", token, r#"{"items":[{"product_id":1,"quantity":2}]}"#);
    assert!(["CONFIRMED", "CANCELLED"].contains(&order["status"].as_str().unwrap()), "{order}");
}

#[test]
fn pictures_are_taken_at_their_moments_and_one_that_is_missing_is_an_error() {
    // A load of two seconds, however many orders a busy machine makes of it.
    let scenario = unhurried(TINY).replace("rate: 120\n    duration: 500ms", "rate: 10\n    duration: 2s");
    let bench = Bench::new(&scenario);
    let wanted = ["--picture", "1s=overview.svg", "--picture", "1s,saga=saga.svg", "--picture", "1h=never.svg"];
    let ended = bench.shopctl(&[&["run", "scenario.yaml"], wanted.as_slice()].concat()).exits(104);
    assert!(ended.stderr().contains("never.svg: the load was over before"), "{}", ended.stderr());
    let read = |file: &str| std::fs::read_to_string(bench.path(file)).unwrap();
    assert!(read("overview.svg").contains("Orders by their first answer"));
    assert!(read("saga.svg").contains("Compensations"));
    assert_eq!(bench.summary().exit_code, 0, "the run itself is as good as any");
}

/// What `curl -X POST -d BODY` sends: a form's Content-Type, which must not matter.
pub fn curl_d(authority: &str, path: &str, token: Option<&str>, body: &str) -> serde_json::Value {
    let mut stream = std::net::TcpStream::connect(authority).unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    write!(
        stream,
        "POST /api/v1/{path} HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\n{token}Connection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}
