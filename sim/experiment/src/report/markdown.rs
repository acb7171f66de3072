//! `report.md`: the summary for a pull request or a wiki.

use std::fmt::Write as _;

use super::summary::{Percentiles, Summary};
use super::terminal::{fault_story, micros, observed, outcome};

/// The report; a pure function of the summary.
pub fn render(summary: &Summary) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = write(&mut text, summary);
    text
}

fn cells(p: &Percentiles) -> String {
    let all = [p.p50_us, p.p90_us, p.p95_us, p.p99_us, p.p999_us, p.max_us];
    all.map(micros).join(" | ")
}

fn write(text: &mut String, summary: &Summary) -> std::fmt::Result {
    let word = if summary.exit_code == 0 { "passed" } else { "failed" };
    writeln!(text, "# {}: {word}\n", summary.scenario.name)?;
    writeln!(text, "{}\n", summary.scenario.about)?;
    writeln!(text, "**Exit {}**: {}.\n", summary.exit_code, summary.verdict.because)?;
    for reason in summary.verdict.reasons.iter().skip(1) {
        writeln!(text, "- also: {reason}")?;
    }
    circumstances(text, summary)?;
    orders(text, summary)?;
    latencies(text, summary)?;
    faults(text, summary)?;
    judged(text, summary)
}

fn circumstances(text: &mut String, summary: &Summary) -> std::fmt::Result {
    writeln!(text, "\n| | |\n|---|---|")?;
    let mut row = |name: &str, value: String| writeln!(text, "| {name} | {value} |");
    row("seed", summary.seed.to_string())?;
    row("scenario hash", format!("`{}`", summary.scenario.hash))?;
    row("world", format!("{:?}, {}", summary.infra, summary.durability))?;
    row("machine", summary.machine.clone())?;
    row("commit", summary.commit.clone().unwrap_or_else(|| "unknown".into()))?;
    row("shop up in", format!("{:.0} ms", summary.startup_ms))?;
    row("seeded in", format!("{:.0} ms", summary.seeding_ms))?;
    let settings: Vec<String> = summary.settings.iter().map(|(name, value)| format!("`{name}: {value}`")).collect();
    row("settings", settings.join(", "))
}

fn orders(text: &mut String, summary: &Summary) -> std::fmt::Result {
    let orders = &summary.orders;
    writeln!(
        text,
        "\n## Orders\n\n| started | confirmed | cancelled | rejected | errors | unknown |\n|--:|--:|--:|--:|--:|--:|"
    )?;
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} |\n",
        orders.started, orders.confirmed, orders.cancelled, orders.rejected, orders.errors, orders.unknown
    )?;
    writeln!(text, "{:.1} confirmed orders a second over {:.1} s of load.", summary.throughput_per_s, summary.load_s)?;
    for (reason, count) in &orders.cancelled_by {
        writeln!(text, "- cancelled, {reason}: {count}")?;
    }
    for (sku, units) in orders.units_confirmed.iter().take(20) {
        writeln!(text, "- {units} units of {sku} confirmed")?;
    }
    Ok(())
}

fn latencies(text: &mut String, summary: &Summary) -> std::fmt::Result {
    let head = "| | count | measured | p50 | p90 | p95 | p99 | p99.9 | max |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|";
    writeln!(
        text,
        "\n## Saga steps\n\nCounts are of the whole run; percentiles leave the warm-up ({} s) out.\n\n{head}",
        summary.scenario.warmup_s
    )?;
    for step in order::domain::Step::ALL {
        let Some(found) = summary.steps.get(step.as_str()) else { continue };
        let outcomes: Vec<String> = found.outcomes.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        let name = format!("`{step}` ({})", outcomes.join(", "));
        writeln!(text, "| {name} | {} | {} | {} |", found.count, found.measured, cells(&found.percentiles))?;
    }
    writeln!(
        text,
        "\n## HTTP\n\nFrom the instant that a request was due; below it, uncorrected, from when it was sent.\n\n{head}"
    )?;
    for (name, http) in &summary.http {
        writeln!(
            text,
            "| {name} ({} failed) | {} | {} | {} |",
            http.failed,
            http.count,
            http.measured,
            cells(&http.corrected)
        )?;
        writeln!(text, "| *uncorrected* | | | {} |", cells(&http.uncorrected))?;
    }
    Ok(())
}

fn faults(text: &mut String, summary: &Summary) -> std::fmt::Result {
    if summary.manual {
        writeln!(text, "\nSomebody stepped in: this run is not comparable with others.")?;
    }
    if !summary.faults.is_empty() {
        writeln!(text, "\n## Faults\n")?;
    }
    for fault in &summary.faults {
        let by_hand = if fault.manual { " (by hand)" } else { "" };
        writeln!(text, "- **{}**{by_hand}: {}", fault.name, fault_story(fault))?;
    }
    if summary.breaker.transitions.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Circuit breaker\n\n| at | from | to | why |\n|--:|---|---|---|")?;
    for one in &summary.breaker.transitions {
        writeln!(text, "| {:.2} s | {} | {} | {} |", summary.since_start_s(one.at_us), one.from, one.to, one.why)?;
    }
    Ok(())
}

fn judged(text: &mut String, summary: &Summary) -> std::fmt::Result {
    writeln!(text, "\n## Thresholds\n\n| metric | expression | observed | samples | |\n|---|---|--:|--:|---|")?;
    for result in &summary.thresholds {
        let seen = observed(&result.metric, result.observed);
        let (metric, expression) = (format!("{}{}", result.prefix(), result.metric), &result.expression);
        writeln!(text, "| `{metric}` | `{expression}` | {seen} | {} | {} |", result.samples, outcome(result.outcome))?;
    }
    writeln!(text, "\n## Invariants\n\n| invariant | checked | violations | examples |\n|---|--:|--:|---|")?;
    for finding in &summary.invariants {
        if let Some(why) = &finding.not_applicable {
            writeln!(text, "| {} | – | – | not applicable: {why} |", finding.name)?;
            continue;
        }
        let examples = finding.examples.join("; ");
        writeln!(text, "| {} | {} | {} | {examples} |", finding.name, finding.checked, finding.violations)?;
    }
    writeln!(text, "\n## Resources\n\n| | CPU per order | peak memory |\n|---|--:|--:|")?;
    for (name, used) in &summary.resources {
        let cpu = used.cpu_us_per_order.map(|us| format!("{us:.0} µs")).unwrap_or_default();
        let memory = used.rss_mb.map(|mb| format!("{mb:.0} MB")).unwrap_or_default();
        writeln!(text, "| {name} | {cpu} | {memory} |")?;
    }
    let generator = &summary.generator;
    let cpu = generator.cpu_pct.map(|pct| format!("{pct:.0} % of a core")).unwrap_or_else(|| "–".into());
    writeln!(
        text,
        "\nThe generator used {cpu}, began journeys {} late (p99) and dropped {} arrivals.",
        micros(generator.schedule_lag_p99_us),
        generator.dropped
    )
}
