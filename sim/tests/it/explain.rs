//! `shopctl explain` and `shopctl orders`, on a real run and on a running shop.

use std::io::BufRead as _;
use std::path::Path;

use audit::witness::{Fate, Record};
use tokio::time::Instant;

use crate::harness::{Bench, NOBODY, PATIENCE, PATIENT, TINY};

/// Key and id of some order with this fate.
fn some_order(run: &Path, wanted: Fate, why: Option<&str>) -> (String, String) {
    let record = std::fs::read(run.join("orders.jsonl")).unwrap();
    let fates = record.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    let mut found = fates.filter_map(|record| match record {
        Record::Fate { key, id: Some(id), fate, reason, .. } if fate == wanted && reason.as_deref() == why => {
            Some((key, id))
        }
        _ => None,
    });
    found.next().unwrap()
}

/// The story's lines, from the header of its timeline on.
fn told_in_order(story: &str, wanted: &[&str]) {
    let mut rest = story;
    for words in wanted {
        let (_, after) =
            rest.split_once(words).unwrap_or_else(|| panic!("`{words}` is not told in its turn:\n{story}"));
        rest = after;
    }
}

#[test]
fn a_run_s_orders_are_explained_by_id_by_the_beginning_of_it_and_by_key() {
    let bench = Bench::played();
    let run = bench.run_folder();
    let folder = run.to_string_lossy().into_owned();
    let explain = |order: &str| bench.shopctl(&["explain", order, "--run", &folder]);

    let (key, id) = some_order(&run, Fate::Confirmed, None);
    let by_id = explain(&id).exits(0).stdout();
    told_in_order(
        &by_id,
        &[
            "client    asks for",
            "created: PENDING",
            "reserve_stock #1 (epoch 1) asks",
            "inventory holds",
            ": RESERVED",
            "process_payment #1 (epoch 1) asks",
            "acquirer  captures",
            ": PAID",
            "confirm #1 (epoch 1) is done: CONFIRMED",
            "inventory sells",
            "Confirmed",
            "Its client has been told.",
        ],
    );
    assert!(by_id.lines().all(|line| line.chars().count() <= 100), "{by_id}");
    assert_eq!(explain(&key).exits(0).stdout(), by_id);
    assert_eq!(explain(&id.to_uppercase()[..20]).exits(0).stdout(), by_id);

    let (_, declined) = some_order(&run, Fate::Cancelled, Some("declined"));
    told_in_order(
        &explain(&declined).exits(0).stdout(),
        &["acquirer  declines", "decides to abort (declined); to undo: release_stock", "takes", "the bank declined"],
    );
    let (_, by_client) = some_order(&run, Fate::Cancelled, Some("by_client"));
    told_in_order(
        &explain(&by_client).exits(0).stdout(),
        &["its client cancels", "epoch 2", "its client asked for it"],
    );

    // The data folder alone knows no keys and no clients.
    let data = run.join("data").to_string_lossy().into_owned();
    let in_data = bench.shopctl(&["explain", &id, "--data", &data]).exits(0).stdout();
    assert!(!in_data.contains("client  ") && in_data.contains("acquirer  captures"), "{in_data}");
    assert!(bench.shopctl(&["explain", &key, "--data", &data]).exits(104).stderr().contains("--run"));
}

#[test]
fn the_story_is_data_too() {
    let bench = Bench::played();
    let run = bench.run_folder();
    let (key, id) = some_order(&run, Fate::Cancelled, Some("sold_out"));
    let said = bench.shopctl(&["explain", &key, "--run", &run.to_string_lossy(), "--json"]).exits(0).stdout();
    let story: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&story["order"], &story["key"]), (&id.into(), &key.into()));
    assert_eq!((&story["status"], &story["cancel_reason"]), (&"CANCELLED".into(), &"sold_out".into()));
    let entries = story["entries"].as_array().unwrap();
    let at = |index: usize| entries[index]["at_us"].as_i64().unwrap();
    assert!((1..entries.len()).all(|index| at(index - 1) <= at(index)), "{said}");
    let created = entries.iter().find(|entry| entry["since_us"] == 0).unwrap();
    assert_eq!((&created["actor"], &created["at_us"]), (&"order".into(), &story["created_at_us"]));
}

