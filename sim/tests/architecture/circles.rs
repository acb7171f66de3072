//! Neighbours, the modules of one folder, do not import each other in a circle, directly or over others: one of them
//! can then be read, tested and moved without the rest. A module and the folder that it is in are no neighbours.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Crate, read, root};

/// An import between two neighbours: from, to, where it stands.
type Arrows = BTreeMap<(String, String), String>;

/// The imports between the modules of each folder of a crate.
fn arrows(krate: &Crate) -> BTreeMap<Vec<String>, Arrows> {
    let folders: BTreeSet<&[String]> = krate.modules.iter().flat_map(|module| prefixes(&module.path)).collect();
    let mut found: BTreeMap<Vec<String>, Arrows> = BTreeMap::new();
    for module in &krate.modules {
        for (line, named) in &module.named {
            let shared = module.path.iter().zip(named).take_while(|(one, other)| one == other).count();
            let (Some(from), Some(to)) = (module.path.get(shared), named.get(shared)) else { continue };
            // A name that is no module is an item of the folder itself.
            if shared == 0 || !folders.contains(&named[..=shared]) {
                continue;
            }
            let arrows = found.entry(named[..shared].to_vec()).or_default();
            arrows.entry((from.clone(), to.clone())).or_insert_with(|| format!("{}:{line}", module.file));
        }
    }
    found
}

fn prefixes(path: &[String]) -> impl Iterator<Item = &[String]> {
    (1..=path.len()).map(|length| &path[..length])
}

/// A circle among the neighbours, if there is one: each arrow with the place where it is written.
fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    let starts: BTreeSet<&String> = arrows.keys().map(|(from, _)| from).collect();
    starts.into_iter().find_map(|start| way_back(arrows, start))
}

/// The shortest way from `start` to itself.
fn way_back(arrows: &Arrows, start: &String) -> Option<Vec<String>> {
    let mut reached: BTreeMap<&String, Vec<String>> = BTreeMap::from([(start, Vec::new())]);
    let mut news = vec![start];
    while !news.is_empty() {
        let mut next = Vec::new();
        for at in news {
            for ((from, to), place) in arrows.iter().filter(|((from, _), _)| from == at) {
                let way = [reached[at].as_slice(), &[format!("{from} → {to} ({place})")]].concat();
                if to == start {
                    return Some(way);
                }
                if !reached.contains_key(to) {
                    reached.insert(to, way);
                    next.push(to);
                }
            }
        }
        news = next;
    }
    None
}

fn circles(krate: &Crate) -> Vec<String> {
    let found = arrows(krate).into_iter().filter_map(|(folder, arrows)| Some((folder, circle(&arrows)?)));
    found.map(|(folder, way)| format!("{}: {}", folder.join("::"), way.join(", "))).collect()
}

/// Every crate of the workspace: name and folder.
pub fn workspace() -> Vec<(String, String)> {
    let folders = ["services", "sim"].into_iter().flat_map(|folder| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        entries.map(move |entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
    });
    let folders = folders.chain(["sim".to_owned(), "servers".to_owned()]);
    let mut crates: Vec<(String, String)> = folders
        .filter(|folder| root().join(folder).join("Cargo.toml").is_file())
        .map(|folder| {
            let manifest = read(&root().join(&folder).join("Cargo.toml"));
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
            (name.trim_end_matches('"').to_owned(), folder)
        })
        .collect();
    crates.sort();
    crates
}

#[test]
fn no_neighbours_import_each_other_in_a_circle() {
    let crates = workspace();
    assert!(crates.len() > 17, "{crates:?}");
    let all = crates.iter().flat_map(|(name, folder)| circles(&Crate::read(name, folder)));
    let found: Vec<String> = all.collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

// The check itself can fail.

fn of(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(inside, text)| ((*inside).to_owned(), (*inside).to_owned(), (*text).to_owned()));
    circles(&Crate::of("x", files))
}

#[test]
fn finds_a_circle_and_says_where_each_arrow_stands() {
    let found = of(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b/mod.rs", "fn f() {\n crate::a::g() }")]);
    assert_eq!(found, ["x: a → b (a.rs:1), b → a (b/mod.rs:2)"]);
    let over_another =
        of(&[("p/a.rs", "use super::b;"), ("p/b.rs", "use super::c::C;"), ("p/c.rs", "use crate::p::a;")]);
    assert_eq!(over_another, ["x::p: a → b (p/a.rs:1), b → c (p/b.rs:1), c → a (p/c.rs:1)"]);
}

#[test]
fn a_module_and_its_folder_are_no_circle() {
    let found = of(&[
        ("lib.rs", "pub mod a;\nuse a::inner::I;"),
        ("a/mod.rs", "mod inner;\nuse inner::I;\nuse crate::b::B;\npub struct A;"),
        ("a/inner.rs", "use super::A;\nuse crate::Item;"),
        ("b.rs", "use std::fmt;\nuse other::a::X;"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}
