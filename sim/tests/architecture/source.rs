//! Reads Rust source as text: `use` trees are written out, comments are not code, and tests are left out where the
//! product alone is looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All `.rs` files of a layer: a folder with that name, or a file.
pub fn files_of(layer: &Path) -> Vec<PathBuf> {
    let file = layer.with_extension("rs");
    if file.is_file() {
        return [vec![file], if layer.is_dir() { rust_files(layer) } else { Vec::new() }].concat();
    }
    rust_files(layer)
}

pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
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
pub fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The text without comments and without the module of unit tests at its end.
pub fn product(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// Whether `text` names `path`: as whole words, so that `tonic` is not found in `tectonic_plate`.
pub fn names(text: &str, path: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(path).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + path.len()..].chars().next());
        let goes_on = path.ends_with(is_word) && after.is_some_and(is_word);
        !(goes_on || before.is_some_and(is_word))
    })
}

/// The paths that the tree of a `use` declaration stands for: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
pub fn paths(tree: &str) -> Vec<String> {
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

/// A `use` declaration, if one begins in this line: what follows `use`.
fn use_tree(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = ["pub ", "pub(crate) ", "pub(super) "].iter().find_map(|vis| line.strip_prefix(vis)).unwrap_or(line);
    line.strip_prefix("use ")
}

/// What `text` names of `forbidden`: line number and what.
pub fn offences<'a>(text: &str, forbidden: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut declaration: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, code(line));
        found.extend(forbidden.iter().filter(|path| names(line, path)).map(|path| (number, *path)));
        if let (None, Some(tree)) = (&declaration, use_tree(line)) {
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

/// Every path that the product part of `text` names, with its line: in `use` declarations, and elsewhere.
fn named_paths(text: &str) -> [Vec<(usize, String)>; 2] {
    let text = product(text);
    let [mut imported, mut inline] = [Vec::new(), Vec::new()];
    let mut declaration: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let (None, Some(tree)) = (&declaration, use_tree(line)) {
            declaration = Some((number, tree.to_owned()));
        } else if let Some((_, tree)) = &mut declaration {
            tree.push_str(line.trim());
        } else {
            inline.extend(inline_paths(line).into_iter().map(|path| (number, path)));
        }
        if let Some((started, tree)) = declaration.take_if(|(_, tree)| tree.contains(';')) {
            let tree = tree.trim_end().trim_end_matches(';').replace(' ', "");
            imported.extend(paths(&tree).into_iter().map(|path| (started, path)));
        }
    }
    [imported, inline]
}

/// Words joined by `::` in a line of code.
fn inline_paths(line: &str) -> Vec<String> {
    let joined = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = line.split(|c: char| !joined(c)).map(|word| word.trim_matches(':'));
    words.filter(|word| word.contains("::")).map(str::to_owned).collect()
}

/// The names in `[dependencies]`, those for one platform too, but not those for tests or builds.
pub fn dependencies(manifest: &str) -> Vec<String> {
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

/// The source files of one crate, each as the module that it is.
pub struct Crate {
    pub modules: Vec<Module>,
}

pub struct Module {
    /// Its path from the crate's name on: `["audit", "invariants", "money"]`.
    pub path: Vec<String>,
    /// The file, from the root of the workspace on.
    pub file: String,
    /// What the file's product part names: line, and the whole path from the crate's name on.
    pub named: Vec<(usize, Vec<String>)>,
}

impl Crate {
    /// The crate in `folder`, without its tests.
    pub fn read(name: &str, folder: &str) -> Self {
        let src = root().join(folder).join("src");
        let texts = rust_files(&src).into_iter().filter_map(|file| {
            let inside = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            let is_test = inside.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "main.rs"));
            (!is_test).then(|| (format!("{folder}/src/{inside}"), inside, read(&file)))
        });
        Self::of(name, texts)
    }

    /// The crate `name` of these files: the name to show, the path inside `src`, the text.
    pub fn of(name: &str, texts: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let files: Vec<(Vec<String>, String, String)> = texts
            .into_iter()
            .map(|(shown, inside, text)| {
                let parts = inside.trim_end_matches(".rs").split('/').map(str::to_owned);
                let parts = parts.filter(|part| part != "mod" && part != "lib");
                (std::iter::once(name.to_owned()).chain(parts).collect(), shown, text)
            })
            .collect();
        let known: Vec<Vec<String>> = files.iter().map(|(path, ..)| path.clone()).collect();
        let modules = files.into_iter().map(|(path, file, text)| {
            let [imported, inline] = named_paths(&text);
            let imported = imported.into_iter().map(|(line, named)| (line, whole(&named, &path, &known)));
            let imported: Vec<(usize, Vec<String>)> = imported.collect();
            let inline = inline.into_iter().map(|(line, named)| {
                let (first, rest) = named.split_once("::").unwrap_or((&named, ""));
                // A name that the file imports means what it was imported as.
                match imported
                    .iter()
                    .find(|(_, import)| import.len() > 1 && import.last().is_some_and(|last| last == first))
                {
                    Some((_, import)) => {
                        (line, [import.clone(), rest.split("::").map(str::to_owned).collect()].concat())
                    }
                    None => (line, whole(&named, &path, &known)),
                }
            });
            let inline: Vec<(usize, Vec<String>)> = inline.collect();
            Module { path, file, named: [imported, inline].concat() }
        });
        let mut modules: Vec<Module> = modules.collect();
        modules.sort_by(|one, other| one.path.cmp(&other.path));
        Self { modules }
    }
}

