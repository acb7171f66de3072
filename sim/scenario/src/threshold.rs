//! `thresholds`: metrics, tags and expressions, written as in k6.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chassis::settings::duration;
use indexmap::IndexMap;

use super::check::{Check, decimal};
use super::error::quote;
use super::metrics::{METRICS, Metric, MetricKind, WHOLE_RUN_ONLY, aggregates, metric};
use super::places::NodePath;

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

/// The comparisons of thresholds, longer ones first where one begins another.
pub(super) const COMPARISONS: &[(&str, Comparison)] = &[
    ("<=", Comparison::LessOrEqual),
    ("<", Comparison::Less),
    (">=", Comparison::GreaterOrEqual),
    (">", Comparison::Greater),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
];

/// The time that thresholds speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    Run,
    Fault,
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
    let nothing_is = match comparison {
        Comparison::Less => bound <= 0.0,
        Comparison::Greater => metric.kind == MetricKind::Rate && bound >= 1.0,
        _ => false,
    };
    if nothing_is {
        return Err(format!("{} can never be kept", quote(text)));
    }
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

fn bound(text: &str, kind: MetricKind) -> Option<f64> {
    match kind {
        MetricKind::Trend => duration(text).ok().map(|duration| duration.as_micros() as f64),
        MetricKind::Rate => decimal(text).filter(|share| (0.0..=1.0).contains(share)),
        MetricKind::Counter => decimal(text).filter(|count| *count >= 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GOOD as HEAD, check, parsed};
    use super::*;

    fn threshold(selector: &str, expression: &str) -> String {
        format!("{HEAD}expect:\n  thresholds:\n    {selector}: [ \"{expression}\" ]\n")
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
            ("order_errors", "rate<0", "`rate<0` can never be kept"),
            ("order_errors", "rate>1", "`rate>1` can never be kept"),
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
}
