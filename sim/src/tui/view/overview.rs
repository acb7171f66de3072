//! The first page: how the shop does, over time and so far.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use tokio::time::Duration;

use super::plot::{Curve, GUTTER, Scale, plot, time_axis};
use super::widgets::{fit, gauge, put, put_right, puts, section, split_columns, split_rows, width};
use super::words;
use crate::tui::history::Sample;
use crate::tui::state::State;
use experiment::report::terminal::observed;
use experiment::run::glance::{FaultGlance, Quantiles, Standing, ThresholdGlance};

/// Fates in the order of a good day.
const FATES: [&str; 6] = ["confirmed", "cancelled", "open", "rejected", "errors", "unknown"];

/// A threshold with less than this share to spare is shown as a near miss.
const TIGHT: f64 = 0.1;

pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let all = state.tick.thresholds.len().max(1) as u16;
    let thresholds_rows = 1 + all.min((area.height / 4).max(3));
    let (top, bottom) = split_rows(area, area.height - thresholds_rows);
    let side_columns = (area.width * 3 / 10).clamp(30, 58);
    let (main, side) = split_columns(top, top.width - side_columns - 2, 2);
    charts(state, buf, main);
    self::side(state, buf, side);
    thresholds(state, buf, bottom);
}

/// Curves over one time axis, and below it what happened when.
fn charts(state: &State, buf: &mut Buffer, area: Rect) {
    let faults = (state.tick.faults.len() as u16).min((area.height / 6).max(1));
    let (curves, lanes) = split_rows(area, area.height.saturating_sub(2 + faults));
    let three = curves.height >= 24;
    let parts = if three { 3 } else { 2 };
    let (first, rest) = split_rows(curves, curves.height / parts);
    arrivals(state, buf, first);
    if three {
        let (second, third) = split_rows(rest, rest.height / 2);
        throughput(state, buf, second);
        latency(state, buf, third);
    } else {
        latency(state, buf, rest);
    }
    let (axis, lanes) = split_rows(lanes, 1);
    time_axis(buf, axis, state.theme, state.axis());
    let (breaker, lanes) = split_rows(lanes, 1);
    breaker_lane(state, buf, breaker);
    fault_lanes(state, buf, lanes);
}

/// The samples that the time axis shows, and one before, so that curves come from somewhere.
fn visible(state: &State) -> Vec<&Sample> {
    let from = state.axis().0;
    let samples: Vec<&Sample> = state.history.iter().collect();
    let first = samples.partition_point(|sample| sample.at.as_secs_f64() < from).saturating_sub(1);
    samples.into_iter().skip(first).collect()
}

fn curve(samples: &[&Sample], style: Style, value: impl Fn(&Sample) -> Option<f64>) -> Curve {
    let point = |sample: &&Sample| value(sample).map(|value| (sample.at.as_secs_f64(), value));
    Curve { points: samples.iter().map(point).collect(), style, dotted: false }
}

fn arrivals(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, tick) = (state.theme, &state.tick);
    let planned = tick.planned_per_s.map(|planned| format!("┄ planned {}", words::rate(planned)));
    let reached = format!("─ reached {}", words::rate(tick.begun_per_s));
    let mut beside = vec![(reached.as_str(), theme.series(0))];
    if let Some(planned) = &planned {
        beside.insert(0, (planned, theme.faint()));
    }
    let name = if planned.is_some() || !state.facts.plan.is_empty() { "Arrivals" } else { "Journeys begun" };
    let area = section(buf, area, theme, name, &beside);
    let samples = visible(state);
    let plan = state.facts.plan.iter().map(|(at, rate)| Some((at.as_secs_f64(), *rate)));
    let plan = Curve { points: plan.collect(), style: theme.faint(), dotted: true };
    let begun = curve(&samples, theme.series(0), |sample| Some(sample.begun_per_s));
    let values = plan.points.iter().chain(&begun.points).flatten().map(|(_, rate)| *rate);
    let scale = Scale::per_second(values);
    plot(buf, area, theme, state.axis(), scale, &[plan, begun]);
}

