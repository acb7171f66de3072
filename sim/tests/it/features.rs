//! `docs/features.md` names what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const NOT_YET: &str = "—";

/// The names of all functions below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.split("fn ").skip(1).filter_map(|rest| Some(rest.split_once(['(', '<'])?.0));
            names.extend(named.map(str::to_owned));
        }
    }
}

fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of all tables: a feature, where it is, its tests.
fn rows(page: &str) -> Vec<[&str; 3]> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.map(|line| line.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>());
    let rows = cells.map(|cells| <[&str; 3]>::try_from(cells.clone()).unwrap_or_else(|_| panic!("{cells:?}")));
    rows.filter(|[feature, ..]| *feature != "feature").collect()
}

#[test]
fn every_place_and_every_test_that_it_names_exists() {
    let page = fs::read_to_string(format!("{ROOT}/docs/features.md")).unwrap();
    let mut tests = BTreeSet::new();
    for folder in ["services", "sim", "servers"] {
        functions(&Path::new(ROOT).join(folder), &mut tests);
    }
    let rows = rows(&page);
    assert!(rows.len() > 40, "{} rows", rows.len());
    for [feature, places, shown_by] in rows {
        assert_eq!(places == NOT_YET, shown_by == NOT_YET, "{feature}");
        if places == NOT_YET {
            continue;
        }
        for place in quoted(places) {
            assert!(Path::new(ROOT).join(place).exists(), "{feature}: there is no {place}");
        }
        assert!(!quoted(places).is_empty() && !quoted(shown_by).is_empty(), "{feature}");
        for test in quoted(shown_by) {
            assert!(tests.contains(test), "{feature}: there is no test {test}");
        }
    }
}
