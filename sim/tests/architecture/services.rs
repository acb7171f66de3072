//! The services' hexagon: four places each, a pure domain, use cases that name no technology; and crates that do not
//! know each other.

use std::fs;
use std::path::PathBuf;

use crate::source::{dependencies, files_of, offences, root, rust_files};

/// Crates beside the services that are no services themselves.
const SHARED: [&str; 4] = ["kernel", "chassis", "store", "eventlog"];
const SERVICES: [&str; 8] = ["user", "product", "order", "payment", "inventory", "notification", "acquirer", "gateway"];
const PLACES: [&str; 4] = ["config.rs", "domain", "application", "adapters"];

/// The domain is pure and synchronous.
const NOT_IN_DOMAIN: [&str; 14] = [
    "chassis::",
    "store::",
    "eventlog::",
    "tonic",
    "rusqlite",
    "axum",
    "tokio",
    "hyper",
    "proto::",
    "crate::application",
    "crate::adapters",
    "std::fs",
    "std::net",
    "std::env",
];
/// Use cases know ports, never what is behind them.
const NOT_IN_APPLICATION: [&str; 13] = [
    "tonic",
    "rusqlite",
    "axum::",
    "hyper",
    "proto::",
    "store::sqlite",
    "store::postgres",
    "store::redis",
    "eventlog::sqlite",
    "eventlog::jetstream",
    "crate::adapters",
    "std::fs",
    "std::net",
];
/// The kernel holds values: nothing asynchronous, nothing that reads or writes, none of our other crates.
const NOT_IN_KERNEL: [&str; 19] = [
    "async-trait",
    "axum",
    "chassis",
    "eventlog",
    "futures",
    "hyper",
    "hyper-util",
    "mio",
    "prometheus-client",
    "proto",
    "rand",
    "rusqlite",
    "socket2",
    "sqlx",
    "store",
    "tokio",
    "tokio-util",
    "tonic",
    "tower",
];

fn services() -> PathBuf {
    root().join("services")
}

/// The crates in `services/` that are services, in the order of their names.
fn crates() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(services())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !SHARED.contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

fn manifest_of(name: &str) -> String {
    fs::read_to_string(services().join(name).join("Cargo.toml")).unwrap()
}

fn check_layer(layer: &str, forbidden: &[&str]) {
    let mut complaints = Vec::new();
    for name in crates() {
        let files = files_of(&services().join(&name).join("src").join(layer));
        assert!(!files.is_empty(), "{name} has nothing in {layer}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let shown = file.strip_prefix(services()).unwrap().display();
            let found = offences(&text, forbidden);
            complaints
                .extend(found.iter().map(|(line, what)| format!("services/{shown}:{line}: {layer} names `{what}`")));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_service_is_looked_at() {
    let found = crates();
    for name in SERVICES {
        assert!(found.iter().any(|found| found == name), "{name} is not among {found:?}");
    }
}

#[test]
fn every_service_has_the_four_places() {
    for name in crates() {
        for place in PLACES {
            let path = services().join(&name).join("src").join(place);
            assert!(path.exists() || path.with_extension("rs").is_file(), "services/{name}/src/{place} is missing");
        }
    }
}

#[test]
fn the_domain_is_pure() {
    check_layer("domain", &NOT_IN_DOMAIN);
}

#[test]
fn use_cases_name_no_technology_and_no_adapter() {
    check_layer("application", &NOT_IN_APPLICATION);
}

#[test]
fn services_do_not_depend_on_each_other() {
    let all = crates();
    for name in &all {
        for dependency in dependencies(&manifest_of(name)) {
            let neighbour = dependency != *name && all.contains(&dependency);
            assert!(!neighbour, "services/{name}/Cargo.toml: depends on the service {dependency}");
        }
    }
}

#[test]
fn the_shared_crates_depend_on_no_service() {
    for name in SHARED {
        for dependency in dependencies(&manifest_of(name)) {
            assert!(!crates().contains(&dependency), "services/{name}/Cargo.toml: depends on the service {dependency}");
        }
    }
}

#[test]
fn the_kernel_holds_values_and_does_nothing() {
    for dependency in dependencies(&manifest_of("kernel")) {
        assert!(!NOT_IN_KERNEL.contains(&dependency.as_str()), "services/kernel/Cargo.toml: depends on {dependency}");
    }
    for file in rust_files(&services().join("kernel/src")) {
        let text = fs::read_to_string(&file).unwrap();
        let found = offences(&text, &["std::fs", "std::net", "std::thread", "async fn", "async move"]);
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

// The checks themselves can fail.

#[test]
fn finds_what_is_forbidden_and_says_where() {
    let text = "//! Pure.\nuse std::fmt;\nuse tokio::sync::Mutex;\nfn now() -> chassis::Clock {}\n";
    assert_eq!(offences(text, &NOT_IN_DOMAIN), [(3, "tokio"), (4, "chassis::")]);
    assert_eq!(offences("impl From<E> for tonic::Status {}", &NOT_IN_APPLICATION), [(1, "tonic")]);
    assert_eq!(
        offences("    let x = crate::adapters::outbound::sqlite::X;", &NOT_IN_APPLICATION),
        [(1, "crate::adapters")]
    );
}

#[test]
fn comments_and_longer_words_are_not_offences() {
    for innocent in [
        "/// Told to `tonic` by the adapter, never with tokio.",
        "let total = 1; // crate::adapters rounds",
        "let hypersonic = tectonic + retokio; // hyper",
        "mod protocol; use self::protocol::Step;",
        "use crate::domain::adapters_of_old;",
    ] {
        assert_eq!(offences(innocent, &NOT_IN_DOMAIN), [], "{innocent}");
    }
}
