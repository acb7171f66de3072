//! The section `expect`: what a run is judged by. Metrics, tags and expressions are written as in k6.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use chassis::settings::duration;
use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::check::{Check, decimal};
use super::during::DuringFile;
use super::error::quote;
use super::fault::{FAULTS_MAX, Faults};
use super::file::Keys;
use super::keys::{Key, Need, Shape};
use super::places::NodePath;

pub use super::during::During;

/// Something that must be true after every run, whatever the load.
#[derive(Debug, Clone, Copy)]
pub struct Invariant {
    pub name: &'static str,
    pub oracle: Oracle,
    /// One line for people.
    pub meaning: &'static str,
}

/// What an invariant is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oracle {
    /// What the services and the acquirer wrote down.
    Books,
    /// What customers saw.
    Witness,
}

const DESCRIBED: [Invariant; 16] = [
    Invariant {
        name: "stock_conserved",
        oracle: Oracle::Books,
        meaning: "per product: what came in = available + reserved + sold; reserved and sold are what the orders' \
                  reservations add up to; the seeder brought what its manifest says",
    },
    Invariant { name: "stock_not_negative", oracle: Oracle::Books, meaning: "no count is below zero" },
    Invariant {
        name: "confirmed_iff_captured",
        oracle: Oracle::Books,
        meaning: "a confirmed order is charged once, its price, not refunded, and has exactly its units; a cancelled \
                  one's customer is not charged",
    },
    Invariant {
        name: "cancelled_net_zero",
        oracle: Oracle::Books,
        meaning: "a cancelled order's customer has paid nothing, and no unit is held or sold to it",
    },
    Invariant {
        name: "charged_at_most_once",
        oracle: Oracle::Books,
        meaning: "at most one capture for each order, no more refunds than captures",
    },
    Invariant {
        name: "ledger_matches_payments",
        oracle: Oracle::Books,
        meaning: "the acquirer's ledger, its summary of the key, the payment and the order agree on user, amount and \
                  state; no payment is left open under an order that has ended; nothing is stored under an order that \
                  does not exist",
    },
    Invariant {
        name: "legal_transitions",
        oracle: Oracle::Books,
        meaning: "only the state changes that the saga allows",
    },
    Invariant {
        name: "events_gapless",
        oracle: Oracle::Books,
        meaning: "the versions of an order's events, of its payment's and of its stock's have no gap",
    },
    Invariant {
        name: "fold_matches_row",
        oracle: Oracle::Books,
        meaning: "the order's row is the fold of its events; its payment and its reservations are what their last \
                  events made them",
    },
    Invariant {
        name: "stream_matches_events",
        oracle: Oracle::Books,
        meaning: "`ORDERS`, `PAYMENTS` and `INVENTORY` have the same facts as the stores that they were fed from",
    },
    Invariant {
        name: "nothing_in_flight",
        oracle: Oracle::Books,
        meaning: "every order has ended and no work on it is due, every event is published, no reservation is held",
    },
    Invariant {
        name: "notified_once",
        oracle: Oracle::Books,
        meaning: "customers were told of every confirmed or cancelled order and of every failed payment, once on each \
                  channel, and of nothing else",
    },
    Invariant {
        name: "acknowledged_orders_exist",
        oracle: Oracle::Witness,
        meaning: "every order that an answer named exists and belongs to that user",
    },
    Invariant {
        name: "one_key_one_order",
        oracle: Oracle::Witness,
        meaning: "no key was answered with two orders, no order to two keys, and there are no more orders than keys",
    },
    Invariant {
        name: "answers_hold",
        oracle: Oracle::Witness,
        meaning: "what was told as an end is still so, and the order is of the items asked for",
    },
    Invariant {
        name: "never_told_more_than_stock",
        oracle: Oracle::Witness,
        meaning: "nobody was told of more units than existed",
    },
];

/// All invariants that can be checked after a run, with what they mean.
pub const INVARIANTS_DESCRIBED: &[Invariant] = &DESCRIBED;

/// Their names.
pub const INVARIANTS: &[&str] = &{
    let mut names = [""; DESCRIBED.len()];
    let mut index = 0;
    // A constant cannot call an iterator.
    while index < names.len() {
        names[index] = DESCRIBED[index].name;
        index += 1;
    }
    names
};

