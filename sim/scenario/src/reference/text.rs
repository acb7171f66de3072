//! The reference part of `docs/scenarios.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::KEYS;
use super::super::invariants::{INVARIANTS_DESCRIBED, Oracle};
use super::super::journey::STEPS;
use super::super::keys::{Key, Need};
use super::super::load::EXECUTORS;
use super::super::metrics::{METRICS, Metric, MetricKind, WHOLE_RUN_ONLY, aggregates};
use super::{SECTIONS, Services};
use shop::fault::vocabulary::{self, How};

/// Everything that a scenario may hold, in Markdown.
pub fn text(services: &Services<'_>) -> String {
    let mut text = String::from("## Reference\n\n### The file\n\n");
    keys(&mut text, KEYS);
    for section in SECTIONS {
        if section.name == "order" {
            steps(&mut text);
        }
        let _ = write!(text, "\n### `{}`\n\n", section.name);
        if section.name == "group" {
            executors(&mut text);
        }
        keys(&mut text, section.keys);
        match section.name {
            "fault" => targets(&mut text, services),
            "during" => whole_run_only(&mut text),
            _ => {}
        }
    }
    metrics(&mut text);
    invariants(&mut text);
    settings(&mut text, services);
    text
}

/// A table with these columns; its rows follow.
fn table(text: &mut String, columns: &[&str]) {
    row(text, columns);
    text.push_str(&"|---".repeat(columns.len()));
    text.push_str("|\n");
}

fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn keys(text: &mut String, keys: &[Key]) {
    table(text, &["key", "value", "left out", "meaning"]);
    for key in keys {
        let left_out = match key.need {
            Need::Required => "required".to_owned(),
            Need::Default(default) => format!("`{default}`"),
            Need::Optional => String::new(),
        };
        row(text, &[&format!("`{}`", key.name), &key.shape.words(), &left_out, key.meaning]);
    }
}

/// `a`, `b`
fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn executors(text: &mut String) {
    table(text, &["`executor`", "needs", "takes", "meaning"]);
    for executor in EXECUTORS {
        let (needs, takes) = (quoted(executor.required.iter().copied()), quoted(executor.optional.iter().copied()));
        row(text, &[&format!("`{}`", executor.name), &needs, &takes, executor.meaning]);
    }
    text.push('\n');
}

/// Before the keys of the one that has some.
fn steps(text: &mut String) {
    text.push_str("\n### `step`\n\n");
    table(text, &["step", "meaning"]);
    for step in STEPS {
        row(text, &[&format!("`{}`", step.example), step.meaning]);
    }
}

fn targets(text: &mut String, services: &Services<'_>) {
    text.push('\n');
    table(text, &["target", "kind", "parameters", "meaning"]);
    let mut told = BTreeSet::new();
    for (target, kind) in services.targets.iter().flat_map(|target| target.kinds.iter().map(move |kind| (target, kind)))
    {
        let target = vocabulary::pattern(target);
        if !told.insert((target, kind.name)) {
            continue;
        }
        let parameters = kind.parameters.iter().map(|parameter| {
            let default = parameter.default.map_or_else(|| "required".to_owned(), |default| format!("`{default}`"));
            format!("`{}`: {} ({default})", parameter.name, parameter.meaning)
        });
        let parameters = parameters.collect::<Vec<_>>().join("; ");
        row(text, &[&format!("`{target}`"), &format!("`{}`", kind.name), &parameters, kind.meaning]);
    }
    worlds(text);
    text.push('\n');
    table(text, &["name", "stands for", "there are"]);
    for (pattern, words) in vocabulary::PATTERNS {
        let names: Vec<_> = vocabulary::named_by(pattern).collect();
        let listed = match pattern {
            "point:NAME" => format!("{}; `shopctl fault kinds` lists them", names.len()),
            _ => quoted(names),
        };
        row(text, &[&format!("`{pattern}`"), words, &listed]);
    }
}

/// What a fault is in which world.
fn worlds(text: &mut String) {
    text.push('\n');
    table(text, &["target", "kind", "`simulate`", "`run`", "`run` on servers"]);
    for row_of in vocabulary::matrix() {
        let told = |how: How| match how {
            How::Real => how.word().to_owned(),
            How::Emulated(why) | How::NotApplicable(why) => format!("{}: {why}", how.word()),
        };
        let [simulate, embedded, servers] = [row_of.simulate, row_of.embedded, row_of.servers].map(told);
        row(text, &[&format!("`{}`", row_of.target), &format!("`{}`", row_of.kind), &simulate, &embedded, &servers]);
    }
}

fn whole_run_only(text: &mut String) {
    text.push_str("\nNot in `during`: ");
    let reasons = WHOLE_RUN_ONLY.iter().map(|(metric, why)| format!("`{metric}` ({why})"));
    let _ = writeln!(text, "{}.", reasons.collect::<Vec<_>>().join(", "));
}

fn kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Trend => "duration",
        MetricKind::Rate => "share",
        MetricKind::Counter => "counter",
    }
}

fn metrics(text: &mut String) {
    text.push_str("\n### `thresholds`\n\n");
    table(text, &["metric", "kind", "aggregates", "tags", "meaning"]);
    for metric in METRICS {
        let tags = quoted(metric.tags.iter().map(|(tag, _)| *tag));
        row(text, &[&format!("`{}`", metric.name), kind(metric.kind), aggregates(metric.kind), &tags, metric.meaning]);
    }
    text.push('\n');
    table(text, &["tag", "of", "values"]);
    for metric in METRICS {
        tags(text, metric);
    }
}

fn tags(text: &mut String, metric: &Metric) {
    for (tag, values) in metric.tags {
        let values = quoted(values.iter().copied());
        row(text, &[&format!("`{tag}`"), &format!("`{}`", metric.name), &values]);
    }
}

fn invariants(text: &mut String) {
    text.push_str("\n### `invariants`\n");
    for (oracle, from) in [
        (Oracle::Books, "From the books, what the services and the acquirer wrote down:"),
        (Oracle::Witness, "From the witness, what customers saw:"),
    ] {
        let _ = write!(text, "\n{from}\n\n");
        table(text, &["invariant", "meaning"]);
        for invariant in INVARIANTS_DESCRIBED.iter().filter(|invariant| invariant.oracle == oracle) {
            row(text, &[&format!("`{}`", invariant.name), invariant.meaning]);
        }
    }
}

fn settings(text: &mut String, services: &Services<'_>) {
    text.push_str("\n### `settings`\n\n");
    table(text, &["setting", "left out", "meaning"]);
    for setting in services.settings {
        let default = setting.default.as_ref().map_or_else(|| "off".to_owned(), |default| format!("`{default}`"));
        row(text, &[&format!("`{}`", setting.name), &default, &setting.help]);
    }
}
