//! A scenario as it is written, to be changed and written again: smaller, under another seed, with
//! other faults. Whatever is done to it, its text is what is played, and what is kept.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::check::shown;
use super::error::{Problems, Source};
use super::places::Places;
use super::yaml;
use super::{Executor, Known, PlannedFault, Scenario, ScenarioErrors, overrides, parse};

/// What is written on one line, at most.
const COLUMNS_MAX: usize = 110;
/// From here on, a list or a map that fits stands on the line of its key.
const FLOWS_FROM: usize = 2;

/// The text of a scenario without its comments, as a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft(Mapping);

impl Draft {
    /// Reads a text that [`parse`] accepts, and applies the overrides.
    ///
    /// # Errors
    /// When it is no YAML, or an override fits nowhere.
    pub fn read(source: &str, origin: &str, overrides: &[(String, String)]) -> Result<Self, ScenarioErrors> {
        let text = source.strip_prefix('\u{feff}').unwrap_or(source);
        let shown = Source { text, origin, overrides };
        let failed = |problems: Problems, places: &Places| ScenarioErrors::locate(problems.into_vec(), &shown, places);
        let (mut tree, mut places) = yaml::read(text).map_err(|problems| failed(problems, &Places::default()))?;
        let mut problems = Problems::default();
        overrides::apply(overrides, &mut tree, &mut places, &mut problems);
        match tree {
            Value::Mapping(root) if problems.is_empty() => Ok(Self(root)),
            _ => Err(failed(problems, &places)),
        }
    }

    /// What it means.
    ///
    /// # Errors
    /// When a change has made it impossible.
    pub fn parse(&self, origin: &str, known: &Known) -> Result<Scenario, ScenarioErrors> {
        parse(&self.text(), origin, &[], known)
    }