fn throughput(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, tick) = (state.theme, &state.tick);
    let ended = format!("─ ended {}", words::rate(tick.ended_per_s));
    let confirmed = format!("─ confirmed {}", words::rate(tick.confirmed_per_s));
    let beside = [(ended.as_str(), theme.series(1)), (confirmed.as_str(), theme.series(0))];
    let area = section(buf, area, theme, "Orders", &beside);
    let samples = visible(state);
    let ended = curve(&samples, theme.series(1), |sample| Some(sample.ended_per_s));
    let confirmed = curve(&samples, theme.series(0), |sample| Some(sample.confirmed_per_s));
    let scale = Scale::per_second(ended.points.iter().flatten().map(|(_, rate)| *rate));
    plot(buf, area, theme, state.axis(), scale, &[ended, confirmed]);
}

fn latency(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let samples = visible(state);
    let now = state.tick.latency;
    let shown = |name: &str, of: fn(&Quantiles) -> u64| format!("{name} {}", words::short_us(now.as_ref().map(of)));
    let (p50, p95, p99) = (shown("p50", |q| q.p50_us), shown("p95", |q| q.p95_us), shown("p99", |q| q.p99_us));
    // As they lie, from above.
    let beside = [(p99.as_str(), theme.series(2)), (p95.as_str(), theme.series(1)), (p50.as_str(), theme.series(0))];
    let area = section(buf, area, theme, "Latency", &beside);
    let all = samples.iter().filter_map(|sample| sample.latency);
    let scale = Scale::latency(all.flat_map(|latency| [latency.p50_us, latency.p99_us]));
    let of = |style: Style, value: fn(&Quantiles) -> u64| {
        curve(&samples, style, move |sample| sample.latency.as_ref().map(|latency| value(latency) as f64))
    };
    let curves =
        [of(theme.series(2), |q| q.p99_us), of(theme.series(1), |q| q.p95_us), of(theme.series(0), |q| q.p50_us)];
    plot(buf, area, theme, state.axis(), scale, &curves);
}

