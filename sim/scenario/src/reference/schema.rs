//! The JSON Schema of scenario files. It is for editors: what only the whole file can tell (products
//! that exist, faults within the load) is left to `shopctl scenario check`, which has the last word.

use chassis::chaos::{self, Kind, Target};
use serde_json::{Map, Value, json};

use super::super::invariants::INVARIANTS_DESCRIBED;
use super::super::journey::{STEPS, Takes};
use super::super::keys::{Key, Need, Shape};
use super::super::load::{EXECUTORS, ExecutorKind};
use super::super::metrics::{METRICS, Metric, MetricKind, WHOLE_RUN_ONLY};
use super::super::shop::{ANY, GENERATED_PREFIX};
use super::super::threshold::{Aggregate, COMPARISONS, plain_aggregates};
use super::super::{KEYS, VERSION};
use super::{SECTIONS, Services};

const DURATION: &str = r"([0-9]+\.?[0-9]*|\.[0-9]+)(us|ms|s|m|h)";
const NUMBER: &str = r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?";
const NAME: &str = "^[a-z0-9-]{1,48}$";
const GROUP_NAME: &str = "^[A-Za-z0-9_-]{1,64}$";
const SKU: &str = "^[A-Za-z0-9._-]{1,64}$";

/// The schema of the format that this build reads, for its services.
pub fn schema(services: &Services<'_>) -> Value {
    let mut definitions = Map::new();
    for section in SECTIONS {
        definitions.insert(section.name.into(), object(section.keys, services));
    }
    let mut define = |name: &str, schema: Value| definitions.insert(name.to_owned(), schema);
    define("group", extended(object(super::load::KEYS, services), json!({ "allOf": executors() })));
    define("fault", fault(services));
    define("during", extended(during(services), json!({ "minProperties": 1 })));
    define("step", step(services));
    define("thresholds", thresholds(METRICS.iter().collect()));
    define("thresholds_of_a_fault", thresholds(METRICS.iter().filter(|metric| !whole_run_only(metric)).collect()));
    define("invariants", invariants());
    define("settings", settings(services));
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("A shopctl scenario, version {VERSION}"),
        "$defs": definitions,
    });
    extended(object(KEYS, services), head)
}

fn extended(schema: Value, more: Value) -> Value {
    match (schema, more) {
        (Value::Object(mut schema), Value::Object(more)) => {
            schema.extend(more);
            Value::Object(schema)
        }
        (schema, _) => schema,
    }
}