    /// A value at the top, such as `seed`.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.into(), Value::String(value.to_string()));
    }

    /// Takes out what is judged by latencies and counts, and what is kept apart for that alone: what
    /// is left is judged by its invariants.
    pub fn judge_invariants_alone(&mut self) {
        self.0.shift_remove("warmup");
        let Some(expect) = self.map_at(&["expect"]) else { return };
        expect.shift_remove("thresholds");
        expect.shift_remove("during");
        if expect.is_empty() {
            self.0.shift_remove("expect");
        }
    }

    /// Replaces all faults.
    pub fn set_faults(&mut self, faults: &[PlannedFault]) {
        self.0.shift_remove("faults");
        if !faults.is_empty() {
            let faults = faults.iter().map(written).collect();
            self.0.insert("faults".into(), Value::Sequence(faults));
        }
    }

    /// Leaves only these journeys of a group; the group is taken out if there are none, unless it is the
    /// only one.
    pub fn set_only(&mut self, group: &str, journeys: &BTreeSet<u64>) {
        if journeys.is_empty() {
            if let Some(groups) = self.map_at(&["load"]).filter(|groups| groups.len() > 1) {
                groups.shift_remove(group);
            }
        } else if let Some(group) = self.map_at(&["load", group]) {
            let numbers = journeys.iter().map(|number| Value::String(number.to_string())).collect();
            group.insert("only".into(), Value::Sequence(numbers));
        }
    }

    /// Leaves so many users.
    pub fn set_users(&mut self, users: u32) {
        if let Some(shop) = self.map_at(&["shop"]) {
            shop.insert("users".into(), Value::String(users.to_string()));
        }
    }

    /// Leaves only the products that journeys name; answers whether there were others.
    pub fn keep_named_products(&mut self) -> bool {
        let mut text = String::new();
        if let Some(load) = self.0.get("load") {
            flow(load, &mut text);
        }
        // A journey that draws from all products needs all of them.
        let words: BTreeSet<&str> = text.split([' ', ',', '{', '}', '[', ']', ':', '"']).collect();
        if words.contains(super::shop::ANY) || words.iter().any(|word| word.starts_with(super::shop::GENERATED_PREFIX))
        {
            return false;
        }
        let words: BTreeSet<String> = words.into_iter().map(str::to_owned).collect();
        let Some(catalog) = self.map_at(&["shop", "catalog"]) else { return false };
        let mut removed = false;
        let mut left = 0;
        if let Some(items) = catalog.get_mut("items").and_then(Value::as_sequence_mut) {
            let before = items.len();
            items.retain(|item| item.get("sku").and_then(Value::as_str).is_some_and(|sku| words.contains(sku)));
            (removed, left) = (items.len() < before, items.len());
        }
        if left > 0 && catalog.shift_remove("generate").is_some() {
            catalog.shift_remove("stock");
            removed = true;
        }
        removed && left > 0
    }

    /// Ends every group's load at `end` at the latest; answers whether that changes anything. A ramp is cut
    /// where it then is.
    pub fn end_load_at(&mut self, end: Duration, scenario: &Scenario) -> bool {
        let mut changed = false;
        for group in &scenario.load {
            let Some(written) = self.map_at(&["load", &group.name]) else { continue };
            let key = match &group.executor {
                _ if group.executor.duration() <= end => continue,
                Executor::Arrivals(_) | Executor::ConstantVus { .. } if written.contains_key("duration") => "duration",
                Executor::SharedIterations { .. } | Executor::PerVuIterations { .. } => "max_duration",
                Executor::Arrivals(plan) => {
                    let unit = written.get("time_unit").and_then(Value::as_str).map(chassis::settings::duration);
                    let unit_s = unit.and_then(Result::ok).map_or(1.0, |unit| unit.as_secs_f64());
                    changed |= cut_stages(written, end, |at| format!("{}", plan.rate_at(at) * unit_s));
                    continue;
                }
                _ => continue,
            };
            written.insert(key.into(), Value::String(shown(end)));
            changed = true;
        }
        changed
    }

    /// Shrinks users, stock and load together; what was not 0 stays at 1 at least. Prices, products,
    /// times and settings stay. `scenario` is what this draft means.
    pub fn scale(&mut self, factor: f64, scenario: &Scenario) {
        for path in [&["shop"][..], &["shop", "catalog"]] {
            for key in ["users", "stock"] {
                scale_whole(self.map_at(path), key, factor);
            }
        }
        let catalog = self.map_at(&["shop", "catalog"]);
        for item in catalog.and_then(|catalog| catalog.get_mut("items")?.as_sequence_mut()).into_iter().flatten() {
            scale_whole(item.as_mapping_mut(), "stock", factor);
        }
        for group in &scenario.load {
            // At least one arrival is left.
            let rates = match &group.executor {
                Executor::Arrivals(plan) => factor.max(1.0 / plan.total().max(1) as f64),
                _ => factor,
            };
            let counts_users = matches!(group.executor, Executor::RampingVus(_));
            let Some(group) = self.map_at(&["load", &group.name]) else { continue };
            for key in ["vus", "start_vus", "max_vus", "iterations"] {
                scale_whole(Some(group), key, factor);
            }
            for key in ["rate", "start_rate"] {
                scale_rate(group, key, rates);
            }
            for stage in group.get_mut("stages").and_then(Value::as_sequence_mut).into_iter().flatten() {
                match stage.as_mapping_mut() {
                    Some(stage) if counts_users => scale_whole(Some(stage), "target", factor),
                    Some(stage) => scale_rate(stage, "target", rates),
                    None => {}
                }
            }
        }
    }

    /// The text of a scenario file; ends with a line break.
    pub fn text(&self) -> String {
        let mut text = String::new();
        block(&self.0, 0, &mut text);
        text
    }

    fn map_at(&mut self, path: &[&str]) -> Option<&mut Mapping> {
        path.iter().try_fold(&mut self.0, |map, key| map.get_mut(*key)?.as_mapping_mut())
    }
}

/// A fault as a scenario plans it.
fn written(fault: &PlannedFault) -> Value {
    let mut map = Mapping::new();
    let mut put = |key: &str, value: &str| map.insert(key.into(), Value::String(value.to_owned()));
    put("name", &fault.fault.name);
    put("at", &shown(fault.at));
    put("for", &shown(fault.lasts));
    put("target", fault.fault.target.name);
    put("kind", fault.fault.kind.name);
    for (name, value) in &fault.fault.written {
        put(name, value);
    }
    Value::Mapping(map)
}

fn scale_whole(map: Option<&mut Mapping>, key: &str, factor: f64) {
    let Some(value) = map.and_then(|map| map.get_mut(key)) else { return };
    if let Some(whole) = value.as_str().and_then(|text| text.parse::<u64>().ok()).filter(|whole| *whole > 0) {
        *value = Value::String(((whole as f64 * factor).round() as u64).max(1).to_string());
    }
}

