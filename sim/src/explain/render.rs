//! The story as text, for a terminal of a hundred columns.

use super::story::{Actor, Entry, Story};

const COLUMNS: usize = 100;
const ACTOR: usize = 10;

/// Ends with a line break.
pub fn render(story: &Story) -> String {
    let reason = story.cancel_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut lines = vec![
        format!("order    {}", story.order),
        format!("status   {}{reason}", story.status),
        format!("items    {}, {}", story.items, story.total),
        format!("created  {}", story.created_at),
    ];
    let named = |what: &str, value: &str| format!("{what:<9}{value}");
    lines.extend((!story.user.is_empty()).then(|| named("user", &story.user)));
    lines.extend(story.key.as_ref().map(|key| named("key", key)));
    lines.push(String::new());
    let times: Vec<String> = story.entries.iter().map(|entry| milliseconds(entry.since_us)).collect();
    let width = times.iter().map(String::len).max().unwrap_or_default().max("ms".len());
    lines.push(format!("{:>width$}  {:<ACTOR$}what", "ms", "who"));
    let indent = " ".repeat(width + 2 + ACTOR);
    let mut left_out = 0;
    for (entry, time) in story.entries.iter().zip(times) {
        if entry.repeats {
            left_out += 1;
            continue;
        }
        if left_out > 0 {
            lines.push(format!("{indent}({left_out} lines more of the same; --json has them)"));
            left_out = 0;
        }
        let head = format!("{time:>width$}  {:<ACTOR$}", entry.actor.name());
        lines.extend(wrapped(&head, &indent, &text(entry)));
    }
    lines.push(String::new());
    lines.extend(wrapped("", "", &story.conclusion));
    for note in &story.notes {
        lines.extend(wrapped("note: ", "      ", note));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end().replace('\u{a0}', " "))).collect()
}

/// The same on few lines, at most about `lines_max`: without messages and what repeats, and where that is still
/// too much, without its middle.
pub fn brief(story: &Story, lines_max: usize) -> String {
    let reason = story.cancel_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let head = format!("order {}, {}{reason}: {}, {}", story.order, story.status, story.items, story.total);
    let told = story.entries.iter().filter(|entry| !entry.repeats && entry.actor != Actor::Courier);
    let told: Vec<(String, &Entry)> = told.map(|entry| (milliseconds(entry.since_us), entry)).collect();
    let width = told.iter().map(|(time, _)| time.len()).max().unwrap_or_default().max("ms".len());
    let indent = " ".repeat(width + 2 + ACTOR);
    let lines = told.iter().flat_map(|(time, entry)| {
        wrapped(&format!("{time:>width$}  {:<ACTOR$}", entry.actor.name()), &indent, &text(entry))
    });
    let lines: Vec<String> = lines.collect();
    let ends = wrapped("", "", &story.conclusion);
    let room = lines_max.saturating_sub(ends.len() + 3).max(4);
    let mut all = wrapped("", "  ", &head);
    all.push(format!("{:>width$}  {:<ACTOR$}what", "ms", "who"));
    if lines.len() > room {
        // An order's beginning is much like that of others.
        let (begins, end) = (room / 3, lines.len() - (room - room / 3));
        all.extend_from_slice(&lines[..begins]);
        all.push(format!("{indent}({} lines)", end - begins));
        all.extend_from_slice(&lines[end..]);
    } else {
        all.extend(lines);
    }
    all.extend(ends);
    all.iter().map(|line| format!("{}\n", line.trim_end().replace('\u{a0}', " "))).collect()
}

fn text(entry: &Entry) -> String {
    let mut text = entry.what.clone();
    if entry.amiss && !entry.during.is_empty() {
        text.push_str(&format!(" (during {})", entry.during.join(", ")));
    }
    if let Some(detail) = &entry.detail {
        // One word: it is not broken at the end of a line.
        text.push_str(&format!(" [{}]", detail.replace(' ', "\u{a0}")));
    }
    text
}

/// Milliseconds with two decimals.
fn milliseconds(micros: i64) -> String {
    format!("{:.2}", micros as f64 / 1e3)
}

/// Breaks at blanks; a word that is too long for a line gets one of its own.
fn wrapped(head: &str, indent: &str, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    let mut fresh = true;
    for word in text.split([' ', '\n']).filter(|word| !word.is_empty()) {
        let blank = usize::from(!fresh);
        if !fresh && line.chars().count() + blank + word.chars().count() > COLUMNS {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_and_indented() {
        let lines = wrapped("head ", "     ", &"word ".repeat(40));
        assert!(lines.len() == 3 && lines.iter().all(|line| line.chars().count() <= COLUMNS));
        assert!(lines[0].starts_with("head word") && lines[1].starts_with("     word"));
    }
}