/// What a stretch of time is drawn with.
type Mark = (&'static str, Style);

/// Marks on the time axis.
struct Lane {
    columns: u16,
    time: (f64, f64),
}

impl Lane {
    /// The columns of a stretch of time, as far as they are shown; one at least.
    fn columns(&self, from: f64, to: f64) -> Option<(u16, u16)> {
        if to < self.time.0 || from > self.time.1 {
            return None;
        }
        let place = |at: f64| {
            let share = ((at - self.time.0) / (self.time.1 - self.time.0)).clamp(0.0, 1.0);
            (share * f64::from(self.columns - 1)).round() as u16
        };
        Some((place(from), place(to)))
    }

    fn fill(&self, buf: &mut Buffer, area: Rect, y: u16, time: (f64, f64), (mark, style): Mark) {
        if let Some((first, last)) = self.columns(time.0, time.1) {
            put(buf, area, GUTTER + first, y, &mark.repeat(usize::from(last - first + 1)), style);
        }
    }
}

fn lane(state: &State, area: Rect) -> Lane {
    Lane { columns: area.width.saturating_sub(GUTTER).max(1), time: state.axis() }
}

fn breaker_lane(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    put(buf, area, 0, 0, "breaker", theme.faint());
    let lane = lane(state, area);
    let now = state.tick.elapsed.as_secs_f64();
    if state.tick.breaker.is_none() && state.breaker_changes.is_empty() {
        put(buf, area, GUTTER, 0, "not seen yet", theme.faint());
        return;
    }
    let changes = &state.breaker_changes;
    let first = changes.front().map_or(now, |(at, _)| at.as_secs_f64());
    lane.fill(buf, area, 0, (0.0, first), ("─", theme.faint()));
    // What matters more is drawn over what matters less.
    for (wanted, mark, style) in
        [("closed", "─", theme.faint()), ("half-open", "▒", theme.warning()), ("open", "█", theme.bad())]
    {
        let ends = changes.iter().skip(1).map(|(at, _)| at.as_secs_f64()).chain([now]);
        for ((from, state), to) in changes.iter().zip(ends) {
            if state == wanted {
                lane.fill(buf, area, 0, (from.as_secs_f64(), to), (mark, style));
            }
        }
    }
}

fn fault_lanes(state: &State, buf: &mut Buffer, area: Rect) {
    let theme = state.theme;
    let faults = &state.tick.faults;
    let rows = usize::from(area.height);
    let shown = if faults.len() > rows { rows.saturating_sub(1) } else { rows };
    let lane = lane(state, area);
    for (fault, y) in faults.iter().take(shown).zip(0..) {
        if y == 0 {
            put(buf, area, 0, y, "faults", theme.faint());
        }
        fault_lane(state, buf, area, y, &lane, fault);
    }
    if faults.len() > shown && rows > 0 {
        let text = format!("and {} on page 3", words::several((faults.len() - shown) as u64, "fault"));
        put(buf, area, GUTTER, shown as u16, &text, theme.faint());
    }
}

fn fault_lane(state: &State, buf: &mut Buffer, area: Rect, y: u16, lane: &Lane, fault: &FaultGlance) {
    let theme = state.theme;
    let now = state.tick.elapsed;
    let secs = |at: Duration| at.as_secs_f64();
    let mut stretches = Vec::new();
    if let Some((at, lasts)) = fault.planned {
        lane.fill(buf, area, y, (secs(at), secs(at + lasts)), ("░", theme.faint()));
        stretches.push((secs(at), secs(at + lasts)));
    }
    if let Some(from) = fault.injected {
        let to = fault.lifted.unwrap_or(now);
        let mark = if fault.is_active() { ("█", theme.warning()) } else { ("▓", theme.text()) };
        lane.fill(buf, area, y, (secs(from), secs(to)), mark);
        stretches.push((secs(from), secs(to)));
    }
    let word = match (&fault.failure, fault.injected, fault.lifted) {
        (Some(_), _, _) => " FAILED",
        (None, Some(_), None) => " active",
        (None, Some(_), Some(_)) => " lifted",
        (None, None, _) => " planned",
    };
    let style = if fault.failure.is_some() { theme.bad() } else { theme.text() };
    let ends = stretches.iter().filter_map(|(from, to)| lane.columns(*from, *to));
    let (first, last) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0, 0));
    // Behind its time where there is room, else before it.
    let (after, before) = (GUTTER + last + 2, GUTTER + first);
    let full = format!("{}{word}", fault.name);
    let fits = |text: &String| after + width(text) <= area.width;
    // The marks say how it stands, but not that it failed.
    let short = if fault.failure.is_some() { full.clone() } else { fault.name.clone() };
    let label = if fits(&full) { full } else { short };
    if fits(&label) {
        put(buf, area, after, y, &label, style);
    } else if before > GUTTER + 1 {
        let label = fit(&label, before - GUTTER - 1);
        put(buf, area, before - 1 - width(&label), y, &label, style);
    } else {
        put(buf, area, after, y, &fit(&label, area.width.saturating_sub(after)), style);
    }
}

/// The right-hand side: what became of the orders, and what was checked.
fn side(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, tick) = (state.theme, &state.tick);
    let all: u64 = tick.fates.values().sum();
    let rates = format!("{} ended", words::rate(tick.ended_per_s));
    let confirmed = format!("{} confirmed", words::rate(tick.confirmed_per_s));
    let inner = section(buf, area, theme, "Orders by their first answer", &[]);
    for (fate, y) in FATES.into_iter().zip(0..) {
        let number = tick.fates.get(fate).copied().unwrap_or_default();
        let style = match fate {
            "confirmed" => theme.good(),
            "errors" | "unknown" if number > 0 => theme.bad(),
            _ => theme.text(),
        };
        put(buf, inner, 0, y, fate, style);
        let number_at = inner.width.saturating_sub(13);
        let bar = number_at.saturating_sub(11);
        gauge(buf, inner, (10, y), bar, number as f64 / all.max(1) as f64, style);
        let text = words::count(number);
        put(buf, inner, number_at + 7_u16.saturating_sub(width(&text)), y, &text, style);
        let share = words::share(number, all);
        put_right(buf, inner, y, &share, theme.faint());
    }
    let (_, rest) = split_rows(inner, FATES.len() as u16);
    let y = put_pair(buf, rest, 0, (&rates, theme.text()), (&confirmed, theme.text()));
    let (_, rest) = split_rows(rest, y);
    journeys(state, buf, rest);
}

