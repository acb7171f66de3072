//! The instrument's floors: a room may import rooms of lower floors, and neighbours on its own floor that do not
//! import it back.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Crate;

/// Every room of the instrument, by the path under which others import it, and its floor.
const ROOMS: [(&str, u8); 17] = [
    ("shop", 0),
    ("shop::machine", 0),
    ("audit", 0),
    ("shop::fault", 1),
    ("shop::http", 1),
    ("scenario", 2),
    ("world", 2),
    ("world::probe", 2),
    ("load", 2),
    ("experiment::run", 3),
    ("experiment::report", 4),
    ("world::infra", 5),
    ("shopctl::explain", 5),
    ("shopctl::tui", 5),
    ("shopctl::campaign", 6),
    ("shopctl::bench", 6),
    ("shopctl::cli", 7),
];

/// The crates of the instrument and their folders.
const CRATES: [(&str, &str); 7] = [
    ("shop", "sim/shop"),
    ("audit", "sim/audit"),
    ("scenario", "sim/scenario"),
    ("world", "sim/world"),
    ("load", "sim/load"),
    ("experiment", "sim/experiment"),
    ("shopctl", "sim"),
];

/// The room that a path leads into, if it is one of the instrument's.
fn room(path: &[String]) -> Option<(&'static str, u8)> {
    let path = path.join("::");
    let inside = |room: &str| path == room || path.starts_with(&format!("{room}::"));
    ROOMS.into_iter().filter(|(room, _)| inside(room)).max_by_key(|(room, _)| room.len())
}

/// Arrows that go up, or that close a circle of rooms: one line each.
fn complaints(crates: &[Crate]) -> Vec<String> {
    let mut found = Vec::new();
    let mut level: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for module in crates.iter().flat_map(|krate| &krate.modules) {
        // The roots of crates that have several rooms only list them.
        let Some((from, floor)) = room(&module.path) else { continue };
        for (line, named) in &module.named {
            match room(named) {
                Some((to, above)) if above > floor => {
                    found.push(format!("{}:{line}: {from} (floor {floor}) imports {to} (floor {above})", module.file));
                }
                Some((to, same)) if same == floor && to != from => {
                    level.entry(from).or_default().insert(to);
                }
                _ => {}
            }
        }
    }
    let back = |from: &str, to: &str| level.get(to).is_some_and(|others| others.contains(from));
    for (from, others) in &level {
        let circles = others.iter().filter(|to| back(from, to));
        found.extend(circles.map(|to| format!("{from} and {to}, on one floor, import each other")));
    }
    found
}

#[test]
fn imports_in_the_instrument_go_down() {
    let crates: Vec<Crate> = CRATES.iter().map(|(name, folder)| Crate::read(name, folder)).collect();
    let found = complaints(&crates);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_module_of_the_instrument_has_a_room_and_every_room_a_module() {
    let mut empty: BTreeSet<&str> = ROOMS.into_iter().map(|(room, _)| room).collect();
    for (name, folder) in CRATES {
        for module in Crate::read(name, folder).modules {
            match room(&module.path) {
                Some((room, _)) => drop(empty.remove(room)),
                None => assert_eq!(module.path.len(), 1, "{}: on no floor", module.file),
            }
        }
    }
    assert!(empty.is_empty(), "{empty:?}");
}

// The check itself can fail.

fn of(name: &str, files: &[(&str, &str)]) -> Crate {
    let files = files.iter().map(|(inside, text)| ((*inside).to_owned(), (*inside).to_owned(), (*text).to_owned()));
    Crate::of(name, files)
}

#[test]
fn finds_an_import_that_goes_up_and_says_where() {
    let load = of("load", &[("lib.rs", "mod api;"), ("api.rs", "use shop::http;\nuse experiment::run::Conducted;")]);
    assert_eq!(complaints(&[load]), ["api.rs:2: load (floor 2) imports experiment::run (floor 3)"]);
    let inside = of(
        "shopctl",
        &[
            ("explain/story.rs", "fn f() { crate::cli::say(super::super::cli::X) }"),
            ("cli/mod.rs", "use crate::explain;"),
        ],
    );
    assert_eq!(complaints(&[inside]).len(), 2);
}

#[test]
fn finds_rooms_of_one_floor_that_import_each_other() {
    let load = of("load", &[("lib.rs", "use world::Surroundings;")]);
    let world = of("world", &[("lib.rs", "use shop::Role;"), ("real.rs", "use load::clock;")]);
    assert_eq!(complaints(&[load]), Vec::<String>::new());
    let load = of("load", &[("lib.rs", "use world::Surroundings;")]);
    assert_eq!(complaints(&[load, world]).len(), 2);
}
