//! The architecture, enforced: what a layer must not name, which crates must not know each other.
//! It reads source text: `use` trees are written out, comments are not code.

use std::fs;
use std::path::{Path, PathBuf};

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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
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

/// All `.rs` files of a layer: a folder with that name, or a file.
fn files_of(layer: &Path) -> Vec<PathBuf> {
    let file = layer.with_extension("rs");
    if file.is_file() {
        return [vec![file], if layer.is_dir() { rust_files(layer) } else { Vec::new() }].concat();
    }
    rust_files(layer)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether `text` names `path`: as whole words, so that `tonic` is not found in `tectonic_plate`.
fn names(text: &str, path: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(path).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + path.len()..].chars().next());
        let goes_on = path.ends_with(is_word) && after.is_some_and(is_word);
        !(goes_on || before.is_some_and(is_word))
    })
}

/// The paths that the tree of a `use` declaration stands for: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut branches, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match (c, depth) {
            (',', 0) => branches.push(String::new()),
            _ => branches.last_mut().unwrap().push(c),
        }
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| paths(branch)).map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// What `text` names of `forbidden`: line number and what.
fn offences<'a>(text: &str, forbidden: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut declaration: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, code(line));
        found.extend(forbidden.iter().filter(|path| names(line, path)).map(|path| (number, *path)));
        let trimmed = line
            .trim_start()
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ");
        if let (None, Some(tree)) = (&declaration, trimmed.strip_prefix("use ")) {
            declaration = Some((number, tree.to_owned()));
        } else if let Some((_, tree)) = &mut declaration {
            tree.push_str(line.trim());
        }
        if let Some((started, tree)) = declaration.take_if(|(_, tree)| tree.contains(';')) {
            let all = paths(tree.trim_end().trim_end_matches(';'));
            let named = forbidden.iter().filter(|path| all.iter().any(|full| names(&full.replace(' ', ""), path)));
            found.extend(named.map(|path| (started, *path)));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The names in `[dependencies]`, those for one platform too, but not those for tests or builds.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside =
                section == "dependencies" || (section.starts_with("target.") && section.ends_with(".dependencies"));
            found.extend(section.strip_prefix("dependencies.").map(str::to_owned));
        } else if inside && let Some((key, _)) = line.split_once(['.', '=', ' ']) {
            found.push(key.trim_matches('"').to_owned());
        }
    }
    found
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
fn finds_what_hides_in_a_tree_of_uses() {
    assert_eq!(
        offences("use crate::{\n    adapters::Sqlite,\n    domain,\n};\n", &NOT_IN_DOMAIN),
        [(1, "crate::adapters")]
    );
    assert_eq!(offences("\npub(crate) use std::{fmt, fs::{self, File}};", &NOT_IN_DOMAIN), [(2, "std::fs")]);
    assert_eq!(offences("use std::{fmt, collections::{BTreeMap, BTreeSet}};\nuse crate::domain;", &NOT_IN_DOMAIN), []);
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

#[test]
fn reads_what_a_crate_depends_on_and_not_what_its_tests_do() {
    let manifest = r#"
        [package]
        name = "order"
        [dependencies]
        kernel.workspace = true
        payment = { path = "../payment" } # alas
        [target.'cfg(unix)'.dependencies]
        user.workspace = true
        [dependencies.product]
        workspace = true
        [dev-dependencies]
        acquirer.workspace = true
        [build-dependencies]
        gateway.workspace = true
    "#;
    assert_eq!(dependencies(manifest), ["kernel", "payment", "user", "product"]);
}
