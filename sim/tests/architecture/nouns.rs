//! No service's noun stands in the crates that all services share: they would be no one's chassis but that shop's.
//! It reads their source: identifiers everywhere, string literals outside unit tests, comments nowhere.

use std::collections::BTreeSet;

use crate::source::{read, root, rust_files};

/// The crates that all services stand on.
const CRATES: [&str; 3] = ["chassis", "store", "eventlog"];

/// The roles, and what each of them speaks of, in the singular.
const NOUNS: [&str; 26] = [
    "account",
    "acquirer",
    "basket",
    "breaker",
    "buyer",
    "cart",
    "catalogue",
    "charge",
    "courier",
    "customer",
    "gateway",
    "inventory",
    "mail",
    "notification",
    "order",
    "password",
    "payment",
    "price",
    "product",
    "profile",
    "refund",
    "reservation",
    "saga",
    "sku",
    "stock",
    "user",
];

/// Words that mean something else there: file, word, and why.
const OTHER_MEANINGS: [(&str, &str, &str); 5] = [
    ("chassis/src/auth.rs", "user", "a caller is a user or a service, to whichever service it calls"),
    ("chassis/src/chaos/http.rs", "user", "a caller, see auth.rs"),
    ("store/src/postgres.rs", "user", "the part of a URL"),
    ("store/src/postgres.rs", "password", "the part of a URL"),
    ("eventlog/src/jetstream/broker.rs", "password", "the part of a URL"),
];

/// Names of libraries, a pragma of SQLite, and two words of SQL.
const FOREIGN: [&str; 3] = ["user_and_password", "user_version", "ORDER BY"];

/// Where a word stands: line number and what it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    line: usize,
    noun: &'static str,
    within: String,
}

/// The words of an identifier or a text, in lower case: `PaymentState`, `payment_state` and `payment state` are two.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut before) = (Vec::new(), String::new(), ' ');
    for c in text.chars().chain([' ']) {
        let begins = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word).to_lowercase());
        }
        if c.is_alphanumeric() {
            word.push(c);
        }
        before = c;
    }
    words
}

/// The noun that a word is, in the singular or in the plural.
fn noun(word: &str) -> Option<&'static str> {
    let is = |noun: &&&str| {
        let plurals = [format!("{noun}s"), noun.strip_suffix('y').map(|stem| format!("{stem}ies")).unwrap_or_default()];
        word == **noun || plurals.iter().any(|plural| plural == word)
    };
    NOUNS.iter().find(is).copied()
}

/// The parts of a source that are not comments: identifiers, and literals when `literals` says so.
struct Source<'a> {
    rest: &'a str,
    line: usize,
}

enum Part<'a> {
    Identifier(&'a str),
    Literal(&'a str),
}

impl<'a> Source<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn length_of_block_comment(&self) -> usize {
        let (mut depth, mut at) = (0, 0);
        while at < self.rest.len() {
            let rest = &self.rest[at..];
            match () {
                () if rest.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
                () if rest.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
                () => at += rest.chars().next().map_or(1, char::len_utf8),
            }
            if depth == 0 {
                return at;
            }
        }
        self.rest.len()
    }

    /// Of a text in quotes, without `r` and `#`.
    fn length_of_quoted(&self) -> usize {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                '"' if !escaped => return at + 1,
                _ => escaped = c == '\\' && !escaped,
            }
        }
        self.rest.len()
    }

    /// Of a raw text, if there is one here.
    fn length_of_raw(&self) -> Option<usize> {
        let after = self.rest.strip_prefix('b').unwrap_or(self.rest).strip_prefix('r')?;
        let hashes = after.len() - after.trim_start_matches('#').len();
        after[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let begins = self.rest.len() - after.len() + hashes + 1;
        Some(self.rest[begins..].find(&end).map_or(self.rest.len(), |at| begins + at + end.len()))
    }

    /// Of a character in quotes; a lifetime is none.
    fn length_of_character(&self) -> usize {
        let mut chars = self.rest.char_indices().skip(1);
        match (chars.next(), chars.next()) {
            (Some((_, '\\')), _) => self.rest[3..].find('\'').map_or(1, |at| at + 4),
            (Some(_), Some((at, '\''))) => at + 1,
            _ => 1,
        }
    }

    fn next(&mut self) -> Option<(usize, Part<'a>)> {
        while let Some(first) = self.rest.chars().next() {
            let line = self.line;
            if self.rest.starts_with("//") {
                let length = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(length);
            } else if self.rest.starts_with("/*") {
                self.take(self.length_of_block_comment());
            } else if first == '"' {
                return Some((line, Part::Literal(self.take(self.length_of_quoted()))));
            } else if let Some(length) = self.length_of_raw() {
                return Some((line, Part::Literal(self.take(length))));
            } else if first == '\'' {
                self.take(self.length_of_character());
            } else if first.is_alphabetic() || first == '_' {
                let goes_on = |c: char| c.is_alphanumeric() || c == '_';
                let length = self.rest.find(|c| !goes_on(c)).unwrap_or(self.rest.len());
                return Some((line, Part::Identifier(self.take(length))));
            } else {
                self.take(first.len_utf8());
            }
        }
        None
    }
}