/// The comparisons of thresholds, longer ones first where one begins another.
pub(super) const COMPARISONS: &[(&str, Comparison)] = &[
    ("<=", Comparison::LessOrEqual),
    ("<", Comparison::Less),
    (">=", Comparison::GreaterOrEqual),
    (">", Comparison::Greater),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
];

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "thresholds",
        shape: Shape::Map("thresholds"),
        need: Need::Optional,
        meaning: "service levels of the whole load; latencies without its warmup",
    },
    Key {
        name: "during",
        shape: Shape::Named("during", FAULTS_MAX),
        need: Need::Optional,
        meaning: "what is expected while a fault is active, and of its end; by the fault's name",
    },
    Key {
        name: "invariants",
        shape: Shape::Map("invariants"),
        need: Need::Default("all"),
        meaning: "what must be true after the run: `all`, or a list of names",
    },
];

/// What a metric is made of, and so which aggregates it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Durations: `avg`, `min`, `med`, `max`, `p(N)`.
    Trend,
    /// A share from 0 to 1: `rate`.
    Rate,
    /// A number of events: `count`.
    Counter,
}

/// A metric that thresholds may judge.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    /// The tags that select a part of it, each with its values.
    pub tags: &'static [(&'static str, &'static [&'static str])],
    /// One line for the documentation.
    pub meaning: &'static str,
}

const STEP_TAG: (&str, &[&str]) = (
    "step",
    &[
        "create",
        "reserve_stock",
        "process_payment",
        "confirm",
        "commit_stock",
        "release_stock",
        "refund_payment",
        "cancel",
    ],
);
const OUTCOME_TAG: (&str, &[&str]) = ("outcome", &["done", "refused", "ongoing", "unknown"]);
const FATE_TAG: (&str, &[&str]) = ("fate", &["confirmed", "cancelled", "rejected", "errors", "unknown"]);
const FROM_TAG: (&str, &[&str]) = ("from", &["pending", "reserved", "paid"]);
const REASON_TAG: (&str, &[&str]) = ("reason", &["sold_out", "declined", "unavailable", "by_client"]);
const REQUEST_TAG: (&str, &[&str]) = ("name", &["search", "view", "order", "await", "cancel", "retry"]);

/// All metrics, in the order of the documentation.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "saga_step_duration",
        kind: MetricKind::Trend,
        tags: &[STEP_TAG, OUTCOME_TAG],
        meaning: "one attempt of a saga step, as the order service sees it",
    },
    Metric {
        name: "order_duration",
        kind: MetricKind::Trend,
        tags: &[],
        meaning: "from the instant an order was due to the answer of its `POST orders`",
    },
    Metric {
        name: "order_errors",
        kind: MetricKind::Rate,
        tags: &[],
        meaning: "orders with fate errors or unknown, out of all that were started",
    },
    Metric {
        name: "orders",
        kind: MetricKind::Counter,
        tags: &[FATE_TAG],
        meaning: "orders that were started, by how they ended",
    },
    Metric {
        name: "cancellations",
        kind: MetricKind::Counter,
        tags: &[FROM_TAG, REASON_TAG],
        meaning: "orders that were cancelled, by the state in which that was decided and the reason",
    },
    Metric {
        name: "http_req_duration",
        kind: MetricKind::Trend,
        tags: &[REQUEST_TAG],
        meaning: "from the instant a request was due to the end of its answer",
    },
    Metric {
        name: "http_req_failed",
        kind: MetricKind::Rate,
        tags: &[],
        meaning: "requests without an answer, with one that is no 2xx, or (`await`) without the end that they waited \
                  for, out of all",
    },
    Metric {
        name: "http_reqs",
        kind: MetricKind::Counter,
        tags: &[],
        meaning: "requests that were sent; an `await` counts as one, however often it looks",
    },
    Metric { name: "iterations", kind: MetricKind::Counter, tags: &[], meaning: "journeys that came to their end" },
    Metric {
        name: "dropped_iterations",
        kind: MetricKind::Counter,
        tags: &[],
        meaning: "arrivals that found all `max_vus` busy and were not started",
    },
    Metric {
        name: "iteration_duration",
        kind: MetricKind::Trend,
        tags: &[],
        meaning: "one whole journey, from the instant it was due, thinking included",
    },
];

const STEPS_ANYWHERE: &str = "its steps may be due before, in and after the fault";