fn scale_rate(map: &mut Mapping, key: &str, factor: f64) {
    let Some(value) = map.get_mut(key) else { return };
    if let Some(rate) = value.as_str().and_then(super::check::decimal) {
        *value = Value::String(format!("{}", rate * factor));
    }
}

/// Leaves out the stages after `end`, and ends the one around it there, at the rate that it then has.
fn cut_stages(group: &mut Mapping, end: Duration, rate_at: impl Fn(Duration) -> String) -> bool {
    let Some(stages) = group.get_mut("stages").and_then(Value::as_sequence_mut) else { return false };
    let mut begins = Duration::ZERO;
    for index in 0..stages.len() {
        let Some(stage) = stages[index].as_mapping_mut() else { return false };
        let lasts =
            stage.get("duration").and_then(Value::as_str).and_then(|text| chassis::settings::duration(text).ok());
        let Some(lasts) = lasts else { return false };
        if begins + lasts > end {
            stage.insert("duration".into(), Value::String(shown(end - begins)));
            stage.insert("target".into(), Value::String(rate_at(end)));
            stages.truncate(index + 1);
            return true;
        }
        begins += lasts;
    }
    false
}

/// A map in block style, its keys indented by `depth` steps.
fn block(map: &Mapping, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for (key, value) in map {
        let _ = write!(text, "{indent}{}:", scalar(key.as_str().unwrap_or_default()));
        let mut line = String::new();
        flow(value, &mut line);
        let used = text.len() - text.rfind('\n').map_or(0, |at| at + 1);
        let is_leaf = !matches!(value, Value::Mapping(map) if !map.is_empty())
            && !matches!(value, Value::Sequence(items) if !items.is_empty());
        if is_leaf || depth + 1 >= FLOWS_FROM && used + 1 + line.len() <= COLUMNS_MAX {
            let blank = if line.is_empty() { "" } else { " " };
            let _ = writeln!(text, "{blank}{line}");
            continue;
        }
        text.push('\n');
        match value {
            Value::Mapping(map) => block(map, depth + 1, text),
            Value::Sequence(items) => {
                for item in items {
                    let mut line = String::new();
                    flow(item, &mut line);
                    let _ = writeln!(text, "{indent}  - {line}");
                }
            }
            _ => {}
        }
    }
}

/// A node on one line.
fn flow(node: &Value, text: &mut String) {
    match node {
        Value::String(value) => text.push_str(&scalar(value)),
        Value::Sequence(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                flow(item, text);
            }
            text.push(']');
        }
        Value::Mapping(map) => {
            text.push_str("{ ");
            for (index, (key, value)) in map.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                let _ = write!(text, "{}: ", scalar(key.as_str().unwrap_or_default()));
                flow(value, text);
            }
            text.push_str(" }");
        }
        // Nothing is written as nothing; the reader knows no other kinds of nodes.
        _ => {}
    }
}

/// The text as it is where that can be read back, in double quotes otherwise.
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ._/+-".contains(&byte);
    let begins = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_plain = text.bytes().all(plain) && text.as_bytes().first().is_some_and(begins) && !text.ends_with(' ');
    // YAML's double quotes are JSON's.
    if is_plain { text.to_owned() } else { serde_json::to_string(text).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parsed, settings};
    use super::*;
    use crate::template;

    fn draft(text: &str) -> Draft {
        Draft::read(text, "test.yaml", &[]).unwrap()
    }

    fn meant(draft: &Draft) -> Scenario {
        draft.parse("test.yaml", &settings()).map_err(|error| format!("{error}\n{}", draft.text())).unwrap()
    }

    /// What a scenario means, without what its text is called.
    fn meaning(scenario: Scenario) -> Scenario {
        Scenario { origin: String::new(), hash: String::new(), ..scenario }
    }

    #[test]
    fn every_template_means_the_same_when_it_is_written_again() {
        for like in template::NAMES {
            let text = template::named(like, like, "x.yaml", false);
            assert_eq!(meaning(meant(&draft(&text))), meaning(parsed(&text)), "{like}");
        }
    }

    const ODD: &str = "version: 1