/// The nouns in a source, where unit tests come last.
fn nouns(source: &str) -> Vec<Found> {
    let tests_from = source.find("#[cfg(test)]").map_or(usize::MAX, |at| source[..at].matches('\n').count() + 1);
    let mut found = Vec::new();
    let mut reader = Source { rest: source, line: 1 };
    while let Some((line, part)) = reader.next() {
        let text = match part {
            Part::Identifier(name) => name.to_owned(),
            Part::Literal(_) if line >= tests_from => continue,
            Part::Literal(text) => text.to_owned(),
        };
        let own = FOREIGN.iter().fold(text.clone(), |text, foreign| text.replace(foreign, " "));
        let named = words(&own).iter().filter_map(|word| noun(word)).collect::<BTreeSet<_>>();
        found.extend(named.into_iter().map(|noun| Found { line, noun, within: text.clone() }));
    }
    found
}

#[test]
fn no_service_s_noun_stands_in_what_all_services_share() {
    let services = root().join("services");
    let (mut complaints, mut other_meanings) = (Vec::new(), BTreeSet::new());
    for name in CRATES {
        let files = rust_files(&services.join(name).join("src"));
        assert!(files.len() >= 5, "services/{name}/src has moved: {files:?}");
        for file in files {
            let shown = file.strip_prefix(&services).unwrap().to_str().unwrap().to_owned();
            for Found { line, noun, within } in nouns(&read(&file)) {
                match OTHER_MEANINGS.iter().find(|other| (other.0, other.1) == (&shown, noun)) {
                    Some(other) => drop(other_meanings.insert(other)),
                    None => complaints.push(format!("services/{shown}:{line}: `{noun}` in `{within}`")),
                }
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    let stale: Vec<_> = OTHER_MEANINGS.iter().filter(|other| !other_meanings.contains(other)).collect();
    assert!(stale.is_empty(), "these stand there no more: {stale:?}");
}

// The check itself can fail.

#[test]
fn finds_a_noun_in_whatever_form_it_is_planted() {
    for (planted, noun) in [
        ("enum Stream { Payments }", "payment"),
        ("fn reserve_stock() {}", "stock"),
        ("const INVENTORIES: u8 = 1;", "inventory"),
        ("let text = \"events.order.1\";", "order"),
        ("let text = r#\"a \"courier\" comes\"#;", "courier"),
        ("struct OrderId<'a>(&'a str);", "order"),
        ("let quote = '\"'; struct Saga;", "saga"),
        ("#[cfg(test)]\nmod tests {\n    struct Buyer;\n}", "buyer"),
    ] {
        let found: Vec<_> = nouns(planted).into_iter().map(|found| found.noun).collect();
        assert_eq!(found, [noun], "{planted}");
    }
}

#[test]
fn says_on_which_line_it_stands_and_in_what() {
    let text = "//! Order.\n/* a payment\n   of */ fn a() {\n    let text = \"two\n lines\";\n    charge_card();\n}\n";
    assert_eq!(nouns(text), [Found { line: 6, noun: "charge", within: "charge_card".into() }]);
}

#[test]
fn comments_sql_longer_words_and_texts_of_tests_are_no_nouns() {
    for innocent in [
        "// the order of payments",
        "/* a /* nested */ saga */",
        "let sql = \"SELECT 1 ORDER BY 1\";",
        "use std::sync::atomic::Ordering;",
        "fn reorder_stockings() {}",
        "options.user_and_password(name, secret)",
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    const ROLE: &str = \"order\";\n}",
    ] {
        assert_eq!(nouns(innocent), [], "{innocent}");
    }
}
