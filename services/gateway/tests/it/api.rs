//! The description of the API, and the router that it describes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chassis::auth::Role;
use gateway::adapters::inbound::http::Kind;
use serde_json::{Map, Value};

use crate::fakes::ORDER;
use crate::harness::shop;

const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "PATCH"];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn document() -> Value {
    serde_json::from_str(&gateway::openapi()).unwrap()
}

fn operations(item: &Value) -> impl Iterator<Item = (String, &Map<String, Value>)> {
    item.as_object().unwrap().iter().map(|(method, operation)| (method.to_uppercase(), operation.as_object().unwrap()))
}

/// A path with something in place of its variables.
fn filled(path: &str) -> String {
    path.replace("{id}", ORDER).replace("{order}", ORDER).replace("{product}", "1")
}

#[test]
fn the_description_that_is_checked_in_is_the_one_that_is_served() {
    let kept = fs::read_to_string(repository("docs/api/openapi.json")).unwrap();
    let renew = "renew it: cargo run -p gateway --example openapi > docs/api/openapi.json";
    assert!(kept == gateway::openapi(), "docs/api/openapi.json is stale; {renew}");
}

#[tokio::test]
async fn the_description_is_served_to_everybody() {
    let shop = shop().await;
    let reply = shop.ask("GET", "/openapi.json").header("authorization", "Bearer stale").send().await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.text, gateway::openapi());
    assert!(document()["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[tokio::test]
async fn what_is_described_is_served_and_what_is_not_described_is_not() {
    let shop = shop().await;
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let described: BTreeSet<String> = operations(item).map(|(method, _)| method).collect();
        for method in METHODS {
            let reply = shop.ask(method, "").at(&filled(path)).by(Role::Admin).send().await;
            let unknown = reply.status == 405 || (reply.status == 404 && reply.problem() == "no-such-route");
            assert_eq!(unknown, !described.contains(method), "{method} {path}: {}", reply.status);
            if reply.status == 405 {
                let mut allowed: BTreeSet<String> =
                    reply.header("allow").unwrap().split(',').map(|method| method.trim().to_owned()).collect();
                allowed.remove("HEAD");
                assert_eq!(allowed, described, "{path}");
            }
        }
    }
}

/// Routes that somebody adds past the description would show here.
#[test]
fn nothing_but_the_page_is_routed_without_a_description() {
    let folder = repository("services/gateway/src/adapters/inbound/http");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("docs.rs") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains(".route("), "{}: route it with `routes!`", path.display());
        }
    }
}

#[test]
fn every_operation_says_who_may_call_it_and_how_it_fails() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations(item) {
            let place = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{place}: no summary");
            assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{place}: no tag");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place}: never succeeds");
            let mut expected = vec!["429", "500", "503", "504"];
            let locked = !operation["security"].as_array().unwrap().iter().any(|way| *way == serde_json::json!({}));
            if locked && !operation["security"].as_array().unwrap().is_empty() {
                expected.extend(["401", "403"]);
            }
            if operation.contains_key("requestBody") {
                expected.extend(["400", "408", "413"]);
            }
            if path.contains('{') {
                expected.extend(["400", "404"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{place}: {status} is not described");
            }
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations(item) {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no name"));
            assert!(names.insert(name.to_owned()), "{name} twice");
        }
    }
}

#[test]
fn an_update_changes_something_and_an_ordered_product_is_named_in_one_way() {
    let document = document();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    for (name, fields) in
        [("ProductUpdate", ["name", "category", "price"].as_slice()), ("ProfileUpdate", &["email", "name"])]
    {
        let ways = schema(name)["allOf"][1]["anyOf"].clone();
        let required: BTreeSet<String> =
            ways.as_array().unwrap().iter().map(|way| way["required"][0].as_str().unwrap().to_owned()).collect();
        assert_eq!(required, fields.iter().map(|field| (*field).to_owned()).collect(), "{name}");
        assert!(!ways.to_string().contains("null"), "{name}: {ways}");
    }
    let ways = schema("NewOrderItem")["allOf"][1]["oneOf"].clone();
    assert_eq!(ways[0]["properties"]["sku"]["type"], "null");
    assert_eq!(ways[1]["properties"]["product_id"]["type"], "null");
}

#[test]
fn every_failure_is_described_as_a_problem() {
    let document = document();
    let responses = |operation: &Map<String, Value>| operation["responses"].as_object().unwrap().clone();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations(item) {
            for (status, response) in responses(operation).into_iter().filter(|(status, _)| !status.starts_with('2')) {
                let referred = response["$ref"].as_str() == Some(&format!("#/components/responses/Problem{status}"));
                let own = response["content"]["application/problem+json"]["schema"]["$ref"].as_str();
                let is_problem = referred || own == Some("#/components/schemas/Problem");
                assert!(is_problem, "{method} {path} {status}: {response}");
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                }
                fields.values().for_each(|value| walk(document, value));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(document, value)),
            _ => {}
        }
    }
    walk(&document(), &document());
}

#[test]
fn the_types_of_problems_in_the_manual_are_those_that_exist() {
    let manual = fs::read_to_string(repository("docs/api/README.md")).unwrap();
    let rows: Vec<String> = manual.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let row = |kind: &Kind| {
        let (status, slug, title) = kind.facts();
        format!("| `{slug}` | {} | {title} |", status.as_u16())
    };
    let expected: Vec<String> = Kind::ALL.iter().map(row).collect();
    let found: Vec<String> = rows.into_iter().filter(|row| row.matches('|').count() == 4).collect();
    assert_eq!(found, expected, "the table in docs/api/README.md:\n{}", expected.join("\n"));
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_nothing_else() {
    let shop = shop().await;
    let reply = shop.ask("GET", "").at("/docs").send().await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = reply.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    for source in reply.text.split(['"']).filter(|text| text.starts_with("/docs/page.")) {
        let part = shop.ask("GET", "").at(source).send().await;
        assert_eq!(part.status, 200, "{source}");
        assert!(!part.text.contains("innerHTML"), "{source}: text is set as text");
    }
    assert!(!reply.text.contains("http:") && !reply.text.contains("https:"), "everything is served here");
    let root = shop.ask("GET", "").at("/").send().await;
    assert_eq!((root.status, root.header("location")), (307, Some("/docs")));
}