/// Two texts on a row where they fit, else on two. Answers the row after them.
fn put_pair(buf: &mut Buffer, area: Rect, y: u16, left: (&str, Style), right: (&str, Style)) -> u16 {
    let x = put(buf, area, 0, y, left.0, left.1) + 2;
    if x + width(right.0) <= area.width {
        put(buf, area, x, y, right.0, right.1);
        return y + 1;
    }
    put(buf, area, 0, y + 1, right.0, right.1);
    y + 2
}

fn journeys(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, tick) = (state.theme, &state.tick);
    let area = section(buf, area, theme, "Journeys", &[]);
    let under_way = format!("{} under way", words::count(tick.journeys_in_flight));
    let ended = format!("{} ended", words::count(tick.journeys_ended));
    let mut y = put_pair(buf, area, 0, (&under_way, theme.text()), (&ended, theme.text()));
    if tick.dropped > 0 {
        let text = format!("✗ {} DROPPED: no buyer was free", words::count(tick.dropped));
        put(buf, area, 0, y, &fit(&text, area.width), theme.bad());
        y += 1;
    }
    let (_, rest) = split_rows(area, y);
    invariants(state, buf, rest);
}

fn invariants(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, all) = (state.theme, &state.tick.invariants);
    let area = section(buf, area, theme, "Invariants", &[]);
    let (live, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.checked > 0 || one.violations > 0);
    let (at_end, elsewhere): (Vec<_>, Vec<_>) = others.into_iter().partition(|one| one.applicable);
    let broken = live.iter().filter(|one| one.violations > 0).count();
    let kept = live.len() - broken;
    let checks: u64 = live.iter().filter(|one| one.violations == 0).map(|one| one.checked).sum();
    let mut y = 0;
    if broken > 0 {
        put(buf, area, 0, y, &format!("✗ {broken} BROKEN"), theme.bad());
        y += 1;
    }
    if kept > 0 {
        let text = format!("✓ {kept} kept in {}", words::several(checks, "check"));
        put(buf, area, 0, y, &fit(&text, area.width), theme.good());
        y += 1;
    }
    if !at_end.is_empty() {
        let when = if state.ended.is_some() { "checked nothing" } else { "at the end" };
        put(buf, area, 0, y, &format!("… {} {when}", at_end.len()), theme.faint());
        y += 1;
    }
    if !elsewhere.is_empty() {
        let text = format!("– {} not applicable here", elsewhere.len());
        put(buf, area, 0, y, &fit(&text, area.width), theme.faint());
        y += 1;
    }
    // By name as far as there is room, broken ones first; those of the end only if all can be told.
    let mut named: Vec<_> = live;
    named.sort_by_key(|one| one.violations == 0);
    let (_, rest) = split_rows(area, y);
    if named.len() + at_end.len() <= usize::from(rest.height) {
        named.extend(at_end);
    }
    for (one, y) in named.into_iter().zip(0..rest.height) {
        let (mark, style, text) = match (one.violations, one.checked) {
            (0, 0) if rest.width < 40 => ("…", theme.faint(), String::new()),
            (0, 0) => ("…", theme.faint(), "at the end".to_owned()),
            (0, checked) if rest.width < 40 => ("✓", theme.good(), words::count(checked)),
            (0, checked) => ("✓", theme.good(), words::several(checked, "check")),
            (violations, _) => ("✗", theme.bad(), format!("{} broken", words::count(violations))),
        };
        let room = rest.width.saturating_sub(3 + width(&text));
        puts(buf, rest, 0, y, &[(mark, style), (" ", theme.text()), (&fit(one.name, room), style)]);
        put_right(buf, rest, y, &text, style);
    }
}