/// What `named`, written in the module `here`, means from a crate's name on. A first word that is no module beside or
/// below is another crate's name.
fn whole(named: &str, here: &[String], known: &[Vec<String>]) -> Vec<String> {
    let mut words = named.split("::").map(str::to_owned).peekable();
    let mut base = match words.peek().map(String::as_str) {
        Some("crate") => here[..1].to_vec(),
        Some("self" | "super") => here.to_vec(),
        Some(first) if known.contains(&[here, &[first.to_owned()]].concat()) => here.to_vec(),
        _ => Vec::new(),
    };
    for word in words {
        match word.as_str() {
            "crate" | "self" | "" => {}
            "super" => drop(base.pop()),
            _ => base.push(word),
        }
    }
    base
}

// The reading itself can be wrong.
mod tests {
    use super::*;

    fn file(inside: &str, text: &str) -> (String, String, String) {
        (inside.to_owned(), inside.to_owned(), text.to_owned())
    }

    fn named(krate: &Crate, at: usize) -> Vec<(usize, String)> {
        krate.modules[at].named.iter().map(|(line, path)| (*line, path.join("::"))).collect()
    }

    #[test]
    fn a_path_is_told_from_the_crate_s_name_on() {
        let here = "use super::books::Books;\nuse crate::witness;\nuse load::{Api, clock::LoadClock};\nself::x::y();";
        let there = "mod money;\nuse money::Sum;\n// crate::nothing\nfn f() { crate::books::open(super::g()) }";
        let files = [("books.rs", ""), ("invariants/mod.rs", there), ("invariants/money.rs", ""), ("sqlite.rs", here)];
        let krate = Crate::of("audit", files.map(|(inside, text)| file(inside, text)));
        assert_eq!(
            named(&krate, 1),
            [(2, "audit::invariants::money::Sum".into()), (4, "audit::books::open".into()), (4, "audit::g".into())]
        );
        assert_eq!(
            named(&krate, 3),
            [
                (1, "audit::books::Books".into()),
                (2, "audit::witness".into()),
                (3, "load::Api".into()),
                (3, "load::clock::LoadClock".into()),
                (4, "audit::sqlite::x::y".into()),
            ]
        );
    }

    #[test]
    fn an_imported_name_means_what_it_was_imported_as() {
        let text = "use super::{load, keys as other};\nfn f() { load::KEYS; shop::X }";
        let files = [("load.rs", ""), ("reference/mod.rs", ""), ("reference/text.rs", text), ("lib.rs", "")];
        let krate = Crate::of("scenario", files.map(|(inside, text)| file(inside, text)));
        let at = krate.modules.iter().position(|module| module.path.len() == 3).unwrap();
        assert!(named(&krate, at).contains(&(2, "scenario::reference::load::KEYS".into())), "{:?}", named(&krate, at));
        assert!(named(&krate, at).contains(&(2, "shop::X".into())));
    }

    #[test]
    fn unit_tests_and_comments_name_nothing() {
        let text = "/// crate::a::b\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::c::d;\n}\n";
        assert_eq!(named_paths(text), [vec![], vec![]]);
    }

    #[test]
    fn finds_what_hides_in_a_tree_of_uses() {
        let forbidden = ["crate::adapters", "std::fs"];
        assert_eq!(
            offences("use crate::{\n    adapters::Sqlite,\n    domain,\n};\n", &forbidden),
            [(1, "crate::adapters")]
        );
        assert_eq!(offences("\npub(crate) use std::{fmt, fs::{self, File}};", &forbidden), [(2, "std::fs")]);
        assert_eq!(offences("use std::{fmt, collections::{BTreeMap, BTreeSet}};\nuse crate::domain;", &forbidden), []);
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
}