/// A map with these keys and no others.
fn object(keys: &[Key], services: &Services<'_>) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key, services))).collect();
    let required: Vec<_> = keys.iter().filter(|key| key.need == Need::Required).map(|key| key.name).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn property(key: &Key, services: &Services<'_>) -> Value {
    let described = match key.shape {
        Shape::Map(_) | Shape::Named(..) => key.meaning.to_owned(),
        shape => format!("{}: {}", key.meaning, shape.words()),
    };
    let mut more = json!({ "description": described });
    if let (Need::Default(default), Value::Object(more)) = (key.need, &mut more) {
        more.insert("default".into(), literal(default));
    }
    extended(shape(key.shape, services), more)
}

/// A number where the text is one.
fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn shape(shape: Shape, services: &Services<'_>) -> Value {
    match shape {
        Shape::Version => json!({ "enum": [literal(VERSION), VERSION] }),
        Shape::Name => json!({ "type": ["string", "integer"], "pattern": NAME }),
        Shape::Text { longest, empty } => {
            json!({ "type": ["string", "number", "boolean"], "minLength": u8::from(!empty), "maxLength": longest })
        }
        Shape::Whole(low, u64::MAX) => json!({ "type": "integer", "minimum": low }),
        Shape::Whole(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Shape::Numbers(high, most) => {
            let number = json!({ "type": "integer", "minimum": 0, "maximum": high });
            json!({ "type": "array", "minItems": 1, "maxItems": most, "items": number })
        }
        Shape::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Shape::Rate => json!({ "type": "number", "minimum": 0 }),
        Shape::Duration(..) => text_like(DURATION),
        Shape::Durations(_) => durations(),
        Shape::Quantity(most) => {
            let range = text_like(r"[0-9]+(\.\.[0-9]+)?");
            json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": most }, range] })
        }
        Shape::Price(_) => text_like(r"[0-9]+(\.[0-9]{0,2})? +[A-Z]{3}"),
        Shape::OwnSku => {
            let reserved = format!("^({ANY}|{GENERATED_PREFIX}.*)$");
            json!({ "type": ["string", "integer"], "pattern": SKU, "not": { "type": "string", "pattern": reserved } })
        }
        Shape::Pick => json!({ "type": ["string", "integer"], "pattern": SKU }),
        Shape::Executor => choice(EXECUTORS.iter().map(|executor| (executor.name, executor.meaning))),
        Shape::Target => json!({ "enum": services.targets.iter().map(|target| target.name).collect::<Vec<_>>() }),
        Shape::Kind => choice(all_kinds(services).map(|kind| (kind.name, kind.meaning))),
        Shape::Map(section) => reference(section),
        Shape::Named(section, most) => {
            let (pattern, least) = if section == "group" { (GROUP_NAME, 1) } else { (NAME, 0) };
            json!({
                "type": "object", "minProperties": least, "maxProperties": most,
                "propertyNames": { "pattern": pattern }, "additionalProperties": reference(section),
            })
        }
        Shape::List(section, low, high) => {
            json!({ "type": "array", "minItems": low, "maxItems": high, "items": reference(section) })
        }
    }
}

fn reference(section: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{section}") })
}

/// A text that is all of this pattern.
fn text_like(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{pattern}$") })
}

fn durations() -> Value {
    text_like(&format!(r"{DURATION}(\.\.{DURATION})?"))
}

/// One of these words, each with its meaning.
fn choice<'a>(words: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut told: Vec<_> = Vec::new();
    for word in words {
        // Many targets share their kinds.
        if !told.contains(&word) {
            told.push(word);
        }
    }
    let words: Vec<_> =
        told.into_iter().map(|(word, meaning)| json!({ "const": word, "description": meaning })).collect();
    json!({ "anyOf": words })
}

/// Which keys belong to which executor.
fn executors() -> Vec<Value> {
    let rule = |kind: &ExecutorKind| {
        let always = ["executor", "journey"];
        let taken: Vec<_> = always.iter().chain(kind.required).chain(kind.optional).chain(&["only"]).collect();
        let required: Vec<_> = always.iter().chain(kind.required).collect();
        json!({
            "if": { "properties": { "executor": { "const": kind.name } }, "required": ["executor"] },
            "then": { "propertyNames": { "enum": taken }, "required": required },
        })
    };
    EXECUTORS.iter().map(rule).collect()
}

fn all_kinds(services: &Services<'_>) -> impl Iterator<Item = &'static Kind> {
    services.targets.iter().flat_map(|target| target.kinds)
}

/// A fault: its keys, the parameters of every kind, and which of them belong together.
fn fault(services: &Services<'_>) -> Value {
    let mut fault = object(super::fault::KEYS, services);
    if let Some(properties) = fault.get_mut("properties").and_then(Value::as_object_mut) {
        for parameter in all_kinds(services).flat_map(|kind| kind.parameters) {
            // Two kinds may mean different things by one name.
            properties.insert(parameter.name.into(), json!({ "description": "a parameter of some kinds" }));
        }
    }
    let mut rules = Vec::new();
    for alike in alike(services.targets) {
        let Some(first) = alike.first() else { continue };
        let kinds: Vec<_> = first.kinds.iter().map(|kind| kind.name).collect();
        let names: Vec<_> = alike.iter().map(|target| target.name).collect();
        let named = json!({ "properties": { "target": { "enum": names } }, "required": ["target"] });
        rules.push(json!({ "if": named, "then": { "properties": { "kind": { "enum": kinds } } } }));
        rules.extend(first.kinds.iter().map(|kind| parameters(&names, kind)));
    }
    extended(fault, json!({ "allOf": rules }))
}

/// The targets, those with the same kinds together.
fn alike(targets: &[&'static Target]) -> Vec<Vec<&'static Target>> {
    let mut groups: Vec<Vec<&'static Target>> = Vec::new();
    for target in targets {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.kinds == target.kinds)) {
            Some(group) => group.push(target),
            None => groups.push(vec![target]),
        }
    }
    groups
}

/// What a fault of this kind takes.
fn parameters(targets: &[&str], kind: &Kind) -> Value {
    let keys = super::fault::KEYS.iter().map(|key| key.name);
    let taken: Vec<_> = keys.chain(kind.parameters.iter().map(|parameter| parameter.name)).collect();
    let needed = kind.parameters.iter().filter(|parameter| parameter.default.is_none());
    let required: Vec<_> = needed.map(|parameter| parameter.name).collect();
    let properties: Map<String, Value> =
        kind.parameters.iter().map(|one| (one.name.to_owned(), parameter(one))).collect();
    json!({
        "if": {
            "properties": { "target": { "enum": targets }, "kind": { "const": kind.name } },
            "required": ["target", "kind"],
        },
        "then": { "propertyNames": { "enum": taken }, "required": required, "properties": properties },
    })
}

fn parameter(parameter: &chaos::Parameter) -> Value {
    let schema = match parameter.shape {
        chaos::Shape::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        chaos::Shape::Durations => durations(),
        chaos::Shape::Offset => text_like(&format!("-?{DURATION}")),
        chaos::Shape::Count => json!({ "type": "integer", "minimum": 1 }),
    };
    let mut more = json!({ "description": parameter.meaning });
    if let (Some(default), Value::Object(more)) = (parameter.default, &mut more) {
        more.insert("default".into(), literal(default));
    }
    extended(schema, more)
}

fn during(services: &Services<'_>) -> Value {
    let mut during = object(super::during::KEYS, services);
    if let Some(thresholds) = during.pointer_mut("/properties/thresholds").and_then(Value::as_object_mut) {
        thresholds.extend([("$ref".to_owned(), "#/$defs/thresholds_of_a_fault".into())]);
    }
    during
}

/// A bare word, or a map of one key.
fn step(services: &Services<'_>) -> Value {
    let alone = STEPS.iter().filter(|step| !matches!(step.argument, Takes::Needs(_)));
    let alone: Vec<_> = alone.map(|step| step.name).collect();
    let argument = |takes: Takes| match takes {
        Takes::Nothing => json!({ "type": "null" }),
        Takes::Needs(needed) => shape(needed, services),
        Takes::May(allowed) => json!({ "anyOf": [{ "type": "null" }, shape(allowed, services)] }),
    };
    let properties: Map<String, Value> = STEPS
        .iter()
        .map(|step| (step.name.to_owned(), extended(argument(step.argument), json!({ "description": step.meaning }))))
        .collect();
    json!({ "anyOf": [
        { "enum": alone },
        {
            "type": "object", "additionalProperties": false, "properties": properties,
            "minProperties": 1, "maxProperties": 1,
        },
    ] })
}

fn whole_run_only(metric: &Metric) -> bool {
    WHOLE_RUN_ONLY.iter().any(|(name, _)| *name == metric.name)
}

fn thresholds(metrics: Vec<&Metric>) -> Value {
    let of = |metric: &Metric| {
        let expressions = json!({
            "type": "array", "minItems": 1, "items": text_like(&expression(metric.kind)),
            "description": metric.meaning,
        });
        (selector(metric), expressions)
    };
    let patterns: Map<String, Value> = metrics.into_iter().map(of).collect();
    json!({ "type": "object", "additionalProperties": false, "patternProperties": patterns })
}

/// The pattern of `metric{tag:value,…}`.
fn selector(metric: &Metric) -> String {
    let tags: Vec<_> = metric.tags.iter().map(|(tag, values)| format!(r"{tag}\s*:\s*({})", values.join("|"))).collect();
    let name = metric.name;
    if tags.is_empty() {
        return format!(r"^\s*{name}\s*$");
    }
    let tag = format!("({})", tags.join("|"));
    format!(r"^\s*{name}\s*(\{{\s*{tag}(\s*,\s*{tag})*\s*\}})?$")
}

/// The pattern of `aggregate comparison bound`.
fn expression(kind: MetricKind) -> String {
    let mut aggregates: Vec<_> =
        plain_aggregates().filter(|(_, _, of)| *of == kind).map(|(name, _, _): (&str, Aggregate, _)| name).collect();
    let percentile = format!(r"p\(\s*{NUMBER}\s*\)");
    if kind == MetricKind::Trend {
        aggregates.push(&percentile);
    }
    let bound = if kind == MetricKind::Trend { DURATION } else { NUMBER };
    let comparisons: Vec<_> = COMPARISONS.iter().map(|(text, _)| *text).collect();
    format!(r"\s*({})\s*({})\s*{bound}\s*", aggregates.join("|"), comparisons.join("|"))
}

fn invariants() -> Value {
    let names = choice(INVARIANTS_DESCRIBED.iter().map(|invariant| (invariant.name, invariant.meaning)));
    json!({ "anyOf": [{ "const": "all" }, { "type": "array", "minItems": 1, "items": names }] })
}

fn settings(services: &Services<'_>) -> Value {
    let of = |setting: &chassis::settings::Described| {
        let mut schema = json!({ "type": ["string", "number", "boolean"], "description": setting.help });
        if let (Some(default), Value::Object(schema)) = (&setting.default, &mut schema) {
            schema.insert("default".into(), literal(default));
        }
        (setting.name.clone(), schema)
    };
    let properties: Map<String, Value> = services.settings.iter().map(of).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}