name: odd
about: 'a: b # \"c\" — é'
shop: { users: 3, catalog: { items: [ { sku: '042', name: '- x', price: 1 EUR, stock: 0 }, { sku: B, name: B, price: 1 EUR, stock: 9 } ] } }
load:
  g: { executor: constant-arrival-rate, rate: 0.5, duration: 4s, max_vus: 9, journey: [ view: '042', order: { items: [ { sku: B } ] }, cancel, await: ] }
";

    #[test]
    fn odd_texts_survive_being_written() {
        assert_eq!(meaning(meant(&draft(ODD))), meaning(parsed(ODD)));
    }

    #[test]
    fn a_scenario_is_scaled_but_never_to_nothing() {
        let mut small = draft(ODD);
        small.scale(0.01, &parsed(ODD));
        let scenario = meant(&small);
        assert_eq!((scenario.shop.users, scenario.shop.catalog.items[0].stock), (1, 0));
        assert_eq!(scenario.shop.catalog.items[1].stock, 1);
        let Executor::Arrivals(plan) = &scenario.load[0].executor else { panic!() };
        assert_eq!((plan.total(), plan.max_vus), (1, 1));
        let text = template::named("oversell-race", "x", "x.yaml", false);
        let mut small = draft(&text);
        small.scale(0.1, &parsed(&text));
        let scenario = meant(&small);
        assert_eq!((scenario.shop.users, scenario.shop.catalog.stock), (120, 100));
        assert_eq!(scenario.shop.catalog.items[0].stock, 6);
        let totals: Vec<_> = scenario
            .load
            .iter()
            .map(|group| match &group.executor {
                Executor::Arrivals(plan) => plan.total(),
                _ => 0,
            })
            .collect();
        assert_eq!(totals, [25, 25, 23]);
    }

    #[test]
    fn only_some_journeys_and_no_group_without_any() {
        let mut draft = draft(&template::named("oversell-race", "x", "x.yaml", false));
        draft.set_only("doublers", &[3, 17].into());
        draft.set_only("buyers", &BTreeSet::new());
        draft.set_only("impatient", &BTreeSet::new());
        let scenario = meant(&draft);
        assert_eq!(scenario.load.len(), 1);
        assert_eq!(scenario.load[0].only, Some([3, 17].into()));
        draft.set_only("doublers", &BTreeSet::new());
        assert_eq!(meant(&draft).load.len(), 1, "a load without a group is none");
    }

    #[test]
    fn faults_are_written_as_they_were_planned() {
        let text = template::named("payment-outage", "x", "x.yaml", false);
        let faults = parsed(&text).faults;
        assert!(!faults.is_empty());
        let mut draft = draft(&text);
        draft.judge_invariants_alone();
        draft.set_faults(&[]);
        assert!(meant(&draft).faults.is_empty());
        draft.set_faults(&faults);
        let scenario = meant(&draft);
        assert_eq!(scenario.faults, faults);
        assert!(
            scenario.expect.thresholds.is_empty() && scenario.expect.during.is_empty() && scenario.warmup.is_zero()
        );
    }

    #[test]
    fn a_load_is_cut_and_keeps_the_arrivals_before_the_cut() {
        let text = template::named("oversell-race", "x", "x.yaml", false);
        let (mut cut, whole) = (draft(&text), parsed(&text));
        assert!(cut.end_load_at(Duration::from_secs(4), &whole));
        assert!(!draft(&text).end_load_at(Duration::from_secs(10), &whole));
        let short = meant(&cut);
        for (short, whole) in short.load.iter().zip(&whole.load) {
            let (Executor::Arrivals(short), Executor::Arrivals(whole)) = (&short.executor, &whole.executor) else {
                panic!()
            };
            assert_eq!(short.duration(), Duration::from_secs(4));
            for (short, whole) in short.arrivals().zip(whole.arrivals()) {
                assert!(short.abs_diff(whole) < Duration::from_micros(10), "{short:?} {whole:?}");
            }
        }
    }

    #[test]
    fn products_that_nobody_names_are_left_out() {
        let mut some = draft(&template::named("oversell-race", "x", "x.yaml", false));
        some.set_only("buyers", &BTreeSet::new());
        some.set_only("impatient", &BTreeSet::new());
        assert!(some.keep_named_products() && !some.keep_named_products());
        assert_eq!(meant(&some).shop.catalog.skus().collect::<Vec<_>>(), ["TICKET-A", "TICKET-B"]);
    }
}
