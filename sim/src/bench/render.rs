//! A comparison for people.

use std::fmt::Write as _;

use super::{Comparison, Round, Side, median};

/// As Markdown: what was compared, the medians, every round, and who used the processor.
pub fn markdown(comparison: &Comparison) -> String {
    let Comparison { name, about, machine, commit, command, unit, sides, ratio, cpu_ratio, broken, doubtful, .. } =
        comparison;
    let [first, second] = sides;
    let mut text = format!("# {name}\n\n{about}\n\n");
    // Writing into a String does not fail.
    let _ = writeln!(
        text,
        "**`{}` does {} times as many {unit} a second as `{}`, with {} times the CPU for each.**\n",
        first.name,
        figures(*ratio),
        second.name,
        figures(*cpu_ratio)
    );
    let commit = commit.as_deref().unwrap_or("unknown");
    let _ = writeln!(text, "Command: `{command}` · commit {commit} · {machine}\n");
    for why in broken {
        let _ = writeln!(text, "**These figures mean nothing**: {why}\n");
    }
    for why in doubtful {
        let _ = writeln!(text, "**These figures are doubtful**: {why}\n");
    }
    let _ = writeln!(text, "| median of the rounds | {} a second | p50 | p99 | CPU each |", unit);
    text.push_str("|---|---:|---:|---:|---:|\n");
    for side in sides {
        let of = |value: fn(&Round) -> f64| median(side.rounds.iter().map(value));
        let (p50, p99) = (of(|round| round.p50_ms), of(|round| round.p99_ms));
        let cpu = of(|round| round.all_cpu_us());
        let _ =
            writeln!(text, "| `{}` | {:.0} | {p50:.1} ms | {p99:.1} ms | {cpu:.0} µs |", side.name, side.per_second);
    }
    text.push_str("\n| round | side | seconds | done | failed | a second | p50 | p99 |\n");
    text.push_str("|---:|---|---:|---:|---:|---:|---:|---:|\n");
    for (number, (a, b)) in first.rounds.iter().zip(&second.rounds).enumerate() {
        for (side, round) in [(first, a), (second, b)] {
            let Round { seconds, done, failed, per_second, p50_ms, p99_ms, .. } = round;
            let _ = writeln!(
                text,
                "| {} | `{}` | {seconds:.1} | {done} | {failed} | {per_second:.0} | {p50_ms:.1} ms | {p99_ms:.1} ms |",
                number + 1,
                side.name
            );
        }
    }
    text.push_str("\n| CPU each, median | ");
    let _ = writeln!(text, "`{}` | `{}` |", first.name, second.name);
    text.push_str("|---|---:|---:|\n");
    for part in first.rounds.iter().flat_map(|round| round.cpu_us.keys()).collect::<std::collections::BTreeSet<_>>() {
        let of =
            |side: &Side| median(side.rounds.iter().map(|round| round.cpu_us.get(part).copied().unwrap_or_default()));
        let _ = writeln!(text, "| {part} | {:.0} µs | {:.0} µs |", of(first), of(second));
    }
    for side in sides {
        let settings: Vec<String> = side.settings.iter().map(|(name, value)| format!("`{name}={value}`")).collect();
        let _ = writeln!(text, "\n`{}`: {}", side.name, settings.join(", "));
    }
    text
}

/// Three figures, of which those before the point are never cut.
fn figures(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::VERSION;

    #[test]
    fn a_comparison_is_told_with_its_ratio_its_rounds_and_what_is_wrong() {
        let round = |done: u64, cpu: f64| Round {
            seconds: 2.0,
            done,
            failed: 0,
            per_second: done as f64 / 2.0,
            p50_ms: 1.25,
            p99_ms: 9.0,
            cpu_us: BTreeMap::from([("postgres".to_owned(), cpu), ("inventory".to_owned(), 20.0)]),
        };
        let settings = |value: &str| BTreeMap::from([("inventory.strategy".to_owned(), value.to_owned())]);
        let fast = Side::of("batched", settings("batched"), vec![round(6000, 40.0), round(6200, 42.0)]);
        let slow = Side::of("optimistic", settings("optimistic"), vec![round(200, 900.0), round(210, 910.0)]);
        let comparison = Comparison {
            version: VERSION,
            name: "hot-product",
            about: "64 buyers want one product.".into(),
            machine: "2 cores".into(),
            commit: Some("0123456789ab".into()),
            command: "shopctl bench hot-product".into(),
            unit: "reservations",
            ratio: 29.8,
            cpu_ratio: 0.0665,
            sides: [fast, slow],
            broken: vec!["3 units are missing".into()],
            doubtful: vec!["optimistic: the run exited 99".into()],
        };
        insta::assert_snapshot!(markdown(&comparison));
    }
}
