//! Scenarios that are not right, one file for each way: what a person is told about them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Bench, TINY};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broken");
/// What is wrong with these is not on one line.
const AS_A_WHOLE: [&str; 4] = ["binary", "control-character", "empty", "only-comments"];

fn broken() -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What `scenario check` says, after it has exited 104.
fn told(file: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopctl"));
    command.args(["scenario", "check"]).arg(file.file_name().unwrap()).current_dir(FOLDER).env_remove("SHOPCTL_LOG");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(104), "{}: {said}", file.display());
    assert!(output.stdout.is_empty(), "{}", file.display());
    said
}

/// Whether each error begins with `error: FILE:LINE:COLUMN: `, or with `error: FILE: `.
fn has_places(said: &str, file: &str, as_a_whole: bool) -> bool {
    let mut errors = said.lines().filter_map(|line| line.strip_prefix("error: ")).peekable();
    let number = |text: Option<&str>| text.is_some_and(|text| text.parse::<usize>().is_ok_and(|number| number > 0));
    let placed = |error: &str| {
        let Some(rest) = error.strip_prefix(file) else { return false };
        let mut parts = rest.splitn(4, ':').skip(1);
        if as_a_whole {
            rest.starts_with(": ")
        } else {
            number(parts.next()) && number(parts.next()) && parts.next().is_some_and(|said| said.starts_with(' '))
        }
    };
    errors.peek().is_some() && errors.all(placed)
}

#[test]
fn every_broken_scenario_is_refused_with_the_place_and_a_hint() {
    let files = broken();
    assert!(files.len() > 50, "{}", files.len());
    for file in files {
        let said = told(&file);
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let as_a_whole = AS_A_WHOLE.contains(&stem);
        assert!(has_places(&said, &format!("{stem}.yaml"), as_a_whole), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        insta::assert_snapshot!(stem, said);
    }
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let bench = Bench::new(TINY);
    fs::write(bench.path("huge.yaml"), "# much\n".repeat(2_000_000)).unwrap();
    let said = bench.shopctl(&["scenario", "check", "huge.yaml"]).exits(104).stderr();
    assert_eq!(said, "error: huge.yaml: larger than 1024 KiB, the most a scenario may have\n");
}