/// Metrics that cannot be told for the time of a fault alone, each with the reason.
pub(super) const WHOLE_RUN_ONLY: &[(&str, &str)] = &[
    ("iterations", STEPS_ANYWHERE),
    ("iteration_duration", STEPS_ANYWHERE),
    ("dropped_iterations", "counted for the whole load only"),
    ("cancellations", "read from the books, which are closed after the run"),
];

/// The time that thresholds speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    Run,
    Fault,
}

/// The metric with this name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// What a run is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    pub thresholds: Vec<Threshold>,
    /// What is expected of the time of a fault, in the order of the file.
    pub during: Vec<During>,
    /// Names out of [`INVARIANTS`], in that order.
    pub invariants: Vec<&'static str>,
}

/// One expression over one metric, or over the part of it that the tags select.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    pub metric: &'static str,
    pub tags: BTreeMap<String, String>,
    pub expression: Expression,
    /// `saga_step_duration{step:reserve_stock}`, as it is written.
    pub selector_text: String,
    /// `p(99)<50ms`, as it is written.
    pub text: String,
}

/// `p(99)<50ms`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expression {
    pub aggregate: Aggregate,
    pub comparison: Comparison,
    /// Microseconds for a trend, a share for a rate, a number for a counter.
    pub bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregate {
    /// Above 0, at most 100.
    Percentile(f64),
    Avg,
    Min,
    Max,
    Med,
    Rate,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Threshold {
    /// Whether `observed`, in the unit of the bound, keeps the threshold. What is not a number keeps
    /// none: a figure that could not be measured is not a good one.
    pub fn judge(&self, observed: f64) -> bool {
        let Some(order) = observed.partial_cmp(&self.expression.bound) else { return false };
        match self.expression.comparison {
            Comparison::Less => order == Ordering::Less,
            Comparison::LessOrEqual => order != Ordering::Greater,
            Comparison::Greater => order == Ordering::Greater,
            Comparison::GreaterOrEqual => order != Ordering::Less,
            Comparison::Equal => order == Ordering::Equal,
            Comparison::NotEqual => order != Ordering::Equal,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectFile {
    thresholds: Option<IndexMap<String, Vec<String>>>,
    during: Option<IndexMap<String, Keys<DuringFile>>>,
    invariants: Option<InvariantsFile>,
}

/// A single word, or a list of names.
#[derive(Debug)]
enum InvariantsFile {
    Word(String),
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for InvariantsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InvariantsVisitor)
    }
}

struct InvariantsVisitor;

impl<'de> Visitor<'de> for InvariantsVisitor {
    type Value = InvariantsFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the word `all` or a list of invariants")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<InvariantsFile, E> {
        Ok(InvariantsFile::Word(word.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<InvariantsFile, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        Ok(InvariantsFile::Names(names))
    }
}

impl ExpectFile {
    pub(super) fn validate(self, at: &NodePath, faults: &Faults, check: &mut Check) -> Expect {
        let written = self.thresholds.unwrap_or_default();
        let thresholds = thresholds(written, &at.key("thresholds"), Window::Run, check);
        let during = super::during::during(self.during.unwrap_or_default(), &at.key("during"), faults, check);
        Expect { thresholds, during, invariants: invariants(self.invariants, &at.key("invariants"), check) }
    }
}

fn invariants(written: Option<InvariantsFile>, at: &NodePath, check: &mut Check) -> Vec<&'static str> {
    let names = match written {
        None => return INVARIANTS.to_vec(),
        Some(InvariantsFile::Word(word)) if word == "all" => return INVARIANTS.to_vec(),
        Some(InvariantsFile::Word(word)) => {
            check.value(at, format!("`invariants` is `all` or a list of names, not {}", quote(&word)));
            return Vec::new();
        }
        Some(InvariantsFile::Names(names)) => names,
    };
    if names.is_empty() {
        check.value(at, "`invariants` is an empty list; a run that checks nothing proves nothing");
    }
    for (index, name) in names.iter().enumerate() {
        if !INVARIANTS.contains(&name.as_str()) {
            let problem = check.value(&at.index(index), format!("unknown invariant {}", quote(name)));
            problem.suggest(name, INVARIANTS.iter().copied());
        }
    }
    INVARIANTS.iter().copied().filter(|known| names.iter().any(|name| name == known)).collect()
}

/// Turns the thresholds of the file into those of the scenario, for the time that `window` says.
pub(super) fn thresholds(
    written: IndexMap<String, Vec<String>>,
    at: &NodePath,
    window: Window,
    check: &mut Check,
) -> Vec<Threshold> {
    let mut thresholds = Vec::new();
    for (text, expressions) in written {
        let at = at.key(&text);
        let Some(selector) = selector(&text, &at, check) else { continue };
        let whole_run_only = WHOLE_RUN_ONLY.iter().find(|(metric, _)| *metric == selector.metric.name);
        if let (Window::Fault, Some((metric, why))) = (window, whole_run_only) {
            check.key(&at, format!("`{metric}` cannot be judged during a fault: {why}"));
            continue;
        }
        if expressions.is_empty() {
            check.key(&at, format!("{} has no expression", quote(&text)));
        }
        thresholds.extend(selector.thresholds(&text, &expressions, &at, check));
    }
    thresholds
}

/// A metric, or the part of it that tags select.
struct Selector {
    metric: &'static Metric,
    tags: BTreeMap<String, String>,
}

impl Selector {
    fn thresholds(&self, written: &str, expressions: &[String], at: &NodePath, check: &mut Check) -> Vec<Threshold> {
        let read = expressions.iter().enumerate().filter_map(|(index, text)| match expression(text, self.metric) {
            Ok(expression) => Some(Threshold {
                metric: self.metric.name,
                tags: self.tags.clone(),
                expression,
                selector_text: written.to_owned(),
                text: text.clone(),
            }),
            Err(message) => {
                check.value(&at.index(index), message);
                None
            }
        });
        read.collect()
    }
}

/// Takes `metric{tag:value,…}` apart.
fn selector(text: &str, at: &NodePath, check: &mut Check) -> Option<Selector> {
    let (name, filters) = match text.split_once('{') {
        None => (text, ""),
        Some((name, rest)) => match rest.strip_suffix('}') {
            Some(filters) if !filters.trim().is_empty() => (name, filters),
            _ => {
                check.key(at, format!("{} is not written as `metric{{tag:value}}`", quote(text)));
                return None;
            }
        },
    };
    let name = name.trim();
    let Some(metric) = metric(name) else {
        let problem = check.key(at, format!("unknown metric {}", quote(name)));
        problem.suggest(name, METRICS.iter().map(|metric| metric.name));
        return None;
    };
    let mut tags = BTreeMap::new();
    for filter in filters.split(',').filter(|_| !filters.is_empty()) {
        let (tag, value) = tag(filter, metric, at, check)?;
        if tags.insert(tag.to_owned(), value.to_owned()).is_some() {
            check.key(at, format!("the tag `{tag}` is given twice"));
            return None;
        }
    }
    Some(Selector { metric, tags })
}

/// Takes `tag:value` apart.
fn tag<'a>(filter: &'a str, metric: &Metric, at: &NodePath, check: &mut Check) -> Option<(&'a str, &'a str)> {
    let (tag, value) = filter.split_once(':').map_or((filter.trim(), ""), |(tag, value)| (tag.trim(), value.trim()));
    let name = metric.name;
    let Some((_, values)) = metric.tags.iter().find(|(known, _)| *known == tag) else {
        let problem = check.key(at, format!("`{name}` has no tag {}", quote(tag)));
        problem.suggest(tag, metric.tags.iter().map(|(known, _)| *known));
        return None;
    };
    if !values.contains(&value) {
        let problem = check.key(at, format!("the tag `{tag}` of `{name}` has no value {}", quote(value)));
        problem.suggest(value, values.iter().copied());
        return None;
    }
    Some((tag, value))
}

fn expression(text: &str, metric: &Metric) -> Result<Expression, String> {
    let form = || format!("{} is not a threshold; write {}", quote(text), example(metric.kind));
    let at = text.find(['<', '>', '=', '!']).ok_or_else(form)?;
    let (left, right) = text.split_at(at);
    let operator_ends = right.find(|character| !"<>=!".contains(character)).ok_or_else(form)?;
    let (operator, bound) = right.split_at(operator_ends);
    let comparison = COMPARISONS.iter().find(|(known, _)| *known == operator).map(|(_, comparison)| *comparison);
    let comparison =
        comparison.ok_or_else(|| format!("{} is no comparison; there are <, <=, >, >=, == and !=", quote(operator)))?;
    let aggregate = aggregate(left.trim(), metric)?;
    let bound = self::bound(bound.trim(), metric.kind).ok_or_else(form)?;
    Ok(Expression { aggregate, comparison, bound })
}

fn example(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Trend => "a duration with its unit, like `p(99)<50ms`",
        MetricKind::Rate => "a share from 0 to 1, like `rate<0.01`",
        MetricKind::Counter => "a number, like `count>=100`",
    }
}