#[test]
fn a_client_s_times_count_from_the_start_that_the_summary_tells_or_else_from_the_likely_one() {
    let bench = Bench::played();
    let run = bench.run_folder();
    let (key, id) = some_order(&run, Fate::Confirmed, None);
    let record = std::fs::read(run.join("orders.jsonl")).unwrap();
    let mut records = record.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    let asked_us = records.find_map(|record| match record {
        Record::Sent { at_us, key: of, .. } if of == key => Some(i64::try_from(at_us).unwrap()),
        _ => None,
    });
    let asked_at_us = || {
        let said = bench.shopctl(&["explain", &id, "--run", &run.to_string_lossy(), "--json"]).exits(0).stdout();
        let story: serde_json::Value = serde_json::from_str(&said).unwrap();
        let entries = story["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["actor"] == "client").unwrap()["at_us"].as_i64().unwrap()
    };

    let path = run.join("summary.json");
    let mut summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let started_at_us = summary["started_at_us"].as_i64().unwrap();
    let exactly = started_at_us + asked_us.unwrap();
    assert_eq!(asked_at_us(), exactly);
    summary["started_at_us"] = (started_at_us - 7_000_000).into();
    std::fs::write(&path, summary.to_string()).unwrap();
    assert_eq!(asked_at_us(), exactly - 7_000_000, "it is the summary that is believed");

    summary["started_at_us"] = 0.into();
    std::fs::write(&path, summary.to_string()).unwrap();
    let likely = asked_at_us();
    assert!(likely.abs_diff(exactly) < 1_000_000, "an older summary does not say: {likely}, not {exactly}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(asked_at_us(), likely);
}

#[test]
fn an_order_that_is_not_there_or_not_the_only_one_is_answered_with_what_is_near() {
    let bench = Bench::played();
    let run = bench.run_folder();
    let folder = run.to_string_lossy().into_owned();
    let refused = |order: &str| bench.shopctl(&["explain", order, "--run", &folder]).exits(104).stderr();
    let (key, id) = some_order(&run, Fate::Confirmed, None);

    let typo = format!("{}0000", &id[..32]);
    assert!(refused(&typo).contains(&format!("did you mean `{id}`?")), "{}", refused(&typo));
    assert!(refused(&format!("{key}1x")).contains("did you mean `"), "{}", refused(&format!("{key}1x")));
    assert!(refused(&id[..5]).contains("at least 6 characters"));
    assert!(refused("nothing-like-it").contains("no order and no key of this run"));

    // Another order that begins alike.
    let (stem, twin) = (&id[..8], format!("{}-0000-0000-0000-000000000000", &id[..8]));
    let books = rusqlite::Connection::open(run.join("data/order_db.db")).unwrap();
    let copied = books.execute(
        "INSERT INTO orders (id, user_id, status, total_minor, currency, lines, fingerprint, version, created_at, updated_at)
         SELECT ?1, user_id, status, total_minor, currency, lines, fingerprint, version, created_at, updated_at
         FROM orders WHERE id = ?2",
        [&twin, &id],
    );
    assert_eq!(copied.unwrap(), 1);
    drop(books);
    let said = refused(stem);
    assert!(said.contains(&id) && said.contains(&twin) && said.contains("several orders"), "{said}");
}

#[test]
fn a_running_shop_is_asked_over_http_and_its_folder_may_be_read_meanwhile() {
    let bench = Bench::new(TINY);
    let mut shop = bench.spawn(&["up", "--data", "data", "--listen", "127.0.0.1:0", "--set", PATIENT]);
    let url = shop.says("the shop is up").rsplit_once("http://").unwrap().1.trim_end_matches("/api/v1").to_owned();
    let (authority, url) = (url.clone(), format!("http://{url}"));
    bench.shopctl(&["seed", "scenario.yaml", "--target", &url]).exits(0);
    let person = r#"{"email":"test@example.com","password":"123456"}"#;
    let token = crate::cli::curl_d(&authority, "users/register", None, person)["token"].as_str().unwrap().to_owned();
    let order = crate::cli::curl_d(&authority, "orders", Some(&token), r#"{"items":[{"sku":"LAMP","quantity":2}]}"#);
    let (id, status) = (order["id"].as_str().unwrap(), order["status"].as_str().unwrap());

    // Over HTTP the history is what stands in the event log, and the last events may still be on their way there.
    let deadline = Instant::now() + PATIENCE;
    let remote = loop {
        let story = bench.shopctl(&["explain", id, "--target", &url]).exits(0).stdout();
        if story.contains(&format!(": {status}")) || Instant::now() > deadline {
            break story;
        }
    };
    told_in_order(&remote, &["2 × LAMP", "created: PENDING", "RESERVED", status, "not visible"]);
    let local = bench.shopctl(&["explain", &id[..8], "--data", "data"]).exits(0).stdout();
    told_in_order(&local, &["inventory holds 2 × LAMP", "acquirer", status, "a shop is running on this folder"]);

    let missing = "6a3d9c51-51ab-5f7e-9a60-2a4a36c1f0aa";
    let ended = bench.shopctl(&["explain", missing, "--target", &url]).exits(104);
    assert!(ended.stderr().contains(missing), "{}", ended.stderr());
    bench.shopctl(&["explain", &id[..8], "--target", &url]).exits(104);
    for command in [vec!["explain", id, "--target", &url], vec!["orders", "stuck", "--target", &url]] {
        let wrong: Vec<&str> = command.into_iter().chain(["--admin-password", "guess"]).collect();
        let ended = bench.shopctl(&wrong).exits(104);
        assert!(ended.stderr().contains("may not sign in"), "{}", ended.stderr());
        assert!(!ended.stderr().contains("guess"), "a password is not repeated");
    }
}

#[test]
fn a_shop_that_is_not_there_has_no_orders() {
    let bench = Bench::new(TINY);
    let url = format!("http://{NOBODY}");
    let id = "6a3d9c51-51ab-5f7e-9a60-2a4a36c1f0aa";
    for command in [
        vec!["explain", id, "--target", &url],
        vec!["orders", "stuck", "--target", &url],
        vec!["orders", "retry", "--all", "--target", &url],
        vec!["orders", "retry", id, "--target", &url],
    ] {
        let ended = bench.shopctl(&command).exits(115);
        assert_eq!(ended.stderr().lines().count(), 1, "{}", ended.stderr());
        assert!(ended.stderr().contains(NOBODY), "{}", ended.stderr());
    }
    bench.shopctl(&["orders", "retry"]).exits(104);
    bench.shopctl(&["explain", id]).exits(104);
    bench.shopctl(&["explain", id, "--run", "nowhere"]).exits(104);
}