fn thresholds(state: &State, buf: &mut Buffer, area: Rect) {
    let (theme, all) = (state.theme, &state.tick.thresholds);
    let missed = all.iter().filter(|one| one.standing == Standing::Missed).count();
    let kept = all.iter().filter(|one| one.standing == Standing::Kept).count();
    let text = format!("{kept} kept, {missed} missed, {} waiting", all.len() - kept - missed);
    let style = if missed > 0 { theme.bad() } else { theme.faint() };
    let name = if state.ended.is_some() { "Thresholds" } else { "Thresholds so far" };
    let area = section(buf, area, theme, name, &[(&text, style)]);
    if all.is_empty() {
        put(buf, area, 0, 0, "none in this scenario", theme.faint());
        return;
    }
    let mut order: Vec<&ThresholdGlance> = all.iter().collect();
    let rows = usize::from(area.height);
    let shown = if order.len() > rows { rows.saturating_sub(1) } else { rows };
    if order.len() > rows {
        // With too little room for all, what is missed or nearly so must be seen.
        order.sort_by(|a, b| urgency(a).total_cmp(&urgency(b)));
    }
    for (one, y) in order.iter().take(shown).zip(0..) {
        threshold(state, buf, area, y, one);
    }
    if order.len() > shown && rows > 0 {
        let text = format!("and {} more, less urgent", order.len() - shown);
        put(buf, area, 0, shown as u16, &text, theme.faint());
    }
}

/// Less is more urgent.
fn urgency(one: &ThresholdGlance) -> f64 {
    match one.standing {
        Standing::Missed => -1e6 + one.margin.unwrap_or_default(),
        Standing::Kept => one.margin.unwrap_or(1.0),
        Standing::Waiting => 1e6,
    }
}

fn threshold(state: &State, buf: &mut Buffer, area: Rect, y: u16, one: &ThresholdGlance) {
    let theme = state.theme;
    let tight = one.margin.is_some_and(|margin| margin < TIGHT);
    let (mark, word, style) = match one.standing {
        Standing::Missed => ("✗", "MISSED", theme.bad()),
        Standing::Kept if tight => ("!", "tight", theme.warning()),
        Standing::Kept => ("✓", "kept", theme.good()),
        Standing::Waiting => ("…", "waiting", theme.faint()),
    };
    let margin = one.margin.map(|margin| words::margin(margin, one.standing == Standing::Waiting)).unwrap_or_default();
    let seen = match (one.standing, one.observed) {
        (Standing::Waiting, None) => "not yet".to_owned(),
        _ => observed(&one.metric, one.observed),
    };
    let during = one.during.as_ref().map(|fault| format!(" during {fault}")).unwrap_or_default();
    let name = format!("{} {}{during}", one.metric, one.expression);
    // From the right: the word, the margin, the value; the name takes what is left. With little room the
    // mark stands for the word.
    let worded = area.width >= 92;
    let margin = if margin.is_empty() && !worded { word.to_owned() } else { margin };
    let right = 14 + 1 + 10 + if worded { 8 } else { 0 };
    let name_columns = area.width.saturating_sub(2 + 1 + right).min(78);
    puts(buf, area, 0, y, &[(mark, style), (" ", theme.text()), (&fit(&name, name_columns), theme.text())]);
    let at = 2 + name_columns + 1;
    put(buf, area, at + 10_u16.saturating_sub(width(&seen)), y, &seen, style);
    put(buf, area, at + 11 + 14_u16.saturating_sub(width(&margin)), y, &margin, style);
    if worded {
        put(buf, area, at + 26, y, word, style);
    }
}