/// Every aggregate that is a word, and what it can be taken of.
pub(super) fn plain_aggregates() -> impl Iterator<Item = (&'static str, Aggregate, MetricKind)> {
    [
        ("avg", Aggregate::Avg, MetricKind::Trend),
        ("min", Aggregate::Min, MetricKind::Trend),
        ("med", Aggregate::Med, MetricKind::Trend),
        ("max", Aggregate::Max, MetricKind::Trend),
        ("rate", Aggregate::Rate, MetricKind::Rate),
        ("count", Aggregate::Count, MetricKind::Counter),
    ]
    .into_iter()
}

fn aggregate(text: &str, metric: &Metric) -> Result<Aggregate, String> {
    let plain = plain_aggregates().find(|(name, ..)| *name == text);
    let (aggregate, kind) = match plain {
        Some((_, aggregate, kind)) => (aggregate, kind),
        None => {
            let inner = text.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
            let Some(inner) = inner else {
                return Err(format!(
                    "unknown aggregate {}; `{}` has {}",
                    quote(text),
                    metric.name,
                    aggregates(metric.kind)
                ));
            };
            let percent = decimal(inner.trim()).filter(|percent| *percent > 0.0 && *percent <= 100.0);
            let percent = percent.ok_or_else(|| format!("{} is no percentile from 0 to 100", quote(text)))?;
            (Aggregate::Percentile(percent), MetricKind::Trend)
        }
    };
    if kind == metric.kind {
        return Ok(aggregate);
    }
    Err(format!("`{}` has no {}; it has {}", metric.name, quote(text), aggregates(metric.kind)))
}

