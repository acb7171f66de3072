//! The summary as a person reads it at the end of a run.

use std::fmt::Write as _;

use super::summary::{FaultResult, Percentiles, Summary};
use super::threshold::Outcome;
use shop::World;

/// `1.2 ms`, `340 µs`, `2.1 s`; a dash without samples.
pub fn micros(value: Option<u64>) -> String {
    match value {
        None => "–".into(),
        Some(us) if us < 1_000 => format!("{us} µs"),
        Some(us) if us < 1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// What a threshold's metric came out as, in its own unit.
pub fn observed(metric: &str, value: Option<f64>) -> String {
    match value {
        None => "no samples".into(),
        Some(value) if metric.contains("duration") || metric.ends_with("_within") => micros(Some(value.round() as u64)),
        Some(value) if metric.starts_with("order_errors") || metric.starts_with("http_req_failed") => {
            format!("{:.2} %", value * 100.0)
        }
        Some(value) => format!("{value}"),
    }
}

pub const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Kept => "kept",
        Outcome::Missed => "MISSED",
        Outcome::TooFewSamples => "TOO FEW SAMPLES",
        Outcome::NotJudged => "not judged in virtual time",
    }
}

fn row(p: &Percentiles) -> String {
    format!("{:>9} {:>9} {:>9} {:>9}", micros(p.p50_us), micros(p.p95_us), micros(p.p99_us), micros(p.max_us))
}

/// The closing screen.
pub fn render(summary: &Summary) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = write(&mut text, summary);
    text
}

fn write(text: &mut String, summary: &Summary) -> std::fmt::Result {
    let orders = &summary.orders;
    let virtual_time = if summary.infra == World::Simulated { " (virtual time)" } else { "" };
    writeln!(text)?;
    writeln!(
        text,
        "orders      {} started in {:.1} s{virtual_time}: {} confirmed, {} cancelled, {} rejected, {} errors, {} unknown",
        orders.started,
        summary.load_s,
        orders.confirmed,
        orders.cancelled,
        orders.rejected,
        orders.errors,
        orders.unknown
    )?;
    if !orders.cancelled_by.is_empty() {
        let reasons: Vec<String> = orders.cancelled_by.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        writeln!(text, "cancelled   {}", reasons.join(", "))?;
    }
    if !summary.cancellations.is_empty() {
        let where_: Vec<String> = summary
            .cancellations
            .iter()
            .map(|one| format!("{} {} while {}", one.orders, one.reason, one.from))
            .collect();
        writeln!(text, "aborted     {}", where_.join(", "))?;
    }
    if orders.units_confirmed.len() <= 3 {
        for (sku, units) in &orders.units_confirmed {
            writeln!(text, "sold        {units} units of {sku}")?;
        }
    } else {
        let units: u64 = orders.units_confirmed.values().sum();
        writeln!(text, "sold        {units} units of {} products", orders.units_confirmed.len())?;
    }
    writeln!(text)?;
    writeln!(text, "{:<18}{:>8} {:>9} {:>9} {:>9} {:>9}", "saga step", "attempts", "p50", "p95", "p99", "max")?;
    for step in order::domain::Step::ALL {
        if let Some(found) = summary.steps.get(step.as_str()) {
            writeln!(text, "  {:<16}{:>8} {}", step.as_str(), found.count, row(&found.percentiles))?;
        }
    }
    writeln!(text, "{:<18}{:>8}", "http, from due", "requests")?;
    for (name, http) in &summary.http {
        writeln!(text, "  {name:<16}{:>8} {}", http.count, row(&http.corrected))?;
    }
    broken(text, summary)?;
    writeln!(text)?;
    for result in &summary.thresholds {
        let seen = observed(&result.metric, result.observed);
        let what = format!("{}{} {}", result.prefix(), result.metric, result.expression);
        writeln!(text, "threshold   {what:<55} {seen:>10}  {}", outcome(result.outcome))?;
    }
    let seen =
        summary.invariants.iter().filter(|finding| finding.not_applicable.is_none() && finding.why_unseen().is_none());
    let (broken, kept): (Vec<_>, Vec<_>) = seen.partition(|finding| finding.violations > 0);
    let checked: u64 = kept.iter().map(|finding| finding.checked).sum();
    writeln!(text, "invariants  {} kept ({checked} checks), {} broken", kept.len(), broken.len())?;
    for finding in broken {
        writeln!(text, "  BROKEN    {} ({} of {})", finding.name, finding.violations, finding.checked)?;
        for example in &finding.examples {
            writeln!(text, "            {example}")?;
        }
    }
    for finding in &summary.invariants {
        if let Some(why) = &finding.not_applicable {
            writeln!(text, "            {} not applicable: {why}", finding.name)?;
        }
    }
    writeln!(text)?;
    let word = if summary.exit_code == 0 { "PASSED" } else { "FAILED" };
    writeln!(text, "{word} (exit {}): {}", summary.exit_code, summary.verdict.because)?;
    for reason in summary.verdict.reasons.iter().skip(1) {
        writeln!(text, "       also: {reason}")?;
    }
    Ok(())
}

/// What was broken on purpose, and what the breaker made of it.
fn broken(text: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.faults.is_empty() && summary.breaker.transitions.is_empty() {
        return Ok(());
    }
    writeln!(text)?;
    for fault in &summary.faults {
        let by_hand = if fault.manual { " (by hand)" } else { "" };
        writeln!(text, "fault       {}{by_hand}: {}", fault.name, fault_story(fault))?;
    }
    let transitions = &summary.breaker.transitions;
    for transition in transitions.iter().take(TRANSITIONS_SHOWN) {
        let at = summary.since_start_s(transition.at_us);
        writeln!(text, "breaker     {at:>6.2} s  {} → {} ({})", transition.from, transition.to, transition.why)?;
    }
    if transitions.len() > TRANSITIONS_SHOWN {
        writeln!(text, "            … and {} more", transitions.len() - TRANSITIONS_SHOWN)?;
    }
    if summary.manual {
        writeln!(text, "by hand     somebody stepped in: this run is not comparable with others")?;
    }
    Ok(())
}

/// How many transitions of the breaker are worth a line each.
const TRANSITIONS_SHOWN: usize = 12;

/// `payment-provider outage from 4.0 s to 8.0 s, touched 212 calls`
pub fn fault_story(fault: &FaultResult) -> String {
    let parameters: Vec<String> = fault.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parameters = if parameters.is_empty() { String::new() } else { format!("({})", parameters.join(", ")) };
    let what = format!("{} {}{parameters}", fault.target, fault.kind);
    match (&fault.failure, fault.injected_at_s, fault.lifted_at_s) {
        (Some(why), ..) => format!("{what}: {why}"),
        (None, None, _) => format!("{what}: never came"),
        (None, Some(from), Some(to)) => format!("{what} from {from:.1} s to {to:.1} s, touched {} calls", fault.hits),
        (None, Some(from), None) => format!("{what} from {from:.1} s on, touched {} calls", fault.hits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_unit_that_fits() {
        let shown: Vec<String> = [None, Some(340), Some(1_234), Some(2_100_000)].into_iter().map(micros).collect();
        assert_eq!(shown, ["–", "340 µs", "1.2 ms", "2.10 s"]);
    }
}
