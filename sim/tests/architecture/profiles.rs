//! The build profiles do what they say: every crate that an order passes through is fully optimised, in `release` and
//! in `dist`. A profile inherits the overrides of single packages with the rest, and they beat its own `opt-level`.

use std::collections::BTreeMap;

use crate::circles::workspace;
use crate::source::{self, root};

/// What optimised builds are called.
const OPTIMISED: [&str; 2] = ["release", "dist"];
/// Crates of others that an order passes through, in one family of adapters or the other.
const HOT: [&str; 30] = [
    "async-nats",
    "axum",
    "bytes",
    "futures-util",
    "h2",
    "hashbrown",
    "hdrhistogram",
    "http",
    "hyper",
    "hyper-util",
    "indexmap",
    "libmimalloc-sys",
    "libsqlite3-sys",
    "mio",
    "parking_lot",
    "prometheus-client",
    "prost",
    "redis",
    "rusqlite",
    "serde_json",
    "slab",
    "sqlx-core",
    "sqlx-postgres",
    "tokio",
    "tokio-util",
    "tonic",
    "tonic-prost",
    "tower",
    "tracing",
    "turmoil",
];

/// The crates of this workspace.
fn ours() -> Vec<String> {
    workspace().into_iter().map(|(name, _)| name).chain(["proto".to_owned()]).collect()
}

/// Every value of a manifest under its whole key, such as `profile.dist.package.tokio.opt-level`. Reads what a list of
/// profiles needs of TOML: tables, dotted keys, and tables within a line.
fn settings(manifest: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut section = String::new();
    for line in manifest.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()) {
        if let Some(name) = line.strip_prefix('[') {
            section = plain(name.trim_end_matches(']'));
        } else if !line.starts_with('#')
            && let Some((key, value)) = line.split_once('=')
        {
            read(&format!("{section}.{}", plain(key)), value.trim(), &mut found);
        }
    }
    found
}

fn read(key: &str, value: &str, found: &mut BTreeMap<String, String>) {
    match value.strip_prefix('{').and_then(|value| value.strip_suffix('}')) {
        Some(table) => {
            for (inner, value) in table.split(',').filter_map(|entry| entry.split_once('=')) {
                found.insert(format!("{key}.{}", plain(inner)), plain(value));
            }
        }
        None => _ = found.insert(key.to_owned(), plain(value)),
    }
}

fn plain(text: &str) -> String {
    text.trim().replace('"', "")
}

/// The `opt-level` that Cargo takes for a crate: that of the crate's own override, of `"*"`, which means the crates of
/// others alone, or of the profile; each from the profile itself, or from the one that it inherits.
fn opt_level(settings: &BTreeMap<String, String>, profile: &str, name: &str, ours: bool) -> String {
    let any = (!ours).then_some("package.*.opt-level");
    let own = format!("package.{name}.opt-level");
    let keys = [Some(own.as_str()), any, Some("opt-level")];
    let inherited = settings.get(&format!("profile.{profile}.inherits")).map(String::as_str);
    let profiles = [Some(profile), inherited];
    for key in keys.into_iter().flatten() {
        for profile in profiles.into_iter().flatten() {
            if let Some(level) = settings.get(&format!("profile.{profile}.{key}")) {
                return level.clone();
            }
        }
    }
    "3".to_owned()
}

/// Each crate of the hot path that is not fully optimised, with its profile and level.
fn slow(manifest: &str, ours: &[String]) -> Vec<String> {
    let settings = settings(manifest);
    let mut found = Vec::new();
    for profile in OPTIMISED {
        let ours = ours.iter().map(|name| (name.as_str(), true));
        for (name, ours) in ours.chain(HOT.map(|name| (name, false))) {
            let level = opt_level(&settings, profile, name, ours);
            if level != "3" {
                found.push(format!("{profile}: {name} at opt-level {level}"));
            }
        }
    }
    found
}

#[test]
fn what_an_order_passes_through_is_fully_optimised() {
    let manifest = source::read(&root().join("Cargo.toml"));
    let found = slow(&manifest, &ours());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn dist_is_release_with_optimisation_across_all_crates() {
    let manifest = source::read(&root().join("Cargo.toml"));
    let settings = settings(&manifest);
    for (key, value) in [("inherits", "release"), ("lto", "fat"), ("codegen-units", "1")] {
        assert_eq!(settings.get(&format!("profile.dist.{key}")).map(String::as_str), Some(value), "{key}");
    }
}

#[test]
fn every_crate_of_the_hot_path_is_one_that_is_built() {
    let lock = source::read(&root().join("Cargo.lock"));
    for name in HOT.map(str::to_owned).into_iter().chain(ours()) {
        assert!(lock.contains(&format!("name = \"{name}\"\n")), "{name} is in no build");
    }
}

// The checks themselves can fail.

#[test]
fn finds_what_a_profile_inherits_and_its_star_does_not_lift() {
    let manifest = r#"
        [profile.release]
        opt-level = 1
        [profile.release.package."*"]
        opt-level = 1
        [profile.release.package.tokio]
        opt-level = 2 # an order passes through it
        [profile.release.package.argon2]
        opt-level = 0
        [profile.dist]
        inherits = "release"
        opt-level = 3
        package.h2.opt-level = 1
        [profile.dist.package]
        "*" = { opt-level = 3 }
        hyper = { codegen-units = 1, opt-level = "s" }
    "#;
    let found = slow(manifest, &["chassis".to_owned()]);
    let in_dist: Vec<&String> = found.iter().filter(|complaint| complaint.starts_with("dist")).collect();
    assert_eq!(in_dist, ["dist: h2 at opt-level 1", "dist: hyper at opt-level s", "dist: tokio at opt-level 2"]);
    assert_eq!(found.len() - in_dist.len(), 1 + HOT.len());
}