/// The aggregates of a metric of this kind, for people.
pub(super) fn aggregates(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Trend => "avg, min, med, max and p(N)",
        MetricKind::Rate => "rate",
        MetricKind::Counter => "count",
    }
}

fn bound(text: &str, kind: MetricKind) -> Option<f64> {
    match kind {
        MetricKind::Trend => duration(text).ok().map(|duration| duration.as_micros() as f64),
        MetricKind::Rate => decimal(text).filter(|share| (0.0..=1.0).contains(share)),
        MetricKind::Counter => decimal(text).filter(|count| *count >= 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, parsed};
    use super::*;

    const HEAD: &str = "version: 1
name: x
shop: { users: 1, catalog: { generate: 1, stock: 1 } }
load: { g: { executor: constant-vus, vus: 1, duration: 1s, journey: [ view: any ] } }
";

    fn threshold(selector: &str, expression: &str) -> String {
        format!("{HEAD}expect:\n  thresholds:\n    {selector}: [ \"{expression}\" ]\n")
    }

    #[test]
    fn all_invariants_are_checked_unless_some_are_named() {
        assert_eq!(parsed(HEAD).expect, Expect { thresholds: vec![], during: vec![], invariants: INVARIANTS.to_vec() });
        let some = format!("{HEAD}expect: {{ invariants: [ events_gapless, stock_conserved ] }}");
        assert_eq!(parsed(&some).expect.invariants, ["stock_conserved", "events_gapless"]);
    }

    #[test]
    fn invariants_are_known_names() {
        let expect = |text: &str| format!("{HEAD}expect: {{ invariants: {text} }}");
        check(
            &expect("[ stock_conservd ]"),
            &[("5:25", "unknown invariant `stock_conservd`, did you mean `stock_conserved`?")],
        );
        check(&expect("some"), &[("5:23", "`invariants` is `all` or a list of names, not `some`")]);
        check(&expect("[]"), &[("5:23", "proves nothing")]);
        check(&expect("{ a: b }"), &[("5:23", "`invariants` is the word `all` or a list")]);
    }

    #[test]
    fn a_threshold_is_taken_apart() {
        let text = threshold("saga_step_duration{step:reserve_stock, outcome:done}", "p(99.9) <= 1.5ms");
        let threshold = parsed(&text).expect.thresholds.remove(0);
        assert_eq!(threshold.metric, "saga_step_duration");
        assert_eq!(threshold.tags["step"], "reserve_stock");
        assert_eq!(threshold.tags["outcome"], "done");
        let expected =
            Expression { aggregate: Aggregate::Percentile(99.9), comparison: Comparison::LessOrEqual, bound: 1500.0 };
        assert_eq!(threshold.expression, expected);
        assert_eq!(threshold.text, "p(99.9) <= 1.5ms");
    }

    #[test]
    fn a_threshold_is_kept_or_missed() {
        let judged = |expression: &str, observed: f64| {
            parsed(&threshold("orders", expression)).expect.thresholds[0].judge(observed)
        };
        for (operator, below, equal, above) in [
            ("<", true, false, false),
            ("<=", true, true, false),
            (">", false, false, true),
            (">=", false, true, true),
            ("==", false, true, false),
            ("!=", true, false, true),
        ] {
            let expression = format!("count{operator}10");
            assert_eq!([9.0, 10.0, 11.0].map(|seen| judged(&expression, seen)), [below, equal, above], "{operator}");
            assert!(!judged(&expression, f64::NAN), "{operator}");
        }
    }

    #[test]
    fn selectors_name_what_is_measured() {
        for (selector, message) in [
            ("saga_step_duratio", "unknown metric `saga_step_duratio`, did you mean `saga_step_duration`?"),
            ("saga_step_duration{stp:create}", "`saga_step_duration` has no tag `stp`, did you mean `step`?"),
            ("saga_step_duration{step:reserve}", "has no value `reserve`"),
            ("saga_step_duration{step}", "has no value ``"),
            ("saga_step_duration{step:create,step:cancel}", "the tag `step` is given twice"),
            ("saga_step_duration{}", "is not written as `metric{tag:value}`"),
            ("saga_step_duration{step:create", "is not written as `metric{tag:value}`"),
            ("order_duration{step:create}", "`order_duration` has no tag `step`"),
        ] {
            check(&threshold(selector, "p(99)<1s"), &[("7:5", message)]);
        }
    }

    #[test]
    fn expressions_suit_their_metric() {
        for (selector, expression, message) in [
            ("order_duration", "p(99)<50", "write a duration with its unit, like `p(99)<50ms`"),
            ("order_duration", "p(101)<50ms", "`p(101)` is no percentile"),
            ("order_duration", "p99<50ms", "unknown aggregate `p99`"),
            ("order_duration", "rate<0.1", "`order_duration` has no `rate`; it has avg, min, med, max and p(N)"),
            ("order_duration", "p(99)=50ms", "`=` is no comparison"),
            ("order_duration", "p(99)", "`p(99)` is not a threshold"),
            ("order_duration", "p(99)<", "`p(99)<` is not a threshold"),
            ("order_errors", "rate<1%", "write a share from 0 to 1"),
            ("order_errors", "rate<1.5", "write a share from 0 to 1"),
            ("order_errors", "count<1", "`order_errors` has no `count`; it has rate"),
            ("orders", "count>=-1", "write a number, like `count>=100`"),
            ("orders", "count>=inf", "write a number, like `count>=100`"),
            ("orders", "", "`` is not a threshold"),
        ] {
            let place = format!("7:{}", 9 + selector.len());
            check(&threshold(selector, expression), &[(&place, message)]);
        }
        check(&format!("{HEAD}expect: {{ thresholds: {{ orders: [] }} }}"), &[("5:25", "`orders` has no expression")]);
        check(&format!("{HEAD}expect: {{ thresholds: {{ orders: count>1 }} }}"), &[("5:33", "`orders` is a list")]);
    }

    #[test]
    fn cancellations_are_told_apart_by_state_and_reason() {
        let text = threshold("cancellations{from:reserved,reason:by_client}", "count>=1");
        assert_eq!(parsed(&text).expect.thresholds[0].tags["from"], "reserved");
        check(
            &threshold("cancellations{from:RESERVED}", "count>=1"),
            &[("7:5", "the tag `from` of `cancellations` has no value `RESERVED`, did you mean `reserved`?")],
        );
    }

    #[test]
    fn every_metric_that_is_told_for_the_whole_run_only_exists() {
        assert!(WHOLE_RUN_ONLY.iter().all(|(name, _)| metric(name).is_some()));
    }
}
